import Images
import LabSpec
import VMProtocol

/// The CD that cloud-init looks for: its NoCloud data source, labelled `cidata`.
struct SeedDisc {
    private let seed: CloudSeed
    private let hostName: String

    /// Files of the host beyond this are not configuration.
    private static let mostBytes = 1 << 20

    init(_ seed: CloudSeed, hostName: String) {
        self.seed = seed
        self.hostName = hostName
    }

    static func path(in folder: VMFolder) -> String { "\(folder.path)/seed.iso" }

    /// An id that no VM had before.
    static func freshInstanceID(_ name: String) -> String {
        "\(name)-\(SHA256Digest.of("\(name) \(WallClock.now) \(UInt64.random(in: 0...UInt64.max))").prefix(12))"
    }

    /// Stands for the content, whatever the instance's id is.
    func digest() throws(OrchestratorError) -> String {
        var lines: [String] = []
        for (name, bytes) in try files(instanceID: "") { lines.append("\(name) \(SHA256Digest.of(bytes))") }
        return SHA256Digest.of(lines.joined(separator: "\n"))
    }

    func write(to path: String, instanceID: String) throws(OrchestratorError) {
        let root = ISOEntry.folder()
        for (name, bytes) in try files(instanceID: instanceID) { root.add(ISOEntry(name, .bytes(bytes))) }
        try withImageErrors { () throws(ImageError) in
            try ISOWriter(root, ISOWriter.Options(label: "cidata")).write(to: path)
        }
    }

    private func files(instanceID: String) throws(OrchestratorError) -> [(name: String, bytes: [UInt8])] {
        var files = [
            ("meta-data", try metaData(instanceID)), ("user-data", try userData()),
        ]
        if let config = seed.networkConfig {
            files.append(("network-config", try SeedDisc.bytes(config, header: "")))
        }
        return files
    }

    // MARK: meta-data

    private func metaData(_ instanceID: String) throws(OrchestratorError) -> [UInt8] {
        let own = [("instance-id", instanceID), ("local-hostname", hostName)]
        func line(_ key: String, _ value: String) -> String { "\(key): \(JSONText.string(value).description)\n" }
        switch seed.metaData {
        case nil: return Array(own.map(line).joined().utf8)
        case .mapping(let entries):
            let missing = own.filter { pair in !entries.contains { $0.key == pair.0 } }
            return try SeedDisc.bytes(.mapping(entries), header: "") + Array(missing.map(line).joined().utf8)
        case .file, .text:
            let given = try seed.metaData.map { (source) throws(OrchestratorError) in
                try SeedDisc.bytes(source, header: "")
            }
            let text = String(decoding: given ?? [], as: UTF8.self)
            let missing = own.filter { pair in
                !text.split(separator: "\n").contains { $0.hasPrefix("\(pair.0):") }
            }
            return Array((text + (text.hasSuffix("\n") || text.isEmpty ? "" : "\n") + missing.map(line).joined()).utf8)
        }
    }

    // MARK: user-data

    private static let header = "#cloud-config\n"
    private static let boundary = "==labctl-part=="

    private func userData() throws(OrchestratorError) -> [UInt8] {
        let given = try seed.userData.map { (source) throws(OrchestratorError) in
            try SeedDisc.bytes(source, header: SeedDisc.header)
        }
        guard let short = try shortForms() else { return given ?? Array(SeedDisc.header.utf8) }
        guard let given else { return Array(short.utf8) }
        // Two parts, whatever kind the given one is: cloud-init finds that out by its first line.
        let text = """
            Content-Type: multipart/mixed; boundary="\(SeedDisc.boundary)"
            MIME-Version: 1.0

            --\(SeedDisc.boundary)
            Content-Type: text/plain; charset="utf-8"
            Content-Transfer-Encoding: base64

            \(SeedDisc.lines(Base64.encode(given)))
            --\(SeedDisc.boundary)
            Content-Type: text/cloud-config; charset="utf-8"
            Content-Transfer-Encoding: base64

            \(SeedDisc.lines(Base64.encode(Array(short.utf8))))
            --\(SeedDisc.boundary)--

            """
        return Array(text.utf8)
    }

    private static func lines(_ text: String) -> String {
        var rest = text[...]
        var lines: [Substring] = []
        while !rest.isEmpty {
            lines.append(rest.prefix(76))
            rest = rest.dropFirst(76)
        }
        return lines.joined(separator: "\n")
    }

    /// `files` and `ssh_keys` as cloud-config; nil where there are none. Lists are added to those of other parts.
    private func shortForms() throws(OrchestratorError) -> String? {
        guard !seed.files.isEmpty || !seed.sshKeys.isEmpty else { return nil }
        func quoted(_ text: String) -> String { JSONText.string(text).description }
        var text = SeedDisc.header
        if !seed.sshKeys.isEmpty {
            text += "ssh_authorized_keys:\n"
            for key in seed.sshKeys {
                for line in try SeedDisc.keys(key) { text += "- \(quoted(line))\n" }
            }
        }
        if !seed.files.isEmpty {
            text += "write_files:\n"
            for file in seed.files {
                let content: [UInt8] =
                    switch file.content {
                    case .text(let text): Array(text.utf8)
                    case .file(let path): try SeedDisc.read(path)
                    }
                text += "- path: \(quoted(file.path))\n  encoding: b64\n  content: \(quoted(Base64.encode(content)))\n"
                if let mode = file.mode { text += "  permissions: \(quoted(mode))\n" }
                if let owner = file.owner { text += "  owner: \(quoted(owner))\n" }
            }
        }
        return text + "merge_how: \"list(append)+dict(recurse_array,no_replace)+str()\"\n"
    }

    private static func keys(_ key: CloudSeed.PublicKey) throws(OrchestratorError) -> [String] {
        switch key {
        case .text(let text): return [text]
        case .file(let path):
            let lines = String(decoding: try read(path), as: UTF8.self).split(whereSeparator: \.isNewline)
            if lines.contains(where: { $0.contains("PRIVATE KEY") }) {
                throw OrchestratorError(
                    .image,
                    "\(path.absolute) is a private key, which stays where it is; give the file that ends in .pub")
            }
            return lines.filter { !$0.hasPrefix("#") }.map(String.init)
        }
    }

    // MARK: Sources

    private static func bytes(_ source: CloudSeed.Source, header: String) throws(OrchestratorError) -> [UInt8] {
        switch source {
        case .file(let path): try read(path)
        case .text(let text): Array(text.utf8)
        case .mapping(let entries):
            Array((header + entries.map { "\(JSONText.string($0.key).description): \($0.value)\n" }.joined()).utf8)
        }
    }

    private static func read(_ path: LabPath) throws(OrchestratorError) -> [UInt8] {
        let bytes = try withHostErrors { () throws(HostError) in try StateFile.read(path.absolute) }
        guard let bytes else { throw OrchestratorError(.image, "\(path.absolute) does not exist") }
        guard bytes.count <= mostBytes else {
            throw OrchestratorError(
                .image, "\(path.absolute) has \(bytes.count) bytes; what cloud-init gets has \(mostBytes) at most")
        }
        return bytes
    }
}
