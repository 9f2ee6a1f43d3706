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
    }

    /// Pages that the log demands, and the file's length after it.
    struct Changes {
        var pages: [UInt64: [UInt8]] = [:]
        var byteCount: UInt64 = 0
        fileprivate var zeroedBytes: UInt64 = 0
    }

    static let sectorBytes = 4096
    /// Heads that are tried, the newest first. A torn write spoils one or two.
    private static let triedHeads = 64
    /// Zeroes that a log may ask for in all.
    private static let maximumZeroed: UInt64 = 1 << 30
    /// Longest file that a log may ask for: the largest disk and as much again.
    private static let maximumFile: UInt64 = 128 << 40

    /// What has to be applied: the newest complete sequence of entries, nothing where no entry was ever completed.
    /// Throws where entries are there but none of their sequences is complete.
    static func changes(_ storage: any Storage, _ header: VHDXHeader) throws(ImageError) -> Changes {
        func bad(_ message: String) -> ImageError {
            ImageError(.corrupt, message, format: "vhdx", path: storage.path, offset: header.logOffset)
        }
        guard header.logLength > 0, header.logOffset + UInt64(header.logLength) <= storage.byteCount else {
            throw bad("the log of \(header.logLength) bytes does not lie in the file")
        }
        let ring = Ring(storage: storage, start: header.logOffset, count: Int(header.logLength), guid: header.log)
        let entries = try ring.entries()
        if entries.isEmpty { return Changes(byteCount: storage.byteCount) }
        for head in entries.values.sorted(by: { $0.sequence > $1.sequence }).prefix(triedHeads) {
            guard let sequence = chain(entries, to: head, ring.count) else { continue }
            guard head.flushedOffset <= storage.byteCount else {
                throw bad(
                    "the file is truncated: the log expects \(head.flushedOffset) bytes, it has \(storage.byteCount)")
            }
            guard head.lastOffset <= maximumFile else {
                throw bad("the log makes the file \(head.lastOffset) bytes long, at most \(maximumFile) are possible")
            }
            var changes = Changes(byteCount: head.lastOffset)
            for entry in sequence { try collect(entry, ring, into: &changes, storage) }
            return changes
        }
        throw bad("the log must be replayed but holds no complete sequence")
    }

    /// The log's place in the file, read entry by entry.
    private struct Ring {
        let storage: any Storage
        let start: UInt64
        let count: Int
        let guid: GUID

        /// Bytes from `position` on, continued at the beginning.
        func bytes(_ position: Int, _ length: Int) throws(ImageError) -> [UInt8] {
            let first = min(length, count - position)
            let bytes = try storage.readBytes(at: start + UInt64(position), count: first)
            return first == length ? bytes : bytes + (try storage.readBytes(at: start, count: length - first))
        }

        /// Every valid entry by its position.
        func entries() throws(ImageError) -> [Int: Entry] {
            var entries: [Int: Entry] = [:]
            // What is read is bounded: entries that claim to overlap one another would make it the square of the log.
            var budget = 4 * count
            var position = 0
            while position < count {
                guard let entry = try entry(at: position, &budget) else {
                    position += sectorBytes
                    continue
                }
                entries[position] = entry
                position += entry.length
            }
            return entries
        }

        private func entry(at position: Int, _ budget: inout Int) throws(ImageError) -> Entry? {
            let head = try storage.readBytes(at: start + UInt64(position), count: 64)
            guard Array(head[0..<4]) == Array("loge".utf8), Array(head[32..<48]) == guid.bytes else { return nil }
            let length = Int(head.le32(8)), tail = Int(head.le32(12)), sequence = head.le64(16)
            guard length >= sectorBytes, length % sectorBytes == 0, length <= count, length <= budget,
                tail % sectorBytes == 0, tail < count, sequence > 0, sequence < UInt64.max
            else { return nil }
            budget -= length
            let bytes = try bytes(position, length)
            guard CRC32C.checksum(bytes, zeroing: 4) == bytes.le32(4) else { return nil }
            return Entry(
                position: position, length: length, tail: tail, sequence: sequence, flushedOffset: bytes.le64(48),
                lastOffset: bytes.le64(56))
        }
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

    private static func collect(
        _ entry: Entry, _ ring: Ring, into changes: inout Changes, _ storage: any Storage
    ) throws(ImageError) {
        let bytes = try ring.bytes(entry.position, entry.length)
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
                guard length % 4096 == 0, length <= maximumZeroed - changes.zeroedBytes else {
                    throw bad("a log entry zeroes \(length) bytes, all of them together at most \(maximumZeroed)")
                }
                changes.zeroedBytes += length
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
