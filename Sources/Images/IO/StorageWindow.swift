/// A part of a file as a read-only file of its own: a member of an archive.
final class StorageWindow: UnwritableStorage, @unchecked Sendable {
    private let below: any Storage
    private let start: UInt64
    let byteCount: UInt64
    let path: String
    /// Finds companion files, by the last component of their names.
    private let sibling: @Sendable (String) throws(ImageError) -> any Storage

    /// The `byteCount` bytes of `below` from `start` on, which lie inside it.
    init(
        _ below: any Storage, start: UInt64, byteCount: UInt64, path: String,
        sibling: @escaping @Sendable (String) throws(ImageError) -> any Storage
    ) {
        self.below = below
        self.start = start
        self.byteCount = byteCount
        self.path = path
        self.sibling = sibling
    }

    var allocatedBytes: UInt64? { byteCount }
    var hostFiles: [FileStorage] { below.hostFiles }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        let count = offset < byteCount ? Int(min(UInt64(buffer.count), byteCount - offset)) : 0
        if count > 0 { try below.read(into: buffer.part(0, count), at: start + offset) }
        buffer.zero(from: count)
    }

    func dataRun(at offset: UInt64, limit: UInt64) -> (isData: Bool, length: UInt64) {
        guard offset < byteCount else { return (false, limit) }
        return below.dataRun(at: start + offset, limit: min(limit, byteCount - offset))
    }

    var refusal: ImageError { ImageError(.readOnly, "'\(path)' is open read-only", path: path) }
    /// The file below belongs to the archive, which closes it.
    func close() {}
    func openSibling(_ path: String, create: Bool) throws(ImageError) -> any Storage {
        if create { throw refusal }
        return try sibling(FilePath.name(of: path))
    }
}
