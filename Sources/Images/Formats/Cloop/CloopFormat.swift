/// Compressed loop images of live CDs (cloop.h of cloop 4, Debian cloop-src; Knoppix). The disk is cut into blocks, each
/// compressed for itself. All numbers are big-endian.
///
///     0     128  shell script; the version is the text "V2.0" or "V4.0" at byte 11
///     128     4  block size, a multiple of 512
///     132     4  number of blocks
///     136     8  per block and once more for the end: offset in the file
///                V4: top 4 bits codec (0 zlib, 1 none, 2 xz, 3 lz4, 4 lzo1x), rest offset
///
/// V0.68 and V1 have 4-byte offsets. V4 may have all of this behind the blocks instead of before them: first the
/// offsets, then the 136 bytes as the last ones of the file.
///
/// The disk has number of blocks × block size bytes: a source that does not fill the last block is padded.
public struct CloopFormat: ImageFormat {
    static let maximumBlock: UInt32 = 64 << 20
    static let maximumTable: UInt64 = 512 << 20
    /// Written into new images, which can be mounted by running them as cloop's own do.
    static let preamble = "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"

    public init() {}
    public var name: String { "cloop" }
    public var capabilities: FormatCapabilities { [.read, .create, .compress, .check, .writeOnce] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption("block_size", .size, default: "65536", "Bytes compressed together, a multiple of 512"),
        ]
    }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        guard head.count >= 136 else { return 0 }
        let text = String(decoding: head.part(0, 128), as: UTF8.self)
        if text.hasPrefix("#!/bin/sh"),
            text.contains("V2.0 Format") || text.contains("V4.0 Format") || text.contains("cloop")
        {
            return 90
        }
        // With the header behind the blocks the beginning says nothing; the name may.
        return FilePath.suffix(of: path) == "cloop" ? 2 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        let layout = try CloopLayout(storage)
        if !options.readOnly, try layout.isUnwritten() {
            return CloopWriter(storage, blockBytes: layout.blockBytes, blocks: layout.blockCount)
        }
        try layout.verify(storage)
        return CloopImage(storage, layout)
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        let block = try OptionReader(request.options).size("block_size") ?? 65536
        guard block > 0, block % 512 == 0, block <= UInt64(Self.maximumBlock) else {
            throw ImageError(
                .invalidArgument, "block_size must be a multiple of 512 up to 64M, not \(block)", format: name)
        }
        let blocks = (request.size + block - 1) / block
        guard (blocks + 1) * 8 <= Self.maximumTable else {
            throw ImageError(.invalidArgument, "\(blocks) blocks are too many, try a larger block_size", format: name)
        }
        var head = [UInt8](Self.preamble.utf8)
        head += [UInt8](repeating: 0, count: 128 - head.count)
        head.putBE(UInt32(block))
        head.putBE(UInt32(blocks))
        try storage.resize(to: 136 + (blocks + 1) * 8)
        try storage.write(head, at: 0)
    }
}

/// An open cloop image.
final class CloopImage: BlockMappedImage, CheckableImage, @unchecked Sendable {
    private let layout: CloopLayout
    private let cache: DecompressedClusters

    init(_ storage: any Storage, _ layout: CloopLayout) {
        self.layout = layout
        let blockBytes = layout.blockBytes
        cache = DecompressedClusters(clusterSize: blockBytes)
        super.init(
            storage: storage, formatName: "cloop", size: UInt64(layout.blockCount) * UInt64(blockBytes),
            blockBytes: blockBytes)
    }

    var blockCount: Int { layout.blockCount }
    override var isReadOnly: Bool { true }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        BlockRun(kind: .compressed, length: UInt64(blockBytes) - offset % UInt64(blockBytes))
    }

    override func readCompressed(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        let index = Int(offset / UInt64(blockBytes))
        let inBlock = Int(offset % UInt64(blockBytes))
        if inBlock == 0, buffer.count == blockBytes { return try decompress(index, into: buffer) }
        if cache.copy(UInt64(index) + 1, inBlock, into: buffer) { return }
        let whole = HeapBuffer(blockBytes, zeroed: false)
        try decompress(index, into: whole.bytes)
        cache.store(UInt64(index) + 1, whole.readable)
        buffer.copyMemory(from: whole.readable.part(inBlock, buffer.count))
    }

    /// Decompresses every block; zlib streams carry a checksum of their content.
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var result = CheckResult()
        result.totalClusters = UInt64(blockCount)
        result.allocatedClusters = result.totalClusters
        result.compressedClusters = result.totalClusters
        let buffer = HeapBuffer(blockBytes, zeroed: false)
        for index in 0..<blockCount {
            do throws(ImageError) {
                try decompress(index, into: buffer.bytes)
            } catch {
                result.corruptions += 1
                result.note("ERROR: \(error.message)")
            }
        }
        return result
    }

    func decompress(_ index: Int, into output: UnsafeMutableRawBufferPointer) throws(ImageError) {
        let (offset, count, codec) = try layout.block(index)
        let input = HeapBuffer(count, zeroed: false)
        try storage.read(into: input.bytes.part(0, count), at: offset)
        let payload = input.readable.part(0, count)
        let isGood: Bool
        switch codec {
        case 0: isGood = Deflate.decompress(payload, into: output, wrapper: .zlib)
        case 1:
            isGood = count == blockBytes
            if isGood { output.copyMemory(from: payload) }
        case 2: isGood = LibraryCodecs.unxz(payload, into: output)
        case 3: isGood = LibraryCodecs.unlz4(payload, into: output)
        case 4: isGood = LibraryCodecs.unlzo(payload, into: output)
        default:
            throw ImageError(
                .unsupported, "cloop block \(index) is compressed with codec \(codec), which is unknown",
                format: "cloop", path: path, offset: offset)
        }
        guard isGood else {
            throw ImageError(
                .io, "cloop block \(index) at \(offset.hex) does not decompress to \(blockBytes) bytes",
                format: "cloop",
                path: path, offset: offset)
        }
    }
}

/// A cloop image being made: blocks come in rising order, gaps are zeros, and the table is written at the end.
final class CloopWriter: BlockMappedImage, @unchecked Sendable {
    private var offsets: [UInt64] = []
    private let blocks: Int
    private var end: UInt64
    private var zeroBlock: [UInt8] = []

    init(_ storage: any Storage, blockBytes: Int, blocks: Int) {
        self.blocks = blocks
        end = 136 + UInt64(blocks + 1) * 8
        super.init(
            storage: storage, formatName: "cloop", size: UInt64(blocks) * UInt64(blockBytes), blockBytes: blockBytes)
    }

    override var needsCompressedWrites: Bool { true }
    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        BlockRun(kind: .unallocated, length: limit)
    }

    override func compress(
        cluster: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer
    ) throws(ImageError) -> Int? {
        let padded = HeapBuffer(blockBytes)
        padded.bytes.part(0, cluster.count).copyMemory(from: cluster)
        return Deflate.compress(padded.readable, into: out, wrapper: .zlib, level: 6)
    }

    override func writeCompressed(_ payload: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try append(payload, at: offset)
    }

    /// Blocks that compression would lengthen are stored as zlib streams all the same.
    override func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        let out = HeapBuffer(blockBytes + blockBytes / 8 + 1024, zeroed: false)
        for start in stride(from: 0, to: buffer.count, by: blockBytes) {
            let part = buffer.part(start, min(blockBytes, buffer.count - start))
            guard let count = try compress(cluster: part, into: out.bytes) else {
                throw ImageError(.io, "a block could not be compressed", format: formatName, path: path)
            }
            try append(out.readable.part(0, count), at: offset + UInt64(start))
        }
    }

    override func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) {}

    private func append(_ payload: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        guard offset % UInt64(blockBytes) == 0, offset / UInt64(blockBytes) >= UInt64(offsets.count) else {
            throw ImageError(
                .unsupported, "a cloop image is written once, from start to end", format: formatName, path: path,
                offset: offset)
        }
        try fillZeros(upTo: Int(offset / UInt64(blockBytes)))
        offsets.append(end)
        try storage.write(from: payload, at: end)
        end += UInt64(payload.count)
    }

    private func fillZeros(upTo index: Int) throws(ImageError) {
        while offsets.count < min(index, blocks) {
            if zeroBlock.isEmpty {
                let out = HeapBuffer(blockBytes, zeroed: false)
                let zeros = HeapBuffer(blockBytes)
                let count = try compress(cluster: zeros.readable, into: out.bytes) ?? 0
                zeroBlock = [UInt8](out.readable.part(0, count))
            }
            offsets.append(end)
            try storage.write(zeroBlock, at: end)
            end += UInt64(zeroBlock.count)
        }
    }

    override var hasDirtyTables: Bool { true }
    override func writeTables() throws(ImageError) {
        try fillZeros(upTo: blocks)
        var bytes: [UInt8] = []
        bytes.reserveCapacity((offsets.count + 1) * 8)
        for offset in offsets { bytes.putBE(offset) }
        bytes.putBE(end)
        try storage.write(bytes, at: 136)
    }
}
