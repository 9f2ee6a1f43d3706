/// VHD images: fixed (data, footer), dynamic (footer copy, header, table, blocks, footer) and differencing.
///
/// Dynamic header, 1024 bytes:
///
///     0    8  "cxsparse"    8  8  all ones       16   8  offset of the block table   24   4  version
///     28   4  entries      32  4  block size     36   4  checksum
///     40  16  UUID of the parent                 56   4  its time stamp              64 512  its name, UTF-16BE
///     576     8 locators: 4 platform code, 4 space, 4 length, 4 zero, 8 offset
///
/// Block table: 32-bit sector numbers, all ones for blocks that are not there. A block is a bitmap, one bit per sector
/// from the high bit of the first byte down, padded to 512, then the data. In differencing images a clear bit means the
/// parent's sector.
public struct VHDFormat: ImageFormat {
    public init() {}
    public var name: String { "vpc" }
    public var capabilities: FormatCapabilities { [.read, .write, .create, .backing] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption(
                "subformat", .string,
                "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} "),
            CreateOption(
                "force_size", .bool,
                "Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based calculation"
            ),
            CreateOption("backing_file", .string, "Parent of a differencing image"),
            CreateOption("backing_fmt", .string, "Must be 'vpc' if present"),
        ]
    }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        guard head.count >= 8 else { return 0 }
        return VHDFooter.cookie.elementsEqual(head.prefix(8)) ? 100 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        func bad(_ message: String, _ offset: UInt64) -> ImageError {
            ImageError(.corrupt, message, format: name, path: storage.path, offset: offset)
        }
        guard let footer = try VHDFooter(storage) else {
            throw bad("invalid VPC image: no footer with a correct checksum", 0)
        }
        guard let kind = footer.kind else { throw bad("unknown VPC image type \(footer.bytes.be32(60))", 60) }
        let size = footer.diskSize
        guard size / 512 <= VHDFooter.maximumSectors else {
            throw bad("the disk of \(size) bytes is larger than 2040 GiB", 48)
        }
        if kind == .fixed {
            guard size <= storage.byteCount else {
                throw bad("a fixed disk of \(size) bytes does not fit the file", 48)
            }
            return VHDFixedImage(storage, size: size)
        }
        let headerOffset = footer.dynamicOffset
        guard headerOffset <= storage.byteCount, storage.byteCount - headerOffset >= 1024 else {
            throw bad("the dynamic header at \(headerOffset.hex) lies beyond the file", 16)
        }
        let header = try storage.readBytes(at: headerOffset, count: 1024)
        guard Array(header[0..<8]) == Array("cxsparse".utf8) else { throw bad("invalid dynamic header", headerOffset) }
        guard VHDFooter.checksum(header, at: 36) == header.be32(36) else {
            throw bad("the checksum of the dynamic header is wrong", headerOffset + 36)
        }
        let blockBytes = header.be32(32), entries = UInt64(header.be32(28)), tableOffset = header.be64(16)
        guard blockBytes.nonzeroBitCount == 1, blockBytes >= 512, blockBytes <= 256 << 20 else {
            throw bad("Invalid block size \(blockBytes)", headerOffset + 32)
        }
        guard entries * UInt64(blockBytes) >= size else {
            throw bad("Page table too small: \(entries) blocks", headerOffset + 28)
        }
        guard entries <= 0xff00_0000 * 512 / UInt64(blockBytes) + 1, tableOffset <= storage.byteCount,
            storage.byteCount - tableOffset >= entries * 4
        else {
            throw bad("the block table of \(entries) entries at \(tableOffset.hex) leaves the file", headerOffset + 16)
        }
        let table = try EntryTable(storage, at: tableOffset, count: Int(entries), width: 4, bigEndian: true)
        let parent = kind == .differencing ? try VHDParent(storage, header: header) : nil
        return try VHDImage(
            storage, size: size, blockBytes: Int(blockBytes), table: table, footer: footer, parent: parent)
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        let options = OptionReader(request.options)
        let forced = try options.bool("force_size") ?? false
        let subformat = options.text("subformat") ?? "dynamic"
        guard subformat == "dynamic" || subformat == "fixed" else {
            throw ImageError(.invalidArgument, "Invalid subformat '\(subformat)'", format: name)
        }
        let sectors = (request.size + 511) / 512
        guard sectors <= VHDFooter.maximumSectors else {
            throw ImageError(.invalidArgument, "Disk size is too large, max size is 2040 GiB", format: name)
        }
        let usesSize = forced || sectors > VHDFooter.maximumGeometry || request.backing != nil
        let geometry = usesSize ? VHDFooter.geometry(sectors) : VHDFooter.roundedGeometry(sectors)
        let size = usesSize ? sectors * 512 : UInt64(geometry.cylinders * geometry.heads * geometry.sectors) * 512
        let kind: VHDFooter.Kind = request.backing != nil ? .differencing : subformat == "fixed" ? .fixed : .dynamic
        let footer = VHDFooter(kind: kind, size: size, geometry: geometry, creator: usesSize ? "qem2" : "qemu")
        if kind == .fixed {
            try storage.resize(to: size)
            return try storage.write(footer.bytes, at: size)
        }
        let blockBytes: UInt64 = 2 << 20
        let entries = (size + blockBytes - 1) / blockBytes
        let tableBytes = (entries * 4 + 511) & ~511
        var header = Array("cxsparse".utf8)
        header.putBE(UInt64.max)
        header.putBE(UInt64(1536))
        header.putBE(UInt32(0x0001_0000))
        header.putBE(UInt32(entries))
        header.putBE(UInt32(blockBytes))
        header += [UInt8](repeating: 0, count: 1024 - header.count)
        var locators: [(offset: UInt64, bytes: [UInt8])] = []
        if let backing = request.backing {
            locators = try VHDParent.describe(backing, request, into: &header, at: 1536 + tableBytes)
        }
        VHDFooter.seal(&header, at: 36)
        try storage.write(footer.bytes + header + [UInt8](repeating: 0xff, count: Int(tableBytes)), at: 0)
        for locator in locators { try storage.write(locator.bytes, at: locator.offset) }
        try storage.write(footer.bytes, at: (storage.byteCount + 511) & ~511)
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }
}

/// A fixed VHD: the disk, then the footer.
final class VHDFixedImage: BlockMappedImage, @unchecked Sendable {
    init(_ storage: any Storage, size: UInt64) {
        super.init(storage: storage, formatName: "vpc", size: size, blockBytes: 65536)
    }
    override var clusterSize: Int? { nil }
    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        let run = storage.dataRun(at: offset, limit: limit)
        // A hole can be written in place like data; only reading may skip it.
        return BlockRun(kind: .data, length: run.length, host: offset)
    }
}
