/// Block size and offsets of a cloop image, from whichever of the layouts it has.
struct CloopLayout {
    static let headerBytes: UInt64 = 136

    var blockBytes: Int
    /// Where each block begins, and the end of the last.
    var offsets: [UInt64] = []
    /// Codec of each block; empty for images before V4.
    var codecs: [UInt8] = []
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
        let table = try EntryTable(
            storage, at: tablePlace, count: Int(blocks) + 1, width: Int(width), bigEndian: true)
        offsets = (0...Int(blocks)).map { table[$0] }
        if Self.version(head) == "V4.0" {
            codecs = offsets.map { UInt8($0 >> 60) }
            offsets = offsets.map { $0 & (1 << 60 - 1) }
        }
    }

    private static func version(_ head: [UInt8]) -> String { String(decoding: head[11..<15], as: UTF8.self) }
    private static func isHeader(_ head: [UInt8]) -> Bool { head.starts(with: Array("#!/bin/sh".utf8)) }

    /// Before V2.0 offsets had four bytes. Nothing in the header says so: the first of them, as 4 or as 8 bytes, must be
    /// the place behind the table.
    private static func isVersion1(_ head: [UInt8], _ first: [UInt8], _ blocks: UInt64) -> Bool {
        guard !["V2.0", "V4.0"].contains(version(head)) else { return false }
        return UInt64(first.be32(0)) == headerBytes + (blocks + 1) * 4
    }

    /// An image that `create` has made and nobody filled.
    var isUnwritten: Bool { offsets.allSatisfy { $0 == 0 } && codecs.isEmpty }

    /// Refuses offsets that fall, blocks that are too long, and blocks outside their part of the file.
    func verify(_ storage: any Storage) throws(ImageError) {
        func bad(_ message: String, _ index: Int) -> ImageError {
            ImageError(
                .corrupt, message, format: "cloop", path: storage.path, offset: tablePlace + UInt64(index) * 8)
        }
        for index in offsets.indices.dropFirst() {
            guard offsets[index] >= offsets[index - 1] else {
                throw bad("offsets not monotonically increasing at index \(index), image file is corrupt", index)
            }
            guard offsets[index] - offsets[index - 1] <= 2 * UInt64(CloopFormat.maximumBlock) else {
                throw bad("invalid compressed block size at index \(index), image file is corrupt", index)
            }
        }
        guard let first = offsets.first, let last = offsets.last else { return }
        let start = isFooter ? 0 : Self.headerBytes + tableBytes
        let end = isFooter ? tablePlace : storage.byteCount
        guard last <= end, first >= start || offsets.count == 1 else {
            throw bad("the blocks do not lie between the offset table and the end of the file", 0)
        }
    }
}
