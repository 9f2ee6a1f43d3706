/// Persistent dirty bitmaps (QEMU docs/interop/qcow2.txt, "Bitmaps").
///
/// Directory entry: 0 offset of the bitmap table (8), 8 its entries (4), 12 flags (4: 1 in use, 2 auto),
///     16 type 1, 17 granularity bits, 18 name length (2), 20 extra length (4), then extra, name, padding to 8
/// Table entry: bits 9–55 offset of a cluster of bits; without one bit 0 says whether all are ones.
public struct QCOW2Bitmap: Sendable {
    static let inUse: UInt32 = 1
    static let auto: UInt32 = 2
    static let maximumCount: UInt32 = 65535
    static let maximumDirectory: UInt64 = 1024 * 65535
    /// 512 MiB of bits, which is what QEMU takes too.
    static let maximumBits: UInt64 = 512 << 23

    public internal(set) var name: String
    var tableOffset: UInt64
    var tableSize: UInt32
    var flags: UInt32
    public internal(set) var granularityBits: Int
    var extra: [UInt8] = []

    /// Reads the directory; bitmaps that may be stale are read too and marked in use.
    static func readDirectory(_ image: QCOW2Image) throws(ImageError) -> [QCOW2Bitmap] {
        guard let place = image.header.bitmaps else { return [] }
        guard place.count <= maximumCount, place.directorySize <= maximumDirectory,
            place.directoryOffset <= image.storage.byteCount,
            place.directorySize <= image.storage.byteCount
        else {
            throw image.corrupt(
                "bitmap directory of \(place.count) entries, \(place.directorySize) bytes is invalid",
                place.directoryOffset)
        }
        let bytes = try image.storage.readBytes(at: place.directoryOffset, count: Int(place.directorySize))
        var bitmaps: [QCOW2Bitmap] = []
        var at = 0
        var tableBytes: UInt64 = 0
        for _ in 0..<place.count {
            guard at + 24 <= bytes.count else {
                throw image.corrupt("the bitmap directory is cut short", place.directoryOffset)
            }
            let nameLength = Int(bytes.be16(at + 18)), extraLength = Int(bytes.be32(at + 20))
            guard extraLength <= bytes.count, at + 24 + nameLength + extraLength <= bytes.count, bytes[at + 16] == 1,
                (9...31).contains(bytes[at + 17]), nameLength > 0, nameLength <= 1023,
                UInt64(bytes.be32(at + 8)) * 8 <= QCOW2Layout.maximumL1Bytes
            else { throw image.corrupt("bitmap directory entry \(bitmaps.count) is invalid", place.directoryOffset) }
            tableBytes += UInt64(bytes.be32(at + 8)) * 8
            guard tableBytes <= image.storage.byteCount else {
                throw image.corrupt(
                    "bitmap tables of \(tableBytes) bytes do not fit the file of \(image.storage.byteCount)",
                    place.directoryOffset)
            }
            let nameAt = at + 24 + extraLength
            bitmaps.append(
                QCOW2Bitmap(
                    name: String(decoding: bytes[nameAt..<nameAt + nameLength], as: UTF8.self),
                    tableOffset: bytes.be64(at),
                    tableSize: bytes.be32(at + 8), flags: bytes.be32(at + 12), granularityBits: Int(bytes[at + 17]),
                    extra: Array(bytes[at + 24..<nameAt])))
            at += (24 + extraLength + nameLength + 7) & ~7
        }
        return bitmaps
    }

    static func encode(_ bitmaps: [QCOW2Bitmap]) -> [UInt8] {
        var out: [UInt8] = []
        for bitmap in bitmaps {
            let name = Array(bitmap.name.utf8)
            out.putBE(bitmap.tableOffset)
            out.putBE(bitmap.tableSize)
            out.putBE(bitmap.flags)
            out += [1, UInt8(bitmap.granularityBits)]
            out.putBE(UInt16(name.count))
            out.putBE(UInt32(bitmap.extra.count))
            out += bitmap.extra + name
            out += [UInt8](repeating: 0, count: (8 - out.count % 8) % 8)
        }
        return out
    }

    var info: InfoValue {
        var flags: [InfoValue] = []
        if self.flags & Self.inUse != 0 { flags.append(.string("in-use")) }
        if self.flags & Self.auto != 0 { flags.append(.string("auto")) }
        return .object([
            InfoField("name", .string(name)), InfoField("granularity", .integer(1 << Int64(granularityBits))),
            InfoField("flags", .array(flags)),
        ])
    }
}

extension QCOW2Image {
    /// What `bitmap` does to a bitmap.
    public enum BitmapAction: Sendable {
        case add(granularity: UInt64?, disabled: Bool), remove, clear, enable, disable
        case merge(QCOW2BitmapContent)
    }

    /// Bits of a bitmap, one per `granularity` bytes, lowest bit of a byte first.
    public struct QCOW2BitmapContent: Sendable {
        var granularityBits: Int
        var bits: [UInt8]
        /// Bytes of the disk.
        var size: UInt64
    }

    /// Table entries with clusters of bits.
    func bitmapTable(_ bitmap: QCOW2Bitmap) throws(ImageError) -> [UInt64] {
        let end = bitmap.tableOffset.addingReportingOverflow(UInt64(bitmap.tableSize) * 8)
        guard !end.overflow, end.partialValue <= storage.byteCount else {
            throw corrupt(
                "the table of bitmap '\(bitmap.name)', \(bitmap.tableSize) entries, lies beyond the file",
                bitmap.tableOffset)
        }
        return try Self.readTable(storage, at: bitmap.tableOffset, entries: Int(bitmap.tableSize))
    }

    /// Bytes of bits for the whole disk. Throws when that is more than a bitmap may have.
    func bitmapBytes(_ granularityBits: Int) throws(ImageError) -> Int {
        let bits = (header.size + (1 << UInt64(granularityBits)) - 1) >> UInt64(granularityBits)
        guard bits <= QCOW2Bitmap.maximumBits else {
            throw ImageError(
                .unsupported,
                "a bitmap of \(1 << UInt64(granularityBits)) bytes per bit needs \(bits) bits for \(header.size) bytes, at "
                    + "most \(QCOW2Bitmap.maximumBits) are supported", format: "qcow2", path: path)
        }
        return Int((bits + 7) / 8)
    }

    /// The bits of a bitmap.
    func bitmapContent(named name: String) throws(ImageError) -> QCOW2BitmapContent {
        let directory = hasConsistentBitmaps ? try QCOW2Bitmap.readDirectory(self) : []
        guard let bitmap = directory.first(where: { $0.name == name }) else {
            throw ImageError(.notFound, "Dirty bitmap '\(name)' not found", format: "qcow2", path: path)
        }
        return try usableContent(of: bitmap)
    }

    /// The bits of a bitmap that its last writer has left in order.
    func usableContent(of bitmap: QCOW2Bitmap) throws(ImageError) -> QCOW2BitmapContent {
        guard hasConsistentBitmaps, bitmap.flags & QCOW2Bitmap.inUse == 0 else {
            throw ImageError(
                .invalidArgument,
                "Bitmap '\(bitmap.name)' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this "
                    + "bitmap from disk", format: "qcow2", path: path)
        }
        var bits = [UInt8](repeating: 0, count: try bitmapBytes(bitmap.granularityBits))
        for (index, entry) in try bitmapTable(bitmap).enumerated() {
            let start = index * layout.clusterSize
            guard start < bits.count else { break }
            let count = min(layout.clusterSize, bits.count - start)
            let offset = entry & QCOW2Layout.offsetMask
            if offset != 0 {
                bits.replaceSubrange(start..<start + count, with: try storage.readBytes(at: offset, count: count))
            } else if entry & 1 != 0 {
                bits.replaceSubrange(start..<start + count, with: repeatElement(0xff, count: count))
            }
        }
        return QCOW2BitmapContent(granularityBits: bitmap.granularityBits, bits: bits, size: header.size)
    }

    /// Applies one action and writes the directory anew.
    func changeBitmap(named name: String, _ action: BitmapAction) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try checkWritable()
        try guardMetadata()
        func failure(_ message: String) -> ImageError {
            ImageError(.invalidArgument, message, format: "qcow2", path: path)
        }
        guard header.version >= 3 else { throw failure("Cannot store dirty bitmaps in qcow2 v2 files") }
        if isPreparedForWriting { try finishTracking() }
        // Without the header's word that they hold, old bitmaps are nothing but used space.
        var bitmaps = hasConsistentBitmaps ? try QCOW2Bitmap.readDirectory(self) : []
        let index = bitmaps.firstIndex { $0.name == name }
        if case .add(let granularity, let disabled) = action {
            guard index == nil else { throw failure("Bitmap already exists: \(name)") }
            guard bitmaps.count < Int(QCOW2Bitmap.maximumCount) else {
                throw failure("Maximum number of persistent bitmaps is already reached")
            }
            guard !name.isEmpty else { throw failure("Bitmap name cannot be empty") }
            guard name.utf8.count <= 1023 else { throw failure("Bitmap name too long") }
            let size = granularity ?? UInt64(min(max(layout.clusterSize, 4096), 65536))
            guard size.nonzeroBitCount == 1, size >= 512, size <= 2 << 30 else {
                throw failure("Granularity must be power of 2 and at least 512")
            }
            let fresh = QCOW2Bitmap(
                name: name, tableOffset: 0, tableSize: 0, flags: disabled ? 0 : QCOW2Bitmap.auto,
                granularityBits: size.trailingZeroBitCount)
            bitmaps.append(fresh)
            try store(
                [UInt8](repeating: 0, count: bitmapBytes(fresh.granularityBits)), into: &bitmaps[bitmaps.count - 1])
            return try replaceDirectory(bitmaps, freeing: [])
        }
        guard let index else {
            throw ImageError(.notFound, "Dirty bitmap '\(name)' not found", format: "qcow2", path: path)
        }
        var freed: [(UInt64, UInt64)] = []
        if case .remove = action {
            freed = try ranges(of: bitmaps.remove(at: index))
            return try replaceDirectory(bitmaps, freeing: freed)
        }
        _ = try usableContent(of: bitmaps[index])
        switch action {
        case .enable: bitmaps[index].flags |= QCOW2Bitmap.auto
        case .disable: bitmaps[index].flags &= ~QCOW2Bitmap.auto
        case .clear:
            freed = try ranges(of: bitmaps[index])
            try store([UInt8](repeating: 0, count: bitmapBytes(bitmaps[index].granularityBits)), into: &bitmaps[index])
        case .merge(let source):
            guard source.size == header.size else {
                throw failure(
                    "Bitmaps are of different sizes (destination size is \(header.size), source size is \(source.size)) "
                        + "and can't be merged")
            }
            var bits = try bitmapContent(named: name).bits
            Self.join(source, into: &bits, granularityBits: bitmaps[index].granularityBits, size: header.size)
            freed = try ranges(of: bitmaps[index])
            try store(bits, into: &bitmaps[index])
        case .add, .remove: break
        }
        try replaceDirectory(bitmaps, freeing: freed)
    }

    /// Sets every bit whose range a set bit of `source` touches.
    private static func join(_ source: QCOW2BitmapContent, into bits: inout [UInt8], granularityBits: Int, size: UInt64)
    {
        for index in 0..<source.bits.count * 8 where source.bits[index / 8] >> UInt8(index % 8) & 1 != 0 {
            let start = UInt64(index) << UInt64(source.granularityBits)
            let end = min(start + 1 << UInt64(source.granularityBits), size)
            guard start < end else { continue }
            for bit in Int(start >> UInt64(granularityBits))...Int((end - 1) >> UInt64(granularityBits)) {
                bits[bit / 8] |= 1 << UInt8(bit % 8)
            }
        }
    }

    /// Every host range that a bitmap occupies.
    func ranges(of bitmap: QCOW2Bitmap) throws(ImageError) -> [(UInt64, UInt64)] {
        var ranges: [(UInt64, UInt64)] = []
        if bitmap.tableSize > 0 { ranges.append((bitmap.tableOffset, UInt64(bitmap.tableSize) * 8)) }
        for entry in try bitmapTable(bitmap) where entry & QCOW2Layout.offsetMask != 0 {
            ranges.append((entry & QCOW2Layout.offsetMask, UInt64(layout.clusterSize)))
        }
        return ranges
    }

    /// Writes bits into new clusters, those of zeros left out.
    func store(_ bits: [UInt8], into bitmap: inout QCOW2Bitmap) throws(ImageError) {
        var table: [UInt64] = []
        for start in stride(from: 0, to: bits.count, by: layout.clusterSize) {
            var part = Array(bits[start..<min(bits.count, start + layout.clusterSize)])
            if part.allSatisfy({ $0 == 0 }) {
                table.append(0)
                continue
            }
            part += [UInt8](repeating: 0, count: layout.clusterSize - part.count)
            let offset = try allocate(upTo: 1).offset
            try storage.write(part, at: offset)
            table.append(offset)
        }
        bitmap.tableSize = UInt32(table.count)
        bitmap.tableOffset = try writeTable(table)
    }

    /// Writes the directory and switches the header over; then gives up what the old one named.
    func replaceDirectory(_ bitmaps: [QCOW2Bitmap], freeing: [(UInt64, UInt64)]) throws(ImageError) {
        let old = header.bitmaps
        let bytes = QCOW2Bitmap.encode(bitmaps)
        if bitmaps.isEmpty {
            header.bitmaps = nil
            header.autoclear &= ~QCOW2Header.autoclearBitmaps
        } else {
            let offset = try allocateContiguous(Int(layout.clusters(UInt64(bytes.count))))
            try storage.write(bytes, at: offset)
            header.bitmaps = (UInt32(bitmaps.count), UInt64(bytes.count), offset)
            header.autoclear |= QCOW2Header.autoclearBitmaps
        }
        try settle()
        try writeHeader()
        try storage.sync()
        metadata = nil
        if let old { try freeNow(old.directoryOffset, old.directorySize) }
        for range in freeing { try freeNow(range.0, range.1) }
        try settle()
    }
}
