/// Copy-on-write images of QEMU before 2.2 (version 2) and of User-Mode Linux (versions 1 to 3; arch/um/drivers/cow_user.c).
/// A header names the backing file; a bitmap says which sectors lie here; sector n lies at data + 512 n.
///
///     all: 0 magic "OOOM", 4 version
///     v1 UML   native endian, packed: backing[256]@8, mtime32@264, size64@268, sectorsize@276, length 280
///     v2 UML   big-endian, packed:    backing[4096]@8, mtime32@4104, size64@4108, sectorsize@4116, length 4120
///     v2 QEMU  big-endian:            backing[1024]@8, mtime@1032, size64@1040, sectorsize@1048, length 1056
///              (i386 builds:          size64@1036, sectorsize@1044, length 1048)
///     v3 UML   big-endian, packed:    mtime32@8, size64@12, sectorsize@20, alignment@24, format@28 (0 bitmap),
///              backing[4096]@32, length 4128; bitmap and data at multiples of the alignment
///
/// Bitmap: one bit per sector, lowest bit first. Versions 1 and 2 of UML round its length down, so up to seven sectors
/// at the end of the disk have no bit; they are the backing file's.
public struct COWFormat: ImageFormat {
    static let magic: [UInt8] = Array("OOOM".utf8)
    /// 64 TiB: their bitmap is 16 GiB long.
    static let maximumSize: UInt64 = 64 << 40

    public init() {}
    public var name: String { "cow" }
    public var capabilities: FormatCapabilities { [.read, .write, .create, .backing] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption("backing_file", .string, "File name of a base image"),
            CreateOption("backing_fmt", .string, "Image format of the base image (not recorded)"),
            CreateOption("version", .number, "Header version: 2 (QEMU, default) or 3 (User-Mode Linux)"),
        ]
    }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        guard head.count >= 280, let base = head.baseAddress else { return 0 }
        let big = base.be32(0) == 0x4f4f_4f4d && (1...3).contains(base.be32(4))
        let little = base.le32(0) == 0x4f4f_4f4d && base.le32(4) == 1
        return big || little ? 100 : 0
    }

    /// Where things are in one of the layouts.
    struct Geometry {
        var version: UInt32
        var backing: String
        var modified: UInt64
        var size: UInt64
        var bitmapOffset: UInt64
        var dataOffset: UInt64
        /// Sectors that have a bit.
        var coveredSectors: UInt64
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        let head = try storage.readBytes(at: 0, count: 4160)
        let candidates = Self.layouts(head)
        // Several layouts share version 2: the right one makes sense, and its data region ends with the file.
        let plausible = candidates.filter {
            ($0.size > 0 || $0.dataOffset == storage.byteCount) && $0.size % 512 == 0 && $0.size <= Self.maximumSize
        }
        let exact = plausible.first { $0.dataOffset + $0.size == storage.byteCount }
        guard let chosen = exact ?? plausible.first(where: { $0.bitmapOffset < storage.byteCount }) else {
            throw ImageError(
                .corrupt, "Image is not in COW format, or its size is not a multiple of 512 up to 64 TiB",
                format: name, path: storage.path, offset: 4)
        }
        guard chosen.dataOffset <= storage.byteCount else {
            throw ImageError(
                .corrupt, "the COW bitmap of a disk of \(chosen.size) bytes does not fit the file", format: name,
                path: storage.path, offset: chosen.bitmapOffset)
        }
        return try COWImage(storage, chosen)
    }

    static func layouts(_ head: [UInt8]) -> [Geometry] {
        func text(_ start: Int, _ count: Int) -> String {
            String(decoding: head[start..<start + count].prefix { $0 != 0 }, as: UTF8.self)
        }
        func make(
            _ version: UInt32, _ name: (Int, Int), _ mtime: UInt64, _ size: UInt64, sector: UInt32, length: UInt64,
            roundsUp: Bool
        ) -> Geometry? {
            guard sector == 512 else { return nil }
            let sectors = size / 512
            let bytes = roundsUp ? (sectors + 7) / 8 : sectors / 8
            return Geometry(
                version: version, backing: text(name.0, name.1), modified: mtime, size: size, bitmapOffset: length,
                dataOffset: (length + bytes + 511) & ~511, coveredSectors: roundsUp ? sectors : bytes * 8)
        }
        let isBig = Array(head[0..<4]) == magic
        let version = isBig ? head.be32(4) : head.le32(4)
        switch version {
        case 1:
            let size = isBig ? head.be64(268) : head.le64(268)
            let mtime = isBig ? head.be32(264) : head.le32(264)
            return [
                make(
                    1, (8, 256), UInt64(mtime), size, sector: isBig ? head.be32(276) : head.le32(276), length: 280,
                    roundsUp: false)
            ].compactMap { $0 }
        case 2:
            return [
                make(
                    2, (8, 1024), UInt64(head.be32(1032)), head.be64(1040), sector: head.be32(1048), length: 1056,
                    roundsUp: true),
                make(
                    2, (8, 4096), UInt64(head.be32(4104)), head.be64(4108), sector: head.be32(4116), length: 4120,
                    roundsUp: false),
                make(
                    2, (8, 1024), UInt64(head.be32(1032)), head.be64(1036), sector: head.be32(1044), length: 1048,
                    roundsUp: true),
            ].compactMap { $0 }
        case 3:
            // Some 64-bit builds wrote an 8-byte time: everything behind it is 4 bytes later.
            let shift = head[32] == 0 && head[36] != 0 ? 4 : 0
            let size = head.be64(12 + shift), alignment = UInt64(head.be32(24 + shift))
            guard head.be32(20 + shift) == 512, alignment > 0, alignment <= 1 << 20, head.be32(28 + shift) == 0 else {
                return []
            }
            let bitmap = UInt64(4128 + shift).rounded(toMultipleOf: alignment)
            let bytes = (size / 512 + 7) / 8
            return [
                Geometry(
                    version: 3, backing: text(32 + shift, 4096), modified: UInt64(head.be32(8 + shift)), size: size,
                    bitmapOffset: bitmap, dataOffset: (bitmap + bytes).rounded(toMultipleOf: alignment),
                    coveredSectors: size / 512)
            ]
        default: return []
        }
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        let version = try OptionReader(request.options).number("version") ?? 2
        guard version == 2 || version == 3 else {
            throw ImageError(.invalidArgument, "COW version must be 2 or 3, not \(version)", format: name)
        }
        let size = (request.size + 511) & ~511
        let path = Array((request.backing?.file ?? "").utf8)
        let room = version == 2 ? 1024 : 4096
        guard path.count < room else {
            throw ImageError(
                .invalidArgument, "Backing file name is too long, at most \(room - 1) bytes fit", format: name)
        }
        let modified = request.backing.flatMap { HostTime.modified(FilePath.resolve($0.file, from: request.path)) } ?? 0
        let header = HeapBuffer(version == 2 ? 1056 : 4128)
        let base = header.base
        header.bytes.part(0, 4).copyBytes(from: Self.magic)
        base.putBE32(UInt32(version), 4)
        let bitmapOffset: UInt64
        let alignment: UInt64
        if version == 2 {
            header.bytes.part(8, path.count).copyBytes(from: path)
            base.putBE32(UInt32(truncatingIfNeeded: modified), 1032)
            base.putBE64(size, 1040)
            base.putBE32(512, 1048)
            (bitmapOffset, alignment) = (1056, 512)
        } else {
            base.putBE32(UInt32(truncatingIfNeeded: modified), 8)
            base.putBE64(size, 12)
            base.putBE32(512, 20)
            base.putBE32(4096, 24)
            header.bytes.part(32, path.count).copyBytes(from: path)
            (bitmapOffset, alignment) = (8192, 4096)
        }
        try storage.write(from: header.readable, at: 0)
        try storage.resize(to: (bitmapOffset + (size / 512 + 7) / 8).rounded(toMultipleOf: alignment) + size)
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }
}

/// An open COW image.
final class COWImage: BlockMappedImage, @unchecked Sendable {
    private let geometry: COWFormat.Geometry
    private let bitmap: EntryTable

    init(_ storage: any Storage, _ geometry: COWFormat.Geometry) throws(ImageError) {
        self.geometry = geometry
        let bytes = Int((geometry.coveredSectors + 7) / 8)
        bitmap = try EntryTable(storage, at: geometry.bitmapOffset, count: bytes, width: 1, bigEndian: false)
        super.init(storage: storage, formatName: "cow", size: geometry.size, blockBytes: 512)
    }

    override var clusterSize: Int? { 512 }
    /// Every sector has its place from the start, and an interrupted writer may have used it.
    override var newRoomReadsAsZeros: Bool { false }

    override var backingReference: BackingReference? {
        geometry.backing.isEmpty ? nil : BackingReference(file: geometry.backing, format: nil)
    }

    private func isHere(_ sector: UInt64) throws(ImageError) -> Bool {
        guard sector < geometry.coveredSectors else { return false }
        return try bitmap[Int(sector / 8)] >> (sector % 8) & 1 != 0
    }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        var sector = offset / 512
        let here = try isHere(sector)
        let end = min(geometry.size / 512, (offset + limit + 511) / 512)
        while sector < end {
            // Whole bytes of the bitmap at once where they are uniform.
            let covered = min(end, geometry.coveredSectors)
            if sector % 8 == 0, sector + 8 <= covered {
                let bytes = try bitmap.run(
                    of: here ? 0xff : 0, from: Int(sector / 8), limit: Int((covered - sector) / 8))
                sector += UInt64(bytes) * 8
                if bytes > 0 { continue }
            }
            if try isHere(sector) != here { break }
            sector += 1
        }
        return BlockRun(
            kind: here ? .data : .unallocated, length: sector * 512 - offset, host: geometry.dataOffset + offset)
    }

    override func place(_ index: UInt64, count: Int) throws(ImageError) -> (host: UInt64, count: Int) {
        guard index < geometry.coveredSectors else {
            throw ImageError(
                .unsupported, "sector \(index) has no bit in this COW image's bitmap and cannot be written",
                format: "cow", path: path)
        }
        return (geometry.dataOffset + index * 512, min(count, Int(geometry.coveredSectors - index)))
    }

    override func link(_ index: UInt64, host: UInt64) throws(ImageError) {
        try bitmap.set(bitmap[Int(index / 8)] | 1 << (index % 8), at: Int(index / 8))
    }

    override var hasDirtyTables: Bool { !bitmap.dirtyPages.isEmpty }
    override func writeTables() throws(ImageError) { try bitmap.writeBack() }
}
