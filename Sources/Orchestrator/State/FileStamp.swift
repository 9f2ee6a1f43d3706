import Glibc
import VMProtocol

/// What tells cheaply whether a file is still the one it was.
public struct FileStamp: Codable, Sendable, Equatable {
    public var path: String
    public var sizeBytes: UInt64
    public var modifiedNanoseconds: Int64
    public var inode: UInt64
    public var device: UInt64

    public init(
        path: String, sizeBytes: UInt64, modifiedNanoseconds: Int64, inode: UInt64 = 0, device: UInt64 = 0
    ) {
        self.path = path
        self.sizeBytes = sizeBytes
        self.modifiedNanoseconds = modifiedNanoseconds
        self.inode = inode
        self.device = device
    }

    /// The stamp of a file now; nil when there is no such file.
    public static func of(_ path: String) throws(HostError) -> FileStamp? {
        var status = stat()
        guard stat(path, &status) == 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw HostError("look at", path)
        }
        let modified = Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
        return FileStamp(
            path: path, sizeBytes: UInt64(max(0, status.st_size)), modifiedNanoseconds: modified,
            inode: UInt64(status.st_ino), device: UInt64(status.st_dev))
    }
}

extension FileStamp {
    /// Device and inode of a file; nil where there is none.
    static func number(of path: String) -> VMDescription.FileNumber? {
        guard let stamp = (try? of(path)) ?? nil else { return nil }
        return VMDescription.FileNumber(device: stamp.device, inode: stamp.inode)
    }
}

/// A file of a golden image's backing chain with its digest.
public struct GoldenFile: Codable, Sendable, Equatable {
    public var stamp: FileStamp
    public var sha256: String

    public init(stamp: FileStamp, sha256: String) {
        self.stamp = stamp
        self.sha256 = sha256
    }
}

/// Digests of large files, remembered by stamp in the cache folder, so that no file is read twice for nothing.
public struct DigestCache: Sendable {
    private let folder: String

    /// - Parameter folder: made when the first digest is stored.
    public init(folder: String) { self.folder = folder }

    private func recordPath(_ path: String) -> String { "\(folder)/\(SHA256Digest.of(path).prefix(24)).json" }

    /// The digest of a file whose stamp is known, where it has been computed before.
    public func known(_ stamp: FileStamp) -> String? {
        // A remembered digest that is damaged is computed again.
        guard let record = RecordFile.read(GoldenFile.self, from: recordPath(stamp.path)).known, record.stamp == stamp
        else { return nil }
        return record.sha256
    }

    /// The digest of a file, read only when its stamp is new. A cache that cannot be written costs time, nothing else.
    /// - Parameter progress: told bytes done and bytes in all; false stops.
    public func digest(
        of path: String, progress: (UInt64, UInt64) -> Bool = { _, _ in true }
    ) throws(OrchestratorError) -> GoldenFile {
        guard let stamp = try withHostErrors({ () throws(HostError) in try FileStamp.of(path) }) else {
            throw OrchestratorError(.image, "\(path) does not exist")
        }
        if let sha256 = known(stamp) { return GoldenFile(stamp: stamp, sha256: sha256) }
        let sha256 = try withHostErrors { () throws(HostError) in
            try SHA256Digest.ofFile(path) { progress($0, stamp.sizeBytes) }
        }
        guard let sha256 else { throw OrchestratorError(.interrupted, "interrupted while reading \(path)") }
        guard try withHostErrors({ () throws(HostError) in try FileStamp.of(path) }) == stamp else {
            throw OrchestratorError(.image, "\(path) changed while its digest was computed")
        }
        let golden = GoldenFile(stamp: stamp, sha256: sha256)
        if Folder.make(folder) == nil { try? RecordFile.write(golden, to: recordPath(path)) }
        return golden
    }
}
