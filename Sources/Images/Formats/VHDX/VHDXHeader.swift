/// VHDX (Microsoft, [MS-VHDX]). Little-endian, GUIDs in Microsoft's byte order, CRC-32C over every structure.
///
///     0       file identifier "vhdxfile", creator in UTF-16
///     64 KiB  header 1       128 KiB  header 2       192 KiB  region table 1       256 KiB  region table 2
///
/// Header, 4 KiB (2.2.2): 0 "head", 4 checksum, 8 sequence number, 16 FileWriteGuid, 32 DataWriteGuid, 48 LogGuid,
///     64 log version (2), 66 version (2), 68 log length (4), 72 log offset (8)
/// Region table, 64 KiB (2.2.3): 0 "regi", 4 checksum, 8 entries (4); from 16 on 32 bytes each: GUID, offset (8),
///     length (4), required (4)
struct VHDXHeader {
    static let offsets: [UInt64] = [64 << 10, 128 << 10]
    static let regionOffsets: [UInt64] = [192 << 10, 256 << 10]
    static let signature = Array("vhdxfile".utf8)
    static let batRegion = GUID(mixedEndian: "2DC27766-F623-4200-9D64-115E9BFD4A08")
    static let metadataRegion = GUID(mixedEndian: "8B7CA206-4790-4B9A-B8FE-575F050F886E")
    static let maximumLog: UInt32 = 256 << 20

    var sequence: UInt64
    var fileWrite: GUID
    var dataWrite: GUID
    var log: GUID
    var logLength: UInt32
    var logOffset: UInt64
    /// Which of the two places this header was read from.
    var slot = 0

    /// The header in force: the valid one with the higher sequence number.
    init(_ storage: any Storage) throws(ImageError) {
        func bad(_ message: String, _ offset: UInt64) -> ImageError {
            ImageError(.corrupt, message, format: "vhdx", path: storage.path, offset: offset)
        }
        guard try storage.readBytes(at: 0, count: 8) == Self.signature else {
            throw bad("the file identifier is not 'vhdxfile'", 0)
        }
        var found: [(header: VHDXHeader, raw: [UInt8])] = []
        for (slot, offset) in Self.offsets.enumerated() {
            let raw = try storage.readBytes(at: offset, count: 4096)
            guard Array(raw[0..<4]) == Array("head".utf8), CRC32C.checksum(raw, zeroing: 4) == raw.le32(4),
                raw.le16(66) == 1
            else { continue }
            var header = VHDXHeader(
                sequence: raw.le64(8), fileWrite: GUID(bytes: Array(raw[16..<32])),
                dataWrite: GUID(bytes: Array(raw[32..<48])),
                log: GUID(bytes: Array(raw[48..<64])), logLength: raw.le32(68), logOffset: raw.le64(72))
            header.slot = slot
            found.append((header, raw))
        }
        found.sort { $0.header.sequence > $1.header.sequence }
        guard let best = found.first else { throw bad("neither of the two headers is valid", Self.offsets[0]) }
        if found.count == 2, found[0].header.sequence == found[1].header.sequence, found[0].raw != found[1].raw {
            throw bad("both headers have sequence number \(best.header.sequence) but differ", Self.offsets[0])
        }
        self = best.header
        guard logLength % (1 << 20) == 0, logOffset % (1 << 20) == 0, logLength <= Self.maximumLog,
            logOffset >= 1 << 20, logOffset < 1 << 50
        else { throw bad("the log of \(logLength) bytes at \(logOffset.hex) is invalid", Self.offsets[slot] + 68) }
    }

    init(sequence: UInt64, fileWrite: GUID, dataWrite: GUID, log: GUID, logLength: UInt32, logOffset: UInt64) {
        self.sequence = sequence
        self.fileWrite = fileWrite
        self.dataWrite = dataWrite
        self.log = log
        self.logLength = logLength
        self.logOffset = logOffset
    }

    func encoded() -> [UInt8] {
        var out = Array("head".utf8)
        out.putLE(UInt32(0))
        out.putLE(sequence)
        out += fileWrite.bytes + dataWrite.bytes + log.bytes
        out.putLE(UInt16(0))
        out.putLE(UInt16(1))
        out.putLE(logLength)
        out.putLE(logOffset)
        out += [UInt8](repeating: 0, count: 4096 - out.count)
        CRC32C.seal(&out, at: 4)
        return out
    }

    /// Writes the next header into the other place, so that one valid header is there at any time.
    mutating func write(to storage: any Storage) throws(ImageError) {
        guard sequence < UInt64.max else {
            throw ImageError(
                .corrupt, "header sequence number \(sequence) leaves none for the next header", format: "vhdx",
                path: storage.path, offset: Self.offsets[slot] + 8)
        }
        sequence += 1
        slot = 1 - slot
        try storage.write(encoded(), at: Self.offsets[slot])
        try storage.sync()
    }

    /// Offset and length of a region, from the first region table that is valid.
    static func regions(_ storage: any Storage) throws(ImageError) -> [GUID: (offset: UInt64, length: UInt64)] {
        func bad(_ kind: ImageError.Kind, _ message: String, _ offset: UInt64) -> ImageError {
            ImageError(kind, message, format: "vhdx", path: storage.path, offset: offset)
        }
        for place in regionOffsets {
            let raw = try storage.readBytes(at: place, count: 65536)
            guard Array(raw[0..<4]) == Array("regi".utf8), CRC32C.checksum(raw, zeroing: 4) == raw.le32(4) else {
                continue
            }
            let count = Int(raw.le32(8))
            guard count <= 2047 else {
                throw bad(.corrupt, "the region table has \(count) entries, at most 2047 fit", place + 8)
            }
            var regions: [GUID: (UInt64, UInt64)] = [:]
            for index in 0..<count {
                let at = 16 + index * 32
                let identifier = GUID(bytes: Array(raw[at..<at + 16]))
                let offset = raw.le64(at + 16), length = UInt64(raw.le32(at + 24))
                guard offset >= 1 << 20, offset % (1 << 20) == 0, length % (1 << 20) == 0, offset < 1 << 50 else {
                    throw bad(
                        .corrupt, "region \(index) of \(length) bytes at \(offset.hex) is not aligned to 1 MiB",
                        place + UInt64(at))
                }
                guard regions.updateValue((offset, length), forKey: identifier) == nil else {
                    throw bad(.corrupt, "region \(identifier.mixedEndianText) is listed twice", place + UInt64(at))
                }
                let isKnown = identifier == batRegion || identifier == metadataRegion
                guard isKnown || raw.le32(at + 28) & 1 == 0 else {
                    throw bad(
                        .unsupported, "the image requires the unknown region \(identifier.mixedEndianText)",
                        place + UInt64(at))
                }
            }
            let sorted = regions.values.sorted { $0.0 < $1.0 }
            for (one, two) in zip(sorted, sorted.dropFirst()) where one.0 + one.1 > two.0 {
                throw bad(.corrupt, "two regions overlap at \(two.0.hex)", place)
            }
            return regions.mapValues { (offset: $0.0, length: $0.1) }
        }
        throw bad(.corrupt, "neither of the two region tables is valid", regionOffsets[0])
    }
}
