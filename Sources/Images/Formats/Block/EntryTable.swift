/// A table of equally wide integers in a file, kept in memory (block allocation tables, bitmaps). Changes are marked by
/// 4 KiB pages and written on demand. Not thread-safe: the owner holds its lock.
final class EntryTable {
    static let pageBytes = 4096
    let storage: any Storage
    let fileOffset: UInt64
    let count: Int
    private let width: Int
    private let isBigEndian: Bool
    let buffer: HeapBuffer
    private(set) var dirtyPages: Set<Int> = []

    /// Reads `count` entries of `width` bytes (4 or 8) at `fileOffset`. The caller has bounded `count`.
    init(
        _ storage: any Storage, at fileOffset: UInt64, count: Int, width: Int, bigEndian: Bool
    ) throws(ImageError) {
        self.storage = storage
        self.fileOffset = fileOffset
        self.count = count
        self.width = width
        isBigEndian = bigEndian
        buffer = HeapBuffer(count * width, zeroed: false)
        try storage.read(into: buffer.bytes.part(0, count * width), at: fileOffset)
    }

    var byteCount: Int { count * width }

    subscript(index: Int) -> UInt64 {
        get {
            switch (width, isBigEndian) {
            case (4, true): UInt64(buffer.base.be32(index * 4))
            case (4, false): UInt64(buffer.base.le32(index * 4))
            case (_, true): buffer.base.be64(index * 8)
            case (_, false): buffer.base.le64(index * 8)
            }
        }
        set {
            switch (width, isBigEndian) {
            case (4, true): buffer.base.putBE32(UInt32(truncatingIfNeeded: newValue), index * 4)
            case (4, false): buffer.base.putLE32(UInt32(truncatingIfNeeded: newValue), index * 4)
            case (_, true): buffer.base.putBE64(newValue, index * 8)
            case (_, false): buffer.base.putLE64(newValue, index * 8)
            }
            dirtyPages.insert(index * width / Self.pageBytes)
        }
    }

    func markDirty(byte: Int) { dirtyPages.insert(byte / Self.pageBytes) }
    func markAllClean() { dirtyPages.removeAll() }

    /// Writes the changed pages.
    func writeBack() throws(ImageError) {
        for page in dirtyPages.sorted() {
            let start = page * Self.pageBytes
            let length = min(Self.pageBytes, byteCount - start)
            try storage.write(from: buffer.readable.part(start, length), at: fileOffset + UInt64(start))
        }
        dirtyPages.removeAll()
    }
}
