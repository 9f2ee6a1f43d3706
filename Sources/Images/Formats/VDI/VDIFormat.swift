/// VirtualBox disk image 1.1 (VirtualBox src/VBox/Storage/VDICore.h). Little-endian.
///
///     offset size
///          0   64  text
///         64    4  signature 0xbeda107f
///         68    4  version 0x00010001
///         72    4  size of the header from here on
///         76    4  type: 1 dynamic, 2 fixed, 3 undo, 4 differencing
///         80    4  flags                     84  256  description
///        340    4  offset of the block map  344    4  offset of the data
///        348   12  cylinders, heads, sectors (unused)
///        360    4  sector size              364    4  unused
///        368    8  size of the disk         376    4  size of a block, 1 MiB
///        380    4  extra bytes per block    384    4  blocks          388   4  blocks allocated
///        392   16  UUID of the image        408   16  UUID of its content, new with every change
///        424   16  UUID of the parent       440   16  UUID of the parent's content
///
/// Block map: one 32-bit number per block, 0xffffffff not there, 0xfffffffe zeros, else the place in units of a block.
/// In undo and differencing images a block that is not there is the parent's. See `VDIParent` for how that is found.
public struct VDIFormat: ImageFormat {
    static let signature: UInt32 = 0xbeda_107f
    static let free: UInt64 = 0xffff_ffff
    static let zero: UInt64 = 0xffff_fffe
    static let blockBytes = 1 << 20
    static let maximumBlocks: UInt64 = 0x1fff_ffff

    public init() {}
    public var name: String { "vdi" }
    public var capabilities: FormatCapabilities { [.read, .write, .create, .backing, .check, .zeroes] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption("static", .bool, default: "off", "VDI static (pre-allocated) image"),
            CreateOption("backing_file", .string, "A VDI in the same folder: makes a differencing image"),
            CreateOption("backing_fmt", .string, "Must be 'vdi' if present"),
        ]
    }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        guard head.count >= 512, let base = head.baseAddress else { return 0 }
        return base.le32(64) == Self.signature ? 100 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        let header = try storage.readBytes(at: 0, count: 512)
        func bad(_ kind: ImageError.Kind, _ message: String, _ offset: UInt64) -> ImageError {
            ImageError(kind, message, format: name, path: storage.path, offset: offset)
        }
        guard header.le32(64) == Self.signature else {
            throw bad(.corrupt, "Image not in VDI format (bad signature)", 64)
        }
        guard header.le32(68) == 0x0001_0001 else {
            throw bad(
                .unsupported, "unsupported VDI image (version \(header.le32(68) >> 16).\(header.le32(68) & 0xffff))", 68
            )
        }
        let type = header.le32(76)
        guard (1...4).contains(type) else { throw bad(.unsupported, "unsupported VDI image (type \(type))", 76) }
        guard header.le32(360) == 512 else {
            throw bad(.unsupported, "unsupported VDI sector size \(header.le32(360))", 360)
        }
        guard header.le32(376) == UInt32(Self.blockBytes) else {
            throw bad(.unsupported, "unsupported VDI image (block size \(header.le32(376)) is not 1048576)", 376)
        }
        guard header.le32(380) == 0 else {
            throw bad(.unsupported, "unsupported VDI image (extra bytes per block)", 380)
        }
        let mapOffset = UInt64(header.le32(340)), dataOffset = UInt64(header.le32(344))
        guard mapOffset % 512 == 0, mapOffset >= 512 || mapOffset == 0x200 else {
            throw bad(.corrupt, "unsupported VDI image (unaligned block map offset \(mapOffset.hex))", 340)
        }
        guard dataOffset % 512 == 0 else {
            throw bad(.corrupt, "unsupported VDI image (unaligned data offset \(dataOffset.hex))", 344)
        }
        let size = header.le64(368), blocks = UInt64(header.le32(384))
        guard blocks <= Self.maximumBlocks, size <= blocks << 20 else {
            throw bad(
                .corrupt, "unsupported VDI image (disk size \(size), image bitmap has room for \(blocks << 20))", 368)
        }
        guard mapOffset + blocks * 4 <= storage.byteCount, dataOffset >= mapOffset + blocks * 4 else {
            throw bad(
                .corrupt, "the VDI block map of \(blocks) entries at \(mapOffset.hex) does not fit before the data", 384
            )
        }
        let map = try EntryTable(storage, at: mapOffset, count: Int(blocks), width: 4, bigEndian: false)
        let parent = type > 2 ? try VDIParent(of: header, path: storage.path) : nil
        return try VDIImage(storage, size: (size + 511) & ~511, map: map, dataOffset: dataOffset, parent: parent)
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        let isFixed = try OptionReader(request.options).bool("static") ?? false
        let size = (request.size + 511) & ~511
        let blocks = (size + UInt64(Self.blockBytes) - 1) >> 20
        guard blocks <= Self.maximumBlocks else {
            throw ImageError(
                .invalidArgument,
                "Unsupported VDI image size (size is \(size.hex), max supported is \((Self.maximumBlocks << 20).hex))",
                format: name)
        }
        let mapBytes = (blocks * 4 + 511) & ~511
        let buffer = HeapBuffer(Int(512 + mapBytes))
        let base = buffer.base
        let text = Array("<<< labctl VM Virtual Disk Image >>>\n".utf8)
        buffer.bytes.part(0, text.count).copyBytes(from: text)
        base.putLE32(Self.signature, 64)
        base.putLE32(0x0001_0001, 68)
        base.putLE32(0x190, 72)
        base.putLE32(request.backing != nil ? 4 : isFixed ? 2 : 1, 76)
        base.putLE32(512, 340)
        base.putLE32(UInt32(512 + mapBytes), 344)
        base.putLE32(512, 360)
        base.putLE64(size, 368)
        base.putLE32(UInt32(Self.blockBytes), 376)
        base.putLE32(UInt32(blocks), 384)
        base.putLE32(isFixed ? UInt32(blocks) : 0, 388)
        buffer.bytes.part(392, 16).copyBytes(from: GUID.random().bytes)
        buffer.bytes.part(408, 16).copyBytes(from: GUID.random().bytes)
        if let backing = request.backing {
            if isFixed { throw ImageError(.invalidArgument, "A static VDI cannot have a backing file", format: name) }
            let identity = try VDIParent.identity(of: backing, from: request.path)
            buffer.bytes.part(424, 32).copyBytes(from: identity)
        }
        for block in 0..<Int(blocks) {
            base.putLE32(isFixed ? UInt32(block) : UInt32(Self.free), 512 + block * 4)
        }
        try storage.write(from: buffer.readable, at: 0)
        if isFixed { try storage.resize(to: 512 + mapBytes + blocks << 20) }
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }
}
