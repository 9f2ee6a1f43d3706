/// A disk image format: one row of `FormatRegistry.formats`.
///
/// A driver is a stateless value; an opened image is the `BlockDevice` it returns.
public protocol ImageFormat: Sendable {
    /// Name as `-f` and `-O` take it.
    var name: String { get }
    /// What the driver can do; the source of the table in docs/FORMATS.md.
    var capabilities: FormatCapabilities { get }
    /// Options of `create -o`, in the order `create` reports them.
    var options: [CreateOption] { get }

    /// Options of `amend -o`; none for formats that cannot be amended.
    var amendOptions: [CreateOption] { get }

    /// How sure the driver is, 0 (not mine) to 100, that a file beginning with `head` is its own.
    /// `fileSize` is the length of the whole file, `head` at most its first 64 KiB.
    func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int
    /// Opens the image in `storage`. The backing file is joined by the caller.
    func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice
    /// Writes an empty image of `request.size` bytes into `storage`, which is empty.
    func create(in storage: any Storage, request: CreateRequest) throws(ImageError)
    /// The size an image will really have when `requested` bytes are asked for (vpc rounds to its geometry).
    func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64
    /// Whether a new image reads as zeros before anything is written.
    var newImagesReadAsZeros: Bool { get }
    /// Whether the image will consist of several files that name each other.
    func hasCompanionFiles(_ request: CreateRequest) -> Bool
}

extension ImageFormat {
    /// Options of `create -o` with those for the file, which every format takes.
    public var creationOptions: [CreateOption] { options + FileAttributes.options }
    public var options: [CreateOption] { [] }
    public var amendOptions: [CreateOption] { [] }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        throw ImageError(.unsupported, "Format driver '\(name)' does not support image creation", format: name)
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { requested }
    public var newImagesReadAsZeros: Bool { true }
    public func hasCompanionFiles(_ request: CreateRequest) -> Bool { false }
}

/// What a format driver can do.
public struct FormatCapabilities: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let read = FormatCapabilities(rawValue: 1 << 0)
    public static let write = FormatCapabilities(rawValue: 1 << 1)
    public static let create = FormatCapabilities(rawValue: 1 << 2)
    public static let backing = FormatCapabilities(rawValue: 1 << 3)
    public static let compress = FormatCapabilities(rawValue: 1 << 4)
    public static let snapshots = FormatCapabilities(rawValue: 1 << 5)
    public static let encryption = FormatCapabilities(rawValue: 1 << 6)
    public static let resize = FormatCapabilities(rawValue: 1 << 7)
    public static let check = FormatCapabilities(rawValue: 1 << 8)
    public static let zeroes = FormatCapabilities(rawValue: 1 << 9)
    /// Written only by filling it from start to end (streamed or compressed formats).
    public static let writeOnce = FormatCapabilities(rawValue: 1 << 10)
}

/// How an image is opened.
public struct OpenOptions: Sendable {
    /// nil: recognised from its content.
    public var format: String?
    public var readOnly: Bool
    public var lock: LockMode
    /// Lock of the images below; nil: the same as `lock`.
    public var backingLock: LockMode?
    /// Open the chain below too. Without it unallocated parts read as zeros.
    public var openBacking: Bool
    /// Skip every fdatasync (temporary files that are synced once at the end).
    public var unsafeCache: Bool
    /// With `unsafeCache`: the file is synced once at the end, so writing it out may begin early.
    public var syncsAtEnd = false
    /// Accept an image marked dirty or corrupt without repairing (for `check` and `info`).
    public var forCheck: Bool
    /// Only what the image says of itself is wanted (`info`): no data file is opened and no secret tried.
    public var metadataOnly = false
    /// Set when the format was recognised rather than named: protects a raw disk from turning into another format.
    public var wasProbed = false
    /// qcow2: metadata that guest data must not be written onto.
    public var overlapCheck = OverlapCheck.cached
    /// qcow2: the external data file, instead of the one that the image records.
    var dataFile: String?
    /// Secrets by id, for encrypted images.
    public var secrets: [String: [UInt8]] = [:]
    /// Id of the secret that opens this image.
    public var keySecret: String?
    /// Name or number of the disk in an archive of several; nil means the first.
    public var member: String?
    /// Formats of the files that the image lies inside, the outermost first (an OVA, a compressed stream).
    var containers: [String] = []
    /// Told how much of a file has been decoded, in bytes of the file, where only decoding all of it tells the disk's size.
    public var measuring: (@Sendable (UInt64, UInt64) -> Void)?
    /// Folders that backing, data and extent files must stay within; nil allows any.
    public var confinedTo: [String]?
    /// Files outside those folders that may be named all the same.
    public var declaredFiles: Set<String> = []
    /// Files that must not be opened for writing, whatever names them: the image, its data file or one of its extents.
    public var protectedFiles: Set<FileStorage.FileIdentity> = []

    public init(
        format: String? = nil, readOnly: Bool = true, lock: LockMode = .normal, openBacking: Bool = true,
        unsafeCache: Bool = false, forCheck: Bool = false
    ) {
        self.format = format
        self.readOnly = readOnly
        self.lock = lock
        self.openBacking = openBacking
        self.unsafeCache = unsafeCache
        self.forCheck = forCheck
    }
}

/// How host space is set aside when an image is created or grown.
public enum Preallocation: String, Sendable, CaseIterable {
    case off, metadata, falloc, full
}

/// What `create` shall make.
public struct CreateRequest: Sendable {
    /// Path of the new file, for formats with companion files.
    public var path: String
    /// The name the file will have in the end, where it is written under another first.
    public var finalPath: String?
    /// Virtual size in bytes.
    public var size: UInt64
    public var backing: BackingReference?
    /// Options by name as given with `-o`, defaults filled in; checked against the driver's table.
    public var options: [String: String]
    public var secrets: [String: [UInt8]] = [:]
    /// Told of what could not be done for the file and does not matter to the image.
    public var warn: (@Sendable (String) -> Void)?
    /// Size in bytes and opened backing image, where a driver needs facts from it (CIDs, timestamps).
    public var openedBacking: (any BlockDevice)?

    public init(path: String, size: UInt64, backing: BackingReference? = nil, options: [String: String] = [:]) {
        self.path = path
        self.size = size
        self.backing = backing
        self.options = options
    }
}

/// One `-o` option: its type, default and help line.
public struct CreateOption: Sendable {
    public enum Kind: Sendable {
        case size, number, bool, string
    }
    public var name: String
    public var kind: Kind
    /// Value shown and used when the option is not given; nil shows nothing.
    public var defaultValue: String?
    public var help: String
    public init(_ name: String, _ kind: Kind, default defaultValue: String? = nil, _ help: String) {
        self.name = name
        self.kind = kind
        self.defaultValue = defaultValue
        self.help = help
    }
}
