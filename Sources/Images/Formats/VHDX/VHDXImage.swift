/// An open VHDX.
///
/// Block allocation table ([MS-VHDX] 2.5): 64-bit entries, bits 0–2 state, bits 20–63 place in MiB. After every
/// `chunkRatio` payload blocks comes the entry of their sector bitmap block.
///
///     payload: 0 not present, 1 undefined, 2 zero, 3 unmapped, 6 fully present, 7 partially present
///     bitmap:  0 not present, 6 present: 1 MiB, one bit per sector, lowest first, set = here, clear = the parent's
final class VHDXImage: BlockMappedImage, CheckableImage, @unchecked Sendable {
    private enum State {
        static let notPresent: UInt64 = 0, undefined: UInt64 = 1, zero: UInt64 = 2, unmapped: UInt64 = 3
        static let full: UInt64 = 6, partial: UInt64 = 7
    }

    private var header: VHDXHeader
    let metadata: VHDXMetadata
    private let bat: EntryTable
    private let chunkRatio: Int
    private let metadataRegion: (offset: UInt64, length: UInt64)
    private var nextHost: UInt64
    private var logSequence: UInt64 = 0
    /// The file was opened with changes in its log. A writer has put them in their places since.
    var hadLog = false
    /// Of differencing images.
    private let bitmaps: SectorBitmaps

    init(
        _ storage: any Storage, header: VHDXHeader, metadata: VHDXMetadata,
        bat region: (offset: UInt64, length: UInt64),
        metadataRegion: (offset: UInt64, length: UInt64)
    ) throws(ImageError) {
        self.metadataRegion = metadataRegion
        self.header = header
        self.metadata = metadata
        chunkRatio = Int((UInt64(1) << 23) * UInt64(metadata.sectorBytes) / UInt64(metadata.blockBytes))
        let entries = Self.batEntries(metadata)
        guard UInt64(entries) * 8 <= region.length,
            region.offset + UInt64(entries) * 8 <= storage.byteCount
        else {
            throw ImageError(
                .corrupt, "the block table needs \(entries) entries and has room for \(region.length / 8)",
                format: "vhdx",
                path: storage.path, offset: region.offset)
        }
        bat = try EntryTable(storage, at: region.offset, count: entries, width: 8, bigEndian: false)
        nextHost = storage.byteCount.rounded(toMultipleOf: 1 << 20)
        bitmaps = SectorBitmaps(bitmapBytes: Int(metadata.blockBytes / metadata.sectorBytes / 8))
        super.init(storage: storage, formatName: "vhdx", size: metadata.size, blockBytes: Int(metadata.blockBytes))
    }

    /// Entries of the table: payload blocks with the bitmap entries between them.
    static func batEntries(_ metadata: VHDXMetadata) -> Int {
        let ratio = Int((UInt64(1) << 23) * UInt64(metadata.sectorBytes) / UInt64(metadata.blockBytes))
        let blocks = Int((metadata.size + UInt64(metadata.blockBytes) - 1) / UInt64(metadata.blockBytes))
        if metadata.hasParent { return (blocks + ratio - 1) / ratio * (ratio + 1) }
        return blocks == 0 ? 0 : blocks + (blocks - 1) / ratio
    }

    var dataWrite: GUID { header.dataWrite }

    override var backingReference: BackingReference? {
        guard metadata.hasParent else { return nil }
        let name =
            metadata.parent["relative_path"] ?? metadata.parent["absolute_win32_path"] ?? metadata.parent["volume_path"]
        guard var path = name?.replacing("\\", with: "/") else { return nil }
        if path.hasPrefix("./") { path.removeFirst(2) }
        return BackingReference(file: path, format: "vhdx")
    }

    override func attach(backing: any BlockDevice) throws(ImageError) {
        guard let parent = backing as? VHDXImage,
            parent.dataWrite.mixedEndianText.lowercased() == metadata.parent["parent_linkage"]?.lowercased()
                || parent.dataWrite.mixedEndianText.lowercased() == metadata.parent["parent_linkage2"]?.lowercased()
        else {
            throw ImageError(
                .corrupt, "'\(backing.path)' has changed since '\(path)' was made from it: its DataWriteGuid differs",
                format: "vhdx", path: backing.path)
        }
        try super.attach(backing: backing)
    }

    private func batIndex(_ block: Int) -> Int { block + block / chunkRatio }
    private func bitmapIndex(_ block: Int) -> Int { (block / chunkRatio) * (chunkRatio + 1) + chunkRatio }

    private func place(ofEntry entry: UInt64) throws(ImageError) -> UInt64 {
        let host = entry & ~0xf_ffff
        guard host >= 1 << 20, host < storage.byteCount else {
            throw corrupt("a block at \(host.hex) lies outside the file of \(storage.byteCount) bytes", host)
        }
        return host
    }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        let block = Int(offset / UInt64(blockBytes))
        let inBlock = offset % UInt64(blockBytes)
        let length = UInt64(blockBytes) - inBlock
        let entry = try bat[batIndex(block)]
        switch entry & 7 {
        case State.notPresent: return BlockRun(kind: .unallocated, length: length)
        case State.undefined, State.zero, State.unmapped: return BlockRun(kind: .zero, length: length)
        case State.full: return BlockRun(kind: .data, length: length, host: try place(ofEntry: entry) + inBlock)
        case State.partial where metadata.hasParent:
            let bits = try bitmap(block)
            let unit = UInt64(metadata.sectorBytes)
            var sector = Int(inBlock / unit)
            let here = Self.bit(bits, sector)
            while sector < blockBytes / Int(unit), Self.bit(bits, sector) == here { sector += 1 }
            return BlockRun(
                kind: here ? .data : .unallocated, length: UInt64(sector) * unit - inBlock,
                host: try place(ofEntry: entry) + inBlock)
        default: throw corrupt("block \(block) has the invalid state \(entry & 7)", offset)
        }
    }

    // MARK: Sector bitmaps

    private static func bit(_ bits: [UInt8], _ sector: Int) -> Bool { bits[sector / 8] >> UInt8(sector % 8) & 1 != 0 }
    private var bitmapBytes: Int { blockBytes / Int(metadata.sectorBytes) / 8 }

    /// Where the bits of a block lie; nil where their chunk has no bitmap block.
    private func bitmapHost(_ block: Int) throws(ImageError) -> UInt64? {
        let entry = try bat[bitmapIndex(block)]
        guard entry & 7 == State.full else { return nil }
        return try place(ofEntry: entry) + UInt64(block % chunkRatio * bitmapBytes)
    }

    private func bitmap(_ block: Int) throws(ImageError) -> [UInt8] {
        try bitmaps.find(block) { () throws(ImageError) in
            guard let host = try bitmapHost(block) else {
                throw corrupt("block \(block) is partially present but has no sector bitmap")
            }
            return try storage.readBytes(at: host, count: bitmapBytes)
        }
    }

    override func writeInsideBlock(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) -> Int? {
        guard metadata.hasParent else { return nil }
        let block = Int(offset / UInt64(blockBytes))
        let state = try bat[batIndex(block)] & 7
        guard state == State.notPresent || state == State.partial else { return nil }
        let start = UInt64(block) * UInt64(blockBytes)
        let inBlock = Int(offset - start)
        let count = min(buffer.count, blockBytes - inBlock, 1 << 20)
        if try bat[bitmapIndex(block)] & 7 != State.full {
            try bat.set(try grow(1 << 20) | State.full, at: bitmapIndex(block))
        }
        if state == State.notPresent {
            // The bits of a block that was not present may be left over from an earlier life.
            let fresh = [UInt8](repeating: 0, count: bitmapBytes)
            try bat.set(try grow(UInt64(blockBytes)) | State.partial, at: batIndex(block))
            bitmaps.change(block, to: fresh)
        }
        let unit = Int(metadata.sectorBytes)
        let first = inBlock / unit * unit
        let last = (inBlock + count + unit - 1) / unit * unit
        let whole = HeapBuffer(last - first)
        let visible = Int(min(UInt64(last - first), diskSize - start - UInt64(first)))
        try readLocked(into: whole.bytes.part(0, visible), at: start + UInt64(first))
        whole.bytes.part(inBlock - first, count).copyMemory(from: buffer.part(0, count))
        let host = try place(ofEntry: bat[batIndex(block)])
        try storage.write(from: whole.readable.part(0, last - first), at: host + UInt64(first))
        var bits = try bitmap(block)
        for sector in first / unit..<last / unit { bits[sector / 8] |= 1 << UInt8(sector % 8) }
        bitmaps.change(block, to: bits)
        if bitmaps.isFull {
            try storage.sync()
            try writeTables()
        }
        return count
    }

    // MARK: Allocation

    /// Room at the end of the file, a multiple of 1 MiB, zeros.
    private func grow(_ count: UInt64) throws(ImageError) -> UInt64 {
        let start = nextHost
        nextHost += count
        try storage.resize(to: nextHost)
        return start
    }

    override func place(_ index: UInt64, count: Int) throws(ImageError) -> (host: UInt64, count: Int) {
        (try grow(UInt64(count) * UInt64(blockBytes)), count)
    }

    override func link(_ index: UInt64, host: UInt64) throws(ImageError) {
        try bat.set(host | State.full, at: batIndex(Int(index)))
    }

    override func markZero(_ index: UInt64) throws(ImageError) -> Bool {
        // A block that has a place keeps it: writing zeros there is cheaper than losing it.
        guard try bat[batIndex(Int(index))] & 7 == State.notPresent else { return false }
        try bat.set(State.zero, at: batIndex(Int(index)))
        return true
    }

    override func collectPlaces(into places: inout BlockPlaces) throws(ImageError) {
        // The first MiB is for the file type identifier, headers and region tables.
        places.addMetadata("the headers", at: 0, bytes: 1 << 20)
        places.addMetadata("the log", at: header.logOffset, bytes: UInt64(header.logLength))
        places.addMetadata("the metadata region", at: metadataRegion.offset, bytes: metadataRegion.length)
        places.addMetadata("the block table", at: bat.fileOffset, bytes: UInt64(bat.byteCount))
        try bat.forEach { (index, entry) throws(ImageError) in
            guard entry & 7 >= State.full else { return }
            let isBitmap = index % (chunkRatio + 1) == chunkRatio
            places.addBlock(
                UInt64(index), at: try place(ofEntry: entry), bytes: isBitmap ? 1 << 20 : UInt64(blockBytes))
        }
    }

    override func keepClear(of end: UInt64) { nextHost = max(nextHost, end.rounded(toMultipleOf: 1 << 20)) }

    // MARK: Metadata through the log

    override var hasDirtyTables: Bool { !bat.dirtyPages.isEmpty || bitmaps.isDirty }

    /// Before the first write: new GUIDs tell others that file and data have changed; the log is in use from here on.
    override func willWrite() throws(ImageError) {
        guard header.logLength >= 1 << 20 else {
            throw ImageError(
                .unsupported, "the log of \(header.logLength) bytes is too short to write with, 1 MiB is needed",
                format: "vhdx", path: path)
        }
        header.fileWrite = .random()
        header.dataWrite = .random()
        header.log = .random()
        // A log in use has an entry at any time: the first one changes nothing.
        try appendToLog([])
        try header.write(to: storage)
    }

    /// Writes an entry that stands alone. The halves of the log take turns, so that the last one stays valid until this
    /// one is complete.
    private func appendToLog(_ pages: [(offset: UInt64, bytes: [UInt8])]) throws(ImageError) {
        logSequence += 1
        let position = logSequence % 2 == 0 ? 0 : Int(header.logLength / 2)
        let entry = VHDXLog.encode(
            pages, at: position, sequence: logSequence, guid: header.log, fileBytes: storage.byteCount)
        try storage.write(entry, at: header.logOffset + UInt64(position))
        try storage.sync()
    }

    /// Every page of the table goes to the log first: after a crash it is applied again as a whole.
    override func writeTables() throws(ImageError) {
        if bitmaps.isDirty {
            try bitmaps.writeBack { (block, bits) throws(ImageError) in
                if let host = try bitmapHost(block) { try storage.write(bits, at: host) }
            }
            if !bat.dirtyPages.isEmpty { try storage.sync() }
        }
        let dirty = bat.dirtyPages.sorted()
        // Half of the smallest log holds 127 pages and the sector of their descriptors.
        let batch = 100
        for start in stride(from: 0, to: dirty.count, by: batch) {
            var pages: [(offset: UInt64, bytes: [UInt8])] = []
            for page in dirty[start..<min(dirty.count, start + batch)] {
                let offset = bat.fileOffset + UInt64(page * EntryTable.pageBytes)
                pages.append((offset, try bat.page(page)))
            }
            try appendToLog(pages)
            for page in pages { try storage.write(page.bytes, at: page.offset) }
            try storage.sync()
        }
        bat.markAllClean()
    }

    /// Everything is in place: the log is no longer needed.
    override func finish() throws(ImageError) {
        try storage.sync()
        header.log = .zero
        try header.write(to: storage)
    }

    /// Two blocks at one place, a place outside the file, an unknown state.
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var result = CheckResult()
        if hadLog, storage.isReadOnly {
            result.scope = "The log holds changes that are not in their places yet; 'check -r all' puts them there."
        } else if hadLog {
            result.corruptionsFixed += 1
            result.note("Repairing the log: its changes were not in their places")
            hadLog = false
        }
        var seen: [UInt64: Int] = [:]
        result.totalClusters = (diskSize + UInt64(blockBytes) - 1) / UInt64(blockBytes)
        try bat.forEach { (index, entry) throws(ImageError) in
            guard entry & 7 >= State.full else { return }
            let host = entry & ~0xf_ffff
            let isBitmap = index % (chunkRatio + 1) == chunkRatio
            let end = host &+ UInt64(isBitmap ? 1 << 20 : blockBytes)
            if !isBitmap { result.allocatedClusters += 1 }
            if host < 1 << 20 || host > 1 << 60 || end > storage.byteCount.rounded(toMultipleOf: 1 << 20) {
                result.corruptions += 1
                result.note("ERROR: BAT entry \(index) at \(host.hex) lies outside the file")
            } else if let other = seen.updateValue(index, forKey: host) {
                result.corruptions += 1
                result.note("ERROR: BAT entries \(other) and \(index) share the place \(host.hex)")
            }
        }
        return result
    }
}
