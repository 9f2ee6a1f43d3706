/// What cloud-init finds in a VM: the NoCloud data source on a CD.
public struct CloudSeed: Sendable, Equatable {
    /// A key of a mapping, with its value as YAML that fits on a line.
    public struct Entry: Sendable, Equatable {
        public var key: String
        public var value: String

        public init(key: String, value: String) {
            self.key = key
            self.value = value
        }
    }

    /// One of the files of the data source.
    public enum Source: Sendable, Equatable {
        /// A file of the host, taken as it is.
        case file(LabPath)
        /// Text in the lab file, taken as it is.
        case text(String)
        /// A mapping in the lab file.
        case mapping([Entry])
    }

    /// `files`: a file that the guest gets.
    public struct File: Sendable, Equatable {
        public enum Content: Sendable, Equatable {
            case text(String)
            case file(LabPath)
        }

        /// In the guest, from its root.
        public var path: String
        public var content: Content
        /// Octal, as `chmod` takes it.
        public var mode: String?
        /// `USER:GROUP`.
        public var owner: String?
        public var spans: SectionSpans

        public init(path: String, content: Content, mode: String? = nil, owner: String? = nil) {
            self.path = path
            self.content = content
            self.mode = mode
            self.owner = owner
            self.spans = SectionSpans()
        }
    }

    /// `ssh_keys`: a public key.
    public enum PublicKey: Sendable, Equatable {
        case text(String)
        case file(LabPath)
    }

    public var userData: Source?
    public var metaData: Source?
    public var networkConfig: Source?
    public var files: [File] = []
    public var sshKeys: [PublicKey] = []
    /// Places of the keys of `cloud_init`.
    public var spans = SectionSpans()

    public init() {}
}
