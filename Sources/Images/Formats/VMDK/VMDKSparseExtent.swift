/// A sparse extent of a VMDK (VMware Virtual Disk Format 5.0, "Hosted Sparse Extents", "Stream-Optimized Compressed
/// Sparse Extents", "ESX Server Sparse Extents"). Little-endian; all offsets in 512-byte sectors.
///
///     offset size                               offset size
///          0    4  "KDMV"                            28   8  offset of the embedded descriptor
///          4    4  version 1, 2 or 3                 36   8  its sectors
///          8    4  flags: 0 newline test,            44   4  entries of a grain table, 512
///                  1 redundant tables, 2 zero        48   8  redundant grain directory
///                  grains, 16 compressed,            56   8  grain directory, all ones: see the footer
///                  17 markers                        64   8  sectors of metadata
///         12    8  capacity                          72   1  unclean shutdown
///         20    8  sectors of a grain                73   4  "\n \r\n"    77  2  compression, 1 deflate
///
/// The directory points to grain tables, these to grains; 0 is not there, 1 reads as zeros (flag 2).
/// A compressed grain is: 8 first sector, 4 length, a zlib stream, padded to 512.
///
/// "COWD" (vmfsSparse): 4 magic, 4 version, 4 flags, 4 sectors, 4 grain, 4 directory offset, 4 directory entries,
/// 4 next free sector; tables of 4096 entries.
final class VMDKSparseExtent: BlockMappedImage, @unchecked Sendable {
    struct Header {
        var version: UInt32 = 1
        var flags: UInt32 = 3
        var capacity: UInt64
        var grainSectors: UInt64 = 128
        var descriptorOffset: UInt64 = 0
        var descriptorSectors: UInt64 = 0
        var tableEntries: UInt32 = 512
        var redundantDirectory: UInt64 = 0
        var directory: UInt64 = 0
        var overhead: UInt64 = 0

        static let zeroGrains: UInt32 = 1 << 2
        static let compressed: UInt32 = 1 << 16
        static let markers: UInt32 = 1 << 17
    }

    /// Sectors of a compressed grain, which has to be in memory whole: 16 MiB. All writers use 64 KiB.
    private static let maximumCompressedGrain: UInt64 = 0x8000

    let header: Header
    private let isReadOnlyKind: Bool
    private let directory: EntryTable
    private let redundant: EntryTable?
    private let tables: MetadataCache
    private let cacheLock = Lock()
    private var nextSector: UInt64
    private let cache: DecompressedClusters
    private let isStream: Bool

    init(_ storage: any Storage, readOnly: Bool) throws(ImageError) {
        let raw = try storage.readBytes(at: 0, count: 512)
        let header: Header
        var isESX = false
        switch String(decoding: raw[0..<4], as: UTF8.self) {
        case "KDMV": header = try Self.hosted(raw, storage)
        case "COWD":
            isESX = true
            header = Header(
                version: 1, flags: 0, capacity: UInt64(raw.le32(12)), grainSectors: UInt64(raw.le32(16)),
                tableEntries: 4096,
                directory: UInt64(raw.le32(20)))
        default:
            throw ImageError(
                .corrupt, "the sparse extent has no VMDK header", format: "vmdk", path: storage.path, offset: 0)
        }
        func bad(_ message: String, _ offset: UInt64) -> ImageError {
            ImageError(.corrupt, message, format: "vmdk", path: storage.path, offset: offset)
        }
        guard header.grainSectors > 0, header.grainSectors <= 0x20_0000, header.grainSectors.nonzeroBitCount == 1 else {
            throw bad("Invalid granularity, image may be corrupt: \(header.grainSectors) sectors", 20)
        }
        guard header.tableEntries > 0, header.tableEntries <= (isESX ? 4096 : 512) else {
            throw bad("L2 table size too big: \(header.tableEntries) entries", 44)
        }
        guard header.capacity < 1 << 54 else { throw bad("capacity of \(header.capacity) sectors is too large", 12) }
        guard header.overhead < 1 << 40 else { throw bad("metadata of \(header.overhead) sectors", 64) }
        let coverage = header.grainSectors * UInt64(header.tableEntries)
        let entries = (header.capacity + coverage - 1) / coverage
        guard entries <= 32 << 20 else { throw bad("L1 size too big: \(entries) entries", 12) }
        func table(_ sector: UInt64) throws(ImageError) -> EntryTable {
            guard sector < 1 << 54, sector * 512 + entries * 4 <= storage.byteCount else {
                throw bad(
                    "File truncated: the grain directory at sector \(sector) lies beyond \(storage.byteCount) bytes", 56
                )
            }
            return try EntryTable(storage, at: sector * 512, count: Int(entries), width: 4, bigEndian: false)
        }
        directory = try table(header.directory)
        redundant = header.flags & 2 != 0 && header.redundantDirectory != 0 ? try table(header.redundantDirectory) : nil
        self.header = header
        isStream = header.flags & Header.compressed != 0
        guard !isStream || header.grainSectors <= Self.maximumCompressedGrain else {
            throw bad(
                "compressed grains of \(header.grainSectors) sectors, at most \(Self.maximumCompressedGrain) are read",
                20)
        }
        // Version 3 without compression is changed block tracking, whose bitmap a write would invalidate.
        isReadOnlyKind = readOnly || isESX || (header.version >= 3 && !isStream)
        tables = MetadataCache(tableBytes: Int(header.tableEntries) * 4, budgetBytes: 2 << 20)
        nextSector = max((storage.byteCount + 511) / 512, header.overhead)
        cache = DecompressedClusters(clusterSize: Int(header.grainSectors) * 512)
        super.init(
            storage: storage, formatName: "vmdk", size: header.capacity * 512,
            blockBytes: Int(header.grainSectors) * 512)
    }

    /// The header of a hosted sparse extent, from the footer where the header says so.
    private static func hosted(_ raw: [UInt8], _ storage: any Storage) throws(ImageError) -> Header {
        var bytes = raw
        if raw.le64(56) == UInt64.max {
            guard storage.byteCount >= 1536 else {
                throw ImageError(
                    .corrupt, "File truncated: no room for a footer", format: "vmdk", path: storage.path, offset: 56)
            }
            bytes = try storage.readBytes(at: (storage.byteCount & ~511) - 1024, count: 512)
            guard Array(bytes[0..<4]) == Array("KDMV".utf8), bytes.le64(56) != UInt64.max else {
                throw ImageError(
                    .corrupt, "the VMDK footer is missing", format: "vmdk", path: storage.path,
                    offset: storage.byteCount)
            }
        }
        let version = bytes.le32(4)
        guard (1...3).contains(version) else {
            throw ImageError(
                .unsupported, "Unsupported VMDK version \(version)", format: "vmdk", path: storage.path, offset: 4)
        }
        if bytes.le32(8) & Header.compressed != 0, bytes.le16(77) != 1 {
            throw ImageError(
                .unsupported, "Unsupported VMDK compression \(bytes.le16(77))", format: "vmdk", path: storage.path,
                offset: 77)
        }
        return Header(
            version: version, flags: bytes.le32(8), capacity: bytes.le64(12), grainSectors: bytes.le64(20),
            descriptorOffset: raw.le64(28), descriptorSectors: raw.le64(36), tableEntries: bytes.le32(44),
            redundantDirectory: bytes.le64(48), directory: bytes.le64(56), overhead: bytes.le64(64))
    }

    override var isReadOnly: Bool { storage.isReadOnly || isReadOnlyKind }
    override var needsCompressedWrites: Bool { isStream }
    override var summary: ImageSummary {
        var summary = super.summary
        summary.isCompressed = isStream
        return summary
    }

    private var tableEntries: UInt64 { UInt64(header.tableEntries) }

    /// The slot of a grain table, nil where there is none. Caller holds `cacheLock`.
    private func load(_ index: Int) throws(ImageError) -> Int? {
        if let slot = tables.find(index) { return slot }
        var sector = try directory[index]
        if sector == 0 { return nil }
        if sector * 512 >= storage.byteCount, let redundant { sector = try redundant[index] }
        guard sector * 512 < storage.byteCount else {
            throw corrupt("grain table \(index) at sector \(sector) lies beyond the file", sector * 512)
        }
        if tables.isFullOfDirty {
            // The data that they name comes first.
            try storage.sync()
            try writeGrainTables()
        }
        guard let slot = tables.claim(index, hostOffset: sector * 512) else {
            throw corrupt("the grain table cache is full")
        }
        do throws(ImageError) {
            try storage.read(into: tables.bytes(slot), at: sector * 512)
        } catch {
            tables.drop(slot)
            throw error
        }
        return slot
    }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        let grain = UInt64(blockBytes)
        let index = offset / grain
        let inGrain = offset % grain
        cacheLock.lock()
        defer { cacheLock.unlock() }
        guard let slot = try load(Int(index / tableEntries)) else {
            return BlockRun(kind: .unallocated, length: (index / tableEntries + 1) * tableEntries * grain - offset)
        }
        let table = tables.table(slot)
        var position = Int(index % tableEntries)
        let first = table.le32(position * 4)
        let isZero = first == 1 && header.flags & Header.zeroGrains != 0
        var length = grain - inGrain
        position += 1
        var expected = first
        while length < limit, position < Int(tableEntries), !(isStream && first != 0) {
            if first != 0, !isZero { expected &+= UInt32(header.grainSectors) }
            if table.le32(position * 4) != expected { break }
            length += grain
            position += 1
        }
        if first == 0 { return BlockRun(kind: .unallocated, length: length) }
        if isZero { return BlockRun(kind: .zero, length: length) }
        let host = UInt64(first) * 512
        guard host < storage.byteCount else {
            throw corrupt("grain \(index) at \(host.hex) lies beyond the file", host)
        }
        return isStream
            ? BlockRun(kind: .compressed, length: length, host: host)
            : BlockRun(kind: .data, length: length, host: host + inGrain)
    }

    override func collectPlaces(into places: inout BlockPlaces) throws(ImageError) {
        guard !isStream else { return }
        places.addMetadata("the header", at: 0, bytes: 512)
        places.addMetadata("the descriptor", at: header.descriptorOffset * 512, bytes: header.descriptorSectors * 512)
        let tableBytes = tableEntries * 4
        let buffer = HeapBuffer(Int(tableBytes), zeroed: false)
        for copy in [directory, redundant].compactMap({ $0 }) {
            places.addMetadata("a grain directory", at: copy.fileOffset, bytes: UInt64(copy.byteCount))
            try copy.forEach { (index, sector) throws(ImageError) in
                guard sector != 0 else { return }
                places.addMetadata("the grain table \(index)", at: sector * 512, bytes: tableBytes)
                guard copy === directory, sector * 512 < storage.byteCount else { return }
                try storage.read(into: buffer.bytes, at: sector * 512)
                for position in 0..<Int(tableEntries) {
                    let grain = buffer.base.le32(position * 4)
                    if grain == 0 || (grain == 1 && header.flags & Header.zeroGrains != 0) { continue }
                    places.addBlock(
                        UInt64(index) * tableEntries + UInt64(position), at: UInt64(grain) * 512,
                        bytes: UInt64(blockBytes))
                }
            }
        }
    }

    override func keepClear(of end: UInt64) {
        // An entry of garbage must not use all sectors up: those beyond the file cannot be read or written anyway.
        if end <= storage.byteCount + UInt64(blockBytes) { nextSector = max(nextSector, (end + 511) / 512) }
    }

    override func place(_ index: UInt64, count: Int) throws(ImageError) -> (host: UInt64, count: Int) {
        guard !isStream else {
            throw ImageError(
                .unsupported, "a stream-optimized VMDK takes compressed grains only", format: "vmdk", path: path)
        }
        let room = Int(min(UInt64(count), tableEntries - index % tableEntries))
        try ensureTable(Int(index / tableEntries))
        let start = nextSector
        nextSector += UInt64(room) * header.grainSectors
        guard nextSector < 1 << 32 else { throw isFull }
        try storage.resize(to: nextSector * 512)
        return (start * 512, room)
    }

    private var isFull: ImageError {
        ImageError(.outOfSpace, "the sparse extent would grow beyond 2 TiB", format: "vmdk", path: path)
    }

    /// Makes a grain table and its copy where the directory has none.
    private func ensureTable(_ index: Int) throws(ImageError) {
        guard try directory[index] == 0 else { return }
        let sectors = (tableEntries * 4 + 511) / 512
        let zeros = [UInt8](repeating: 0, count: Int(sectors) * 512)
        for copy in [redundant, directory].compactMap({ $0 }) {
            guard nextSector < 1 << 32 else { throw isFull }
            try storage.write(zeros, at: nextSector * 512)
            try copy.set(nextSector, at: index)
            nextSector += sectors
        }
    }

    override func link(_ index: UInt64, host: UInt64) throws(ImageError) { try setEntry(index, UInt32(host / 512)) }

    private func setEntry(_ index: UInt64, _ value: UInt32) throws(ImageError) {
        cacheLock.lock()
        defer { cacheLock.unlock() }
        guard let slot = try load(Int(index / tableEntries)) else {
            throw corrupt("the grain table of grain \(index) vanished")
        }
        tables.table(slot).putLE32(value, Int(index % tableEntries) * 4)
        tables.markDirty(slot)
    }

    override func markZero(_ index: UInt64) throws(ImageError) -> Bool {
        guard header.flags & Header.zeroGrains != 0 else { return false }
        try ensureTable(Int(index / tableEntries))
        try setEntry(index, 1)
        return true
    }

    override var hasDirtyTables: Bool { tables.dirtyCount > 0 || !directory.dirtyPages.isEmpty }
    override func writeTables() throws(ImageError) {
        try writeGrainTables()
        if !directory.dirtyPages.isEmpty {
            try storage.sync()
            try redundant?.writeBack()
            try directory.writeBack()
        }
    }

    /// Every grain table is written twice, the copy first.
    private func writeGrainTables() throws(ImageError) {
        if let redundant {
            for slot in tables.dirtySlots() {
                let sector = try redundant[tables.slots[slot].key]
                if sector != 0 { try storage.write(from: UnsafeRawBufferPointer(tables.bytes(slot)), at: sector * 512) }
            }
        }
        try tables.writeBack(to: storage)
    }

    // MARK: Compressed grains

    override func readCompressed(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        let grain = UInt64(blockBytes)
        let inGrain = Int(offset % grain)
        if cache.copy(offset / grain + 1, inGrain, into: buffer) { return }
        let run = try locate(offset - UInt64(inGrain), limit: 1)
        let whole = HeapBuffer(blockBytes)
        try decompress(run.host, sector: offset / grain * header.grainSectors, into: whole)
        cache.store(offset / grain + 1, whole.readable)
        buffer.copyMemory(from: whole.readable.part(inGrain, buffer.count))
    }

    private func decompress(_ host: UInt64, sector: UInt64, into whole: HeapBuffer) throws(ImageError) {
        let hasMarkers = header.flags & Header.markers != 0
        let marker = try storage.readBytes(at: host, count: 12)
        let count = hasMarkers ? Int(marker.le32(8)) : blockBytes * 2
        guard count > 0, count <= blockBytes * 2 else {
            throw corrupt("compressed grain of \(count) bytes at \(host.hex)", host)
        }
        // The marker repeats which grain it is: a table that points to another grain's data is noticed.
        guard !hasMarkers || marker.le64(0) == sector else {
            throw corrupt(
                "the grain at \(host.hex) says it is sector \(marker.le64(0)), the table says \(sector)", host)
        }
        let input = HeapBuffer(count, zeroed: false)
        try storage.read(into: input.bytes.part(0, count), at: host + (hasMarkers ? 12 : 0))
        let payload = input.readable.part(0, count)
        // The last grain of a disk may be cut short.
        let bytes = Int(min(UInt64(blockBytes), diskSize - sector * 512))
        let isGood =
            Deflate.decompress(payload, into: whole.bytes, wrapper: .zlib)
            || Deflate.decompress(payload, into: whole.bytes.part(0, bytes), wrapper: .zlib)
            || Deflate.decompress(payload, into: whole.bytes)
        guard isGood else {
            throw ImageError(
                .io, "the grain at \(host.hex) does not decompress to \(blockBytes) bytes", format: "vmdk", path: path,
                offset: host)
        }
    }

    override func compress(
        cluster: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer
    ) throws(ImageError) -> Int? {
        let padded = HeapBuffer(blockBytes)
        padded.bytes.part(0, cluster.count).copyMemory(from: cluster)
        return Deflate.compress(padded.readable, into: out, wrapper: .zlib)
    }

    override func writeCompressed(_ payload: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        let index = offset / UInt64(blockBytes)
        try ensureTable(Int(index / tableEntries))
        let start = nextSector
        let total = (payload.count + 12 + 511) & ~511
        let buffer = HeapBuffer(total)
        buffer.base.putLE64(index * header.grainSectors, 0)
        buffer.base.putLE32(UInt32(payload.count), 8)
        buffer.bytes.part(12, payload.count).copyMemory(from: payload)
        try storage.write(from: buffer.readable, at: start * 512)
        nextSector += UInt64(total / 512)
        guard nextSector < 1 << 32 else { throw isFull }
        try setEntry(index, UInt32(start))
        didAppendGrain = true
    }

    private var didAppendGrain = false

    /// Grains that compression would lengthen are stored compressed all the same.
    override func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        guard isStream else { return try super.write(from: buffer, at: offset) }
        let out = HeapBuffer(blockBytes + blockBytes / 8 + 1024, zeroed: false)
        for start in stride(from: 0, to: buffer.count, by: blockBytes) {
            let position = offset + UInt64(start)
            let part = buffer.part(start, min(blockBytes, buffer.count - start))
            guard position % UInt64(blockBytes) == 0,
                part.count == blockBytes || position + UInt64(part.count) == diskSize,
                let count = try compress(cluster: part, into: out.bytes)
            else {
                throw ImageError(
                    .unsupported, "a stream-optimized VMDK takes whole grains only", format: "vmdk", path: path)
            }
            try writeCompressed(out.readable.part(0, count), at: position)
        }
    }

    /// A stream ends with an end-of-stream marker: a sector of zeros.
    override func close() throws(ImageError) {
        if didAppendGrain {
            didAppendGrain = false
            try storage.write([UInt8](repeating: 0, count: 512), at: nextSector * 512)
        }
        try super.close()
    }
}
