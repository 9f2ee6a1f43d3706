/// The name of an image as users and backing fields give it (QEMU, "json:" pseudo-protocol): a path, `file:` and a path,
/// or `json:` and an object of QEMU's blockdev options, of which these are known:
///
///     driver         format, or "file" for the bytes of the file
///     file.driver    must be "file"
///     file.filename  the path, relative to the current folder as in QEMU (filename where the driver is "file")
///     offset, size   with driver raw: the part of the file that is the disk
struct ImageName {
    var path: String
    /// Format that the name demands.
    var format: String?
    var offset: UInt64 = 0
    /// Length of the part; nil goes to the end.
    var length: UInt64?

    var isPart: Bool { offset > 0 || length != nil }

    init(_ name: String) throws(ImageError) {
        guard let scheme = FilePath.scheme(of: name) else {
            path = name
            return
        }
        switch scheme {
        case "file": path = String(name.dropFirst(5))
        case "json": (path, format, offset, length) = try Self.options(name)
        default:
            guard FilePath.real(name) != nil else {
                throw ImageError(.unsupported, "Unknown protocol '\(scheme)'", path: name)
            }
            path = name
        }
    }

    private static func options(
        _ name: String
    ) throws(ImageError) -> (path: String, format: String, offset: UInt64, length: UInt64?) {
        func bad(_ message: String, _ kind: ImageError.Kind = .invalidArgument) -> ImageError {
            ImageError(kind, "\(message) in '\(name)'", path: name)
        }
        guard var fields = JSONFields(name.dropFirst(5))?.values else {
            throw bad("Could not parse the JSON options")
        }
        guard let driver = fields.removeValue(forKey: "driver") else { throw bad("'driver' is missing") }
        let isFile = driver == "file"
        if !isFile, FormatRegistry.format(named: driver) == nil {
            throw bad("Unknown protocol or format '\(driver)'", .unsupported)
        }
        let format = isFile ? "raw" : driver
        let prefix = isFile ? "" : "file."
        if !isFile, let below = fields.removeValue(forKey: "file.driver"), below != "file" {
            throw bad("The protocol '\(below)' is not supported, only files are,", .unsupported)
        }
        guard let path = fields.removeValue(forKey: prefix + "filename"), !path.isEmpty else {
            throw bad("'\(prefix)filename' is missing")
        }
        var part: [String: UInt64] = [:]
        for key in ["offset", "size"] where format == "raw" {
            guard let text = fields.removeValue(forKey: key) else { continue }
            guard let value = ByteCount.parse(text) else { throw bad("'\(key)' is no number of bytes") }
            part[key] = value
        }
        if let other = fields.keys.min() { throw bad("The option '\(other)' is not supported", .unsupported) }
        return (path, format, part["offset"] ?? 0, part["size"])
    }

    /// The part of the file that the name means.
    func window(of storage: any Storage) throws(ImageError) -> any Storage {
        guard isPart else { return storage }
        guard storage.isReadOnly else {
            throw ImageError(.unsupported, "a part of '\(path)' can be read only", path: path)
        }
        let rest = storage.byteCount - min(offset, storage.byteCount)
        guard offset <= storage.byteCount, length ?? 0 <= rest else {
            throw ImageError(
                .invalidArgument,
                "the part of \(length ?? 0) bytes from \(offset) on leaves '\(path)' of \(storage.byteCount) bytes",
                path: path)
        }
        return StorageWindow(storage, start: offset, byteCount: length ?? rest, path: path) {
            (_) throws(ImageError) in
            throw ImageError(.unsupported, "a part of a file has no companion files", path: nil)
        }
    }
}
