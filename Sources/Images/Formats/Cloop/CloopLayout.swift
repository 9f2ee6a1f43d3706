/// Block size and offsets of a cloop image, from whichever of the layouts it has.
struct CloopLayout {
    static let headerBytes: UInt64 = 136

    var blockBytes: Int
    /// Where each block begins, and the end of the last; from V4 on with the codec in the top four bits.
    private let table: EntryTable
    private let hasCodecs: Bool
    private var tablePlace: UInt64
    private let tableBytes: UInt64
    private let isFooter: Bool

    init(_ storage: any Storage) throws(ImageError) {
        func bad(_ message: String, _ offset: UInt64) -> ImageError {
            ImageError(.corrupt, message, format: "cloop", path: storage.path, offset: offset)
        }
        guard storage.byteCount >= 144 else { throw bad("the file is shorter than a cloop header", 0) }
        var place: UInt64 = 0
        var head = try storage.readBytes(at: 0, count: Int(Self.headerBytes))
        if !Self.isHeader(head) {
            place = storage.byteCount - Self.headerBytes
            let last = try storage.readBytes(at: place, count: Int(Self.headerBytes))
            if Self.isHeader(last), Self.version(last) == "V4.0" { head = last } else { place = 0 }
        }
        isFooter = place > 0
        let size = head.be32(128), blocks = UInt64(head.be32(132))
        guard size > 0, size % 512 == 0 else { throw bad("block_size \(size) must be a multiple of 512", place + 128) }
        guard size <= CloopFormat.maximumBlock else {
            throw bad("block_size \(size) must be 64 MB or less", place + 128)
        }
        blockBytes = Int(size)
        guard (blocks + 1) * 8 <= CloopFormat.maximumTable else {
            throw bad("image requires too many offsets: \(blocks) blocks, try increasing block size", place + 132)
        }
        let first = try storage.readBytes(at: Self.headerBytes, count: 8)
        let isOld = !isFooter && Self.isVersion1(head, first, blocks)
        let width: UInt64 = isOld ? 4 : 8
        tableBytes = (blocks + 1) * width
        if isFooter {
            guard tableBytes <= place else { throw bad("the table of \(blocks) offsets does not fit", place + 132) }
            tablePlace = place - tableBytes
        } else {
            tablePlace = Self.headerBytes
            guard tablePlace + tableBytes <= storage.byteCount else {
                throw bad("the table of \(blocks) offsets lies beyond the file", 132)
            }
        }
        table = try EntryTable(storage, at: tablePlace, count: Int(blocks) + 1, width: Int(width), bigEndian: true)
        hasCodecs = Self.version(head) == "V4.0"
    }

    var blockCount: Int { table.count - 1 }

    /// Place, length and codec of a block.
    func block(_ index: Int) throws(ImageError) -> (offset: UInt64, count: Int, codec: UInt8) {
        let entry = try table[index]
        let start = place(entry), end = place(try table[index + 1])
        guard start <= end, end - start <= 2 * UInt64(CloopFormat.maximumBlock) else {
            throw ImageError(
                .corrupt, "cloop block \(index) goes from \(start.hex) to \(end.hex)", format: "cloop",
                path: table.storage.path, offset: start)
        }
        return (start, Int(end - start), hasCodecs ? UInt8(entry >> 60) : 0)
    }

    private func place(_ entry: UInt64) -> UInt64 { hasCodecs ? entry & (1 << 60 - 1) : entry }

    private static func version(_ head: [UInt8]) -> String { String(decoding: head[11..<15], as: UTF8.self) }
    private static func isHeader(_ head: [UInt8]) -> Bool { head.starts(with: Array("#!/bin/sh".utf8)) }

    /// Before V2.0 offsets had four bytes. Nothing in the header says so: the first of them, as 4 or as 8 bytes, must be
    /// the place behind the table.
    private static func isVersion1(_ head: [UInt8], _ first: [UInt8], _ blocks: UInt64) -> Bool {
        guard !["V2.0", "V4.0"].contains(version(head)) else { return false }
        return UInt64(first.be32(0)) == headerBytes + (blocks + 1) * 4
    }

    /// An image that `create` has made and nobody filled.
    func isUnwritten() throws(ImageError) -> Bool {
        guard !hasCodecs, try table[0] == 0 else { return false }
        var isZero = true
        try table.forEach { (_, entry) in if entry != 0 { isZero = false } }
        return isZero
    }

    /// Refuses offsets that fall, blocks that are too long, and blocks outside their part of the file.
    func verify(_ storage: any Storage) throws(ImageError) {
        func bad(_ message: String, _ index: Int) -> ImageError {
            ImageError(
                .corrupt, message, format: "cloop", path: storage.path, offset: tablePlace + UInt64(index) * 8)
        }
        let first = place(try table[0])
        var last = first
        try table.forEach { (index, entry) throws(ImageError) in
            let offset = place(entry)
            guard offset >= last else {
                throw bad("offsets not monotonically increasing at index \(index), image file is corrupt", index)
            }
            guard offset - last <= 2 * UInt64(CloopFormat.maximumBlock) else {
                throw bad("invalid compressed block size at index \(index), image file is corrupt", index)
            }
            last = offset
        }
        let start = isFooter ? 0 : Self.headerBytes + tableBytes
        let end = isFooter ? tablePlace : storage.byteCount
        guard last <= end, first >= start || blockCount == 0 else {
            throw bad("the blocks do not lie between the offset table and the end of the file", 0)
        }
    }
}
