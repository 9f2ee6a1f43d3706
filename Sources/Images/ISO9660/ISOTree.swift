import Glibc

/// What gets onto a CD: a folder with all that is in it. Owners are 0:0, everybody may read, what can be executed stays so:
/// the same files give the same CD, whoever makes it.
public final class ISOEntry: @unchecked Sendable {
    // SAFETY: a tree is built by one thread and then only read.

    public enum Content: Sendable {
        /// Made here.
        case bytes([UInt8])
        /// A file of the host.
        case file(path: String, sizeBytes: UInt64)
        /// What it points to, as it is written.
        case link(String)
        case folder
    }

    public let name: String
    public let content: Content
    public let isExecutable: Bool
    /// Seconds since 1970.
    public let modifiedSeconds: Int64
    public private(set) var children: [ISOEntry] = []

    public init(_ name: String, _ content: Content, isExecutable: Bool = false, modifiedSeconds: Int64 = 0) {
        self.name = name
        self.content = content
        self.isExecutable = isExecutable
        self.modifiedSeconds = modifiedSeconds
    }

    /// An empty folder.
    public static func folder(_ name: String = "", modifiedSeconds: Int64 = 0) -> ISOEntry {
        ISOEntry(name, .folder, modifiedSeconds: modifiedSeconds)
    }

    public func add(_ child: ISOEntry) { children.append(child) }

    var isFolder: Bool { if case .folder = content { true } else { false } }
    var isLink: Bool { if case .link = content { true } else { false } }

    var sizeBytes: UInt64 {
        switch content {
        case .bytes(let bytes): UInt64(bytes.count)
        case .file(_, let size): size
        case .link, .folder: 0
        }
    }

    /// POSIX mode, kind included.
    var mode: UInt32 {
        switch content {
        case .folder: 0o040555
        case .link: 0o120777
        case .bytes, .file: isExecutable ? 0o100555 : 0o100444
        }
    }

    /// The newest time in it.
    var newestSeconds: Int64 { children.map(\.newestSeconds).reduce(modifiedSeconds, max) }

    /// More than this is a mistake.
    static let mostEntries = 500_000

    /// A folder of the host. Symbolic links stay links; sockets, pipes and devices are refused.
    public static func scan(_ path: String) throws(ImageError) -> ISOEntry {
        var count = 0
        let root = try scan(path, name: "", followsLink: true, count: &count)
        guard root.isFolder else { throw ImageError(.invalidArgument, "'\(path)' is not a folder", path: path) }
        return root
    }

    private static func scan(
        _ path: String, name: String, followsLink: Bool, count: inout Int
    ) throws(ImageError) -> ISOEntry {
        var status = stat()
        guard (followsLink ? stat(path, &status) : lstat(path, &status)) == 0 else {
            throw .system(errno, "Could not read '\(path)'", path: path)
        }
        count += 1
        guard count <= mostEntries else {
            throw ImageError(.unsupported, "a CD of more than \(mostEntries) files cannot be made", path: path)
        }
        let time = Int64(status.st_mtim.tv_sec)
        switch status.st_mode & S_IFMT {
        case S_IFREG:
            return ISOEntry(
                name, .file(path: path, sizeBytes: UInt64(max(0, status.st_size))),
                isExecutable: status.st_mode & 0o111 != 0, modifiedSeconds: time)
        case S_IFLNK: return ISOEntry(name, .link(try target(of: path)), modifiedSeconds: time)
        case S_IFDIR:
            let folder = ISOEntry.folder(name, modifiedSeconds: time)
            for child in try names(in: path) {
                folder.add(try scan("\(path)/\(child)", name: child, followsLink: false, count: &count))
            }
            return folder
        default:
            throw ImageError(
                .unsupported, "'\(path)' is neither a file, a folder nor a symbolic link: a CD cannot hold it",
                path: path)
        }
    }

    private static func target(of path: String) throws(ImageError) -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let length = readlink(path, &buffer, buffer.count - 1)
        guard length >= 0 else { throw .system(errno, "Could not read '\(path)'", path: path) }
        return String(decoding: buffer[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func names(in path: String) throws(ImageError) -> [String] {
        guard let folder = opendir(path) else { throw .system(errno, "Could not read '\(path)'", path: path) }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            // SAFETY: readdir's entry is valid until the next call; the name ends with a zero byte.
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}
