/// A file with changes laid over it in memory, by 4 KiB pages: a read-only image whose log has to be replayed.
final class OverlayStorage: UnwritableStorage, @unchecked Sendable {
    static let pageBytes: UInt64 = 4096
    private let below: any Storage
    private var pages: [UInt64: [UInt8]]
    let byteCount: UInt64

    /// `pages` by page number; `byteCount` at least the file's own.
    init(_ below: any Storage, pages: [UInt64: [UInt8]], byteCount: UInt64) {
        self.below = below
        self.pages = pages
        self.byteCount = max(byteCount, below.byteCount)
    }

    var path: String { below.path }
    var allocatedBytes: UInt64? { below.allocatedBytes }
    var hostFiles: [FileStorage] { below.hostFiles }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try below.read(into: buffer, at: offset)
        guard buffer.count > 0 else { return }
        let end = offset + UInt64(buffer.count)
        for number in offset / Self.pageBytes...(end - 1) / Self.pageBytes {
            guard let page = pages[number] else { continue }
            let start = number * Self.pageBytes
            let from = max(start, offset), to = min(start + Self.pageBytes, end)
            buffer.part(Int(from - offset), Int(to - from)).copyBytes(from: page[Int(from - start)..<Int(to - start)])
        }
    }

    var refusal: ImageError { ImageError(.readOnly, "'\(path)' is open read-only", path: path) }
    func dataRun(at offset: UInt64, limit: UInt64) -> (isData: Bool, length: UInt64) { (true, limit) }
    func close() { below.close() }
    func openSibling(_ path: String, create: Bool) throws(ImageError) -> any Storage {
        try below.openSibling(path, create: create)
    }
}
