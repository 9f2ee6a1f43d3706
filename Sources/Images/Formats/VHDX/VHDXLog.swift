/// The log of a VHDX ([MS-VHDX] 2.3): a ring of entries, each a multiple of 4 KiB.
///
/// Entry header, 64 bytes: 0 "loge", 4 checksum of the entry, 8 length (4), 12 tail (4), 16 sequence number (8),
///     24 descriptors (4), 32 LogGuid, 48 flushed file offset (8), 56 last file offset (8)
/// Descriptor, 32 bytes: "zero", 0, length (8), file offset (8), sequence (8); or
///     "desc", trailing bytes (4), leading bytes (8), file offset (8), sequence (8)
/// Data sector: "data", sequence high (4), 4084 bytes, sequence low (4): the page is leading 8, these, trailing 4.
struct VHDXLog {
    struct Entry {
        var position: Int
        var length: Int
        var tail: Int
        var sequence: UInt64
        var flushedOffset: UInt64
        var lastOffset: UInt64
        var bytes: [UInt8]
    }

    /// Pages that the log demands, and the file's length after it.
    struct Changes {
        var pages: [UInt64: [UInt8]] = [:]
        var byteCount: UInt64 = 0
    }

    static let sectorBytes = 4096

    /// What has to be applied: the newest complete sequence of entries, nothing where no entry was ever completed.
    /// Throws where entries are there but none of their sequences is complete.
    static func changes(_ storage: any Storage, _ header: VHDXHeader) throws(ImageError) -> Changes {
        func bad(_ message: String) -> ImageError {
            ImageError(.corrupt, message, format: "vhdx", path: storage.path, offset: header.logOffset)
        }
        guard header.logLength > 0, header.logOffset + UInt64(header.logLength) <= storage.byteCount else {
            throw bad("the log of \(header.logLength) bytes does not lie in the file")
        }
        let ring = try storage.readBytes(at: header.logOffset, count: Int(header.logLength))
        var entries: [Int: Entry] = [:]
        for position in stride(from: 0, to: ring.count, by: sectorBytes) {
            if let entry = entry(ring, at: position, header.log) { entries[position] = entry }
        }
        if entries.isEmpty { return Changes(byteCount: storage.byteCount) }
        for head in entries.values.sorted(by: { $0.sequence > $1.sequence }) {
            guard let sequence = chain(entries, to: head, ring.count) else { continue }
            guard head.flushedOffset <= storage.byteCount else {
                throw bad(
                    "the file is truncated: the log expects \(head.flushedOffset) bytes, it has \(storage.byteCount)")
            }
            var changes = Changes(byteCount: head.lastOffset)
            for entry in sequence { try collect(entry, into: &changes, storage) }
            return changes
        }
        throw bad("the log must be replayed but holds no complete sequence")
    }

    /// A valid entry at a position of the ring.
    private static func entry(_ ring: [UInt8], at position: Int, _ guid: GUID) -> Entry? {
        guard Array(ring[position..<position + 4]) == Array("loge".utf8),
            Array(ring[position + 32..<position + 48]) == guid.bytes
        else { return nil }
        let length = Int(ring.le32(position + 8)), tail = Int(ring.le32(position + 12)),
            sequence = ring.le64(position + 16)
        guard length >= sectorBytes, length % sectorBytes == 0, length <= ring.count, tail % sectorBytes == 0,
            tail < ring.count,
            sequence > 0
        else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(length)
        let first = min(length, ring.count - position)
        bytes += ring[position..<position + first]
        bytes += ring[0..<length - first]
        guard CRC32C.checksum(bytes, zeroing: 4) == bytes.le32(4) else { return nil }
        return Entry(
            position: position, length: length, tail: tail, sequence: sequence, flushedOffset: bytes.le64(48),
            lastOffset: bytes.le64(56), bytes: bytes)
    }

    /// The entries from the head's tail to the head, nil where one is missing.
    private static func chain(_ entries: [Int: Entry], to head: Entry, _ ringBytes: Int) -> [Entry]? {
        var sequence: [Entry] = []
        var position = head.tail
        while let entry = entries[position], sequence.count <= entries.count {
            if let last = sequence.last, entry.sequence != last.sequence + 1 { return nil }
            sequence.append(entry)
            if entry.position == head.position { return sequence }
            position = (position + entry.length) % ringBytes
        }
        return nil
    }

    private static func collect(_ entry: Entry, into changes: inout Changes, _ storage: any Storage) throws(ImageError)
    {
        let bytes = entry.bytes
        let count = Int(bytes.le32(24))
        func bad(_ message: String) -> ImageError { ImageError(.corrupt, message, format: "vhdx", path: storage.path) }
        let descriptorSectors = count <= 126 ? 1 : 1 + (count - 126 + 127) / 128
        guard descriptorSectors * sectorBytes <= bytes.count else {
            throw bad("a log entry has \(count) descriptors and no room for them")
        }
        var dataAt = descriptorSectors * sectorBytes
        let zeroPage = [UInt8](repeating: 0, count: sectorBytes)
        for index in 0..<count {
            let at = 64 + index * 32
            let offset = bytes.le64(at + 16)
            guard bytes.le64(at + 24) == entry.sequence, offset % 4096 == 0, offset < 1 << 50 else {
                throw bad("log descriptor \(index) of entry \(entry.sequence) is invalid")
            }
            switch String(decoding: bytes[at..<at + 4], as: UTF8.self) {
            case "zero":
                let length = bytes.le64(at + 8)
                guard length % 4096 == 0, length <= 1 << 30 else { throw bad("a log entry zeroes \(length) bytes") }
                for page in 0..<length / 4096 { changes.pages[offset / 4096 + page] = zeroPage }
            case "desc":
                guard dataAt + 4096 <= bytes.count, Array(bytes[dataAt..<dataAt + 4]) == Array("data".utf8),
                    UInt64(bytes.le32(dataAt + 4)) << 32 | UInt64(bytes.le32(dataAt + 4092)) == entry.sequence
                else { throw bad("a log entry's data sector is invalid") }
                changes.pages[offset / 4096] =
                    Array(bytes[at + 8..<at + 16]) + Array(bytes[dataAt + 8..<dataAt + 4092])
                    + Array(bytes[at + 4..<at + 8])
                dataAt += 4096
            default: throw bad("a log descriptor has an unknown signature")
            }
        }
    }

    /// One entry that stands alone and holds the given pages (file offset, 4096 bytes), at most 126.
    static func encode(
        _ pages: [(offset: UInt64, bytes: [UInt8])], at position: Int, sequence: UInt64, guid: GUID, fileBytes: UInt64
    ) -> [UInt8] {
        var out = Array("loge".utf8)
        out.putLE(UInt32(0))
        out.putLE(UInt32((1 + pages.count) * sectorBytes))
        out.putLE(UInt32(position))
        out.putLE(sequence)
        out.putLE(UInt32(pages.count))
        out.putLE(UInt32(0))
        out += guid.bytes
        out.putLE(fileBytes)
        out.putLE(fileBytes)
        for page in pages {
            out += Array("desc".utf8) + page.bytes[4092..<4096] + page.bytes[0..<8]
            out.putLE(page.offset)
            out.putLE(sequence)
        }
        out += [UInt8](repeating: 0, count: sectorBytes - out.count)
        for page in pages {
            out += Array("data".utf8)
            out.putLE(UInt32(truncatingIfNeeded: sequence >> 32))
            out += page.bytes[8..<4092]
            out.putLE(UInt32(truncatingIfNeeded: sequence))
        }
        CRC32C.seal(&out, at: 4)
        return out
    }
}
