/// Growing images of Bochs (bximage, "growing" mode). Little-endian; read only.
///
///     offset size
///          0   32  "Bochs Virtual HD Image"     32  16  "Redolog"     48  16  "Growing"
///         64    4  version 0x10000 or 0x20000   68   4  header size, 512
///         72    4  catalog entries              76   4  bitmap bytes of an extent
///         80    4  bytes of an extent
///         84    8  size of the disk (version 2: at 88)
///
/// The catalog follows the header: one 32-bit number per extent, all ones for those that are not there. Extent n lies
/// behind the catalog at n × (bitmap sectors + extent sectors): first its bitmap, one bit per sector from the lowest,
/// then its sectors.
public struct BochsFormat: ImageFormat {
    public init() {}
    public var name: String { "bochs" }
    public var capabilities: FormatCapabilities { [.read] }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        guard head.count >= 512, let base = head.baseAddress else { return 0 }
        func matches(_ text: String, _ at: Int) -> Bool {
            Array(text.utf8).elementsEqual(head[at..<at + text.utf8.count])
        }
        return matches("Bochs Virtual HD Image", 0) && matches("Redolog", 32) && matches("Growing", 48)
            && (base.le32(64) == 0x10000 || base.le32(64) == 0x20000) ? 100 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        let head = try storage.readBytes(at: 0, count: 512)
        func bad(_ message: String, _ offset: UInt64) -> ImageError {
            ImageError(.corrupt, message, format: name, path: storage.path, offset: offset)
        }
        let span = HeapBuffer(512)
        span.bytes.copyBytes(from: head)
        guard probe(head: span.readable, fileSize: storage.byteCount, path: storage.path) > 0 else {
            throw bad("Image not in Bochs format", 0)
        }
        let size = head.le32(64) == 0x10000 ? head.le64(84) : head.le64(88)
        let headerBytes = UInt64(head.le32(68)), entries = UInt64(head.le32(72))
        let bitmapBytes = UInt64(head.le32(76)), extentBytes = UInt64(head.le32(80))
        guard extentBytes >= 512, extentBytes.nonzeroBitCount == 1, extentBytes <= 8 << 20 else {
            throw bad("Extent size \(extentBytes) must be a power of two from 512 to 8 MiB", 80)
        }
        guard bitmapBytes >= 1, bitmapBytes <= 1 << 20, bitmapBytes * 8 * 512 >= extentBytes else {
            throw bad("a bitmap of \(bitmapBytes) bytes does not cover an extent of \(extentBytes)", 76)
        }
        guard entries <= 0x10_0000, headerBytes + entries * 4 <= storage.byteCount else {
            throw bad("Catalog size is too large: \(entries) entries", 72)
        }
        guard size <= entries * extentBytes, size % 512 == 0 else {
            throw bad("Catalog size is too small for this disk size of \(size) bytes", 72)
        }
        let catalog = try EntryTable(storage, at: headerBytes, count: Int(entries), width: 4, bigEndian: false)
        return BochsImage(
            storage, size: size, extentBytes: Int(extentBytes), bitmapBytes: bitmapBytes, catalog: catalog)
    }
}

/// An open Bochs image.
final class BochsImage: BlockMappedImage, @unchecked Sendable {
    private let catalog: EntryTable
    private let dataStart: UInt64
    private let bitmapRoom: UInt64
    private let bitmapBytes: Int
    private let lock = Lock()
    private var bitmaps: [Int: [UInt8]] = [:]

    init(_ storage: any Storage, size: UInt64, extentBytes: Int, bitmapBytes: UInt64, catalog: EntryTable) {
        self.catalog = catalog
        self.bitmapBytes = Int(bitmapBytes)
        dataStart = catalog.fileOffset + UInt64(catalog.byteCount)
        bitmapRoom = (bitmapBytes + 511) & ~511
        super.init(storage: storage, formatName: "bochs", size: size, blockBytes: extentBytes)
    }

    override var isReadOnly: Bool { true }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        let block = UInt64(blockBytes)
        let index = Int(offset / block)
        let inBlock = offset % block
        let entry = try catalog[index]
        if entry == 0xffff_ffff { return BlockRun(kind: .unallocated, length: block - inBlock) }
        let host = dataStart + entry * (bitmapRoom + block)
        let bits = try bitmap(index, host)
        var sector = Int(inBlock / 512)
        let here = bits[sector / 8] >> UInt8(sector % 8) & 1 != 0
        while sector < blockBytes / 512, (bits[sector / 8] >> UInt8(sector % 8) & 1 != 0) == here { sector += 1 }
        return BlockRun(
            kind: here ? .data : .unallocated, length: UInt64(sector) * 512 - inBlock, host: host + bitmapRoom + inBlock
        )
    }

    private func bitmap(_ index: Int, _ host: UInt64) throws(ImageError) -> [UInt8] {
        lock.lock()
        defer { lock.unlock() }
        if let known = bitmaps[index] { return known }
        guard host < storage.byteCount else {
            throw corrupt("extent \(index) at \(host.hex) lies beyond the file", host)
        }
        if bitmaps.count * bitmapBytes > 4 << 20 { bitmaps.removeAll() }
        let bits = try storage.readBytes(at: host, count: bitmapBytes)
        bitmaps[index] = bits
        return bits
    }
}
