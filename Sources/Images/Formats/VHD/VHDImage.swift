/// An open dynamic or differencing VHD.
final class VHDImage: BlockMappedImage, @unchecked Sendable {
    private static let absent: UInt64 = 0xffff_ffff
    private let table: EntryTable
    private let footer: VHDFooter
    private let parent: VHDParent?
    private let bitmapBytes: Int
    /// Where the next block goes; the footer follows it.
    private var nextHost: UInt64
    /// A place beyond the end of the file that an entry names: were the file to grow, it would get somebody else's data.
    private let hostOutside: UInt64?
    /// Of differencing images.
    private let bitmaps: SectorBitmaps

    init(
        _ storage: any Storage, size: UInt64, blockBytes: Int, table: EntryTable, footer: VHDFooter, parent: VHDParent?
    ) throws(ImageError) {
        self.table = table
        self.footer = footer
        self.parent = parent
        bitmapBytes = ((blockBytes / 512 + 7) / 8 + 511) & ~511
        bitmaps = SectorBitmaps(bitmapBytes: bitmapBytes)
        var end = (table.fileOffset + UInt64(table.byteCount) + 511) & ~511
        // Parent locators may lie behind the table: new blocks go behind whatever the file holds but its footer.
        if parent != nil { end = max(end, storage.byteCount >= 512 ? (storage.byteCount - 512 + 511) & ~511 : 0) }
        let blockRoom = UInt64(bitmapBytes + blockBytes)
        var outside: UInt64?
        try table.forEach { (_, sector) throws(ImageError) in
            guard sector != Self.absent else { return }
            if sector * 512 > storage.byteCount {
                outside = sector * 512
            } else {
                end = max(end, sector * 512 + blockRoom)
            }
        }
        nextHost = end
        hostOutside = outside
        super.init(storage: storage, formatName: "vpc", size: size, blockBytes: blockBytes)
    }

    override var backingReference: BackingReference? { parent.map { BackingReference(file: $0.path, format: "vpc") } }

    override func attach(backing: any BlockDevice) throws(ImageError) {
        if let parent {
            let below = try FileStorage.open(backing.path, readOnly: true, lock: .none)
            defer { below.close() }
            guard let its = try VHDFooter(below), its.uuid == parent.uuid else {
                throw ImageError(
                    .corrupt, "'\(backing.path)' is not the parent that '\(path)' was made from: their UUIDs differ",
                    format: "vpc",
                    path: backing.path)
            }
        }
        try super.attach(backing: backing)
    }

    override func collectPlaces(into places: inout BlockPlaces) throws(ImageError) {
        places.addMetadata("the footer's copy", at: 0, bytes: 512)
        places.addMetadata("the dynamic header", at: footer.dynamicOffset, bytes: 1024)
        places.addMetadata("the block table", at: table.fileOffset, bytes: UInt64(table.byteCount))
        let end = storage.byteCount
        if end % 512 == 0, end >= 1024, try storage.readBytes(at: end - 512, count: 8) == VHDFooter.cookie {
            places.addMetadata("the footer", at: end - 512, bytes: 512)
        }
        try table.forEach { (index, sector) throws(ImageError) in
            guard sector != Self.absent else { return }
            places.addBlock(UInt64(index), at: sector * 512, bytes: UInt64(bitmapBytes + blockBytes))
        }
    }

    private func blockHost(_ index: Int) throws(ImageError) -> UInt64? {
        let sector = try table[index]
        if sector == Self.absent { return nil }
        let host = sector * 512
        guard host >= 1536, host <= storage.byteCount else {
            throw corrupt("VHD block \(index) at \(host.hex) lies outside the file of \(storage.byteCount) bytes", host)
        }
        return host + UInt64(bitmapBytes)
    }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        let block = UInt64(blockBytes)
        var index = Int(offset / block)
        let inBlock = offset % block
        guard let host = try blockHost(index) else {
            var length = block - inBlock
            index += 1
            while length < limit, index < table.count, try table[index] == Self.absent {
                length += block
                index += 1
            }
            return BlockRun(kind: .unallocated, length: length)
        }
        guard parent != nil else { return BlockRun(kind: .data, length: block - inBlock, host: host + inBlock) }
        let bitmap = try bitmap(index, host)
        var sector = Int(inBlock / 512)
        let here = Self.bit(bitmap, sector)
        while sector < blockBytes / 512, Self.bit(bitmap, sector) == here { sector += 1 }
        return BlockRun(kind: here ? .data : .unallocated, length: UInt64(sector) * 512 - inBlock, host: host + inBlock)
    }

    private static func bit(_ bitmap: [UInt8], _ sector: Int) -> Bool {
        bitmap[sector / 8] & (0x80 >> UInt8(sector % 8)) != 0
    }

    private func bitmap(_ index: Int, _ host: UInt64) throws(ImageError) -> [UInt8] {
        try bitmaps.find(index) { () throws(ImageError) in
            try storage.readBytes(at: host - UInt64(bitmapBytes), count: bitmapBytes)
        }
    }

    override func place(_ index: UInt64, count: Int) throws(ImageError) -> (host: UInt64, count: Int) {
        if let hostOutside {
            throw corrupt(
                "a block at \(hostOutside.hex) lies beyond the file, which therefore cannot grow", hostOutside)
        }
        let start = nextHost
        nextHost += UInt64(bitmapBytes + blockBytes)
        // The room may begin with the old footer: it goes to the new end before its old place is overwritten.
        try storage.write(footer.bytes, at: nextHost)
        try storage.zero(at: start, count: UInt64(bitmapBytes + blockBytes), unmap: true)
        if parent == nil {
            try storage.write([UInt8](repeating: 0xff, count: (blockBytes / 512 + 7) / 8), at: start)
        }
        return (start + UInt64(bitmapBytes), 1)
    }

    override func link(_ index: UInt64, host: UInt64) throws(ImageError) {
        try table.set((host - UInt64(bitmapBytes)) / 512, at: Int(index))
    }

    /// Differencing images: only the sectors that are written become this image's own.
    override func writeInsideBlock(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) -> Int? {
        guard parent != nil else { return nil }
        let index = Int(offset / UInt64(blockBytes))
        let start = UInt64(index) * UInt64(blockBytes)
        let inBlock = Int(offset - start)
        let count = min(buffer.count, blockBytes - inBlock)
        var host = try blockHost(index)
        if host == nil {
            let fresh = try place(UInt64(index), count: 1).host
            try link(UInt64(index), host: fresh)
            host = fresh
        }
        guard let host else { return nil }
        // Whole sectors, the edges filled up with what the disk shows there.
        let first = inBlock & ~511
        let last = (inBlock + count + 511) & ~511
        let whole = HeapBuffer(last - first)
        let visible = min(last - first, Int(min(UInt64(last - first), diskSize - start - UInt64(first))))
        try readLocked(into: whole.bytes.part(0, visible), at: start + UInt64(first))
        whole.bytes.part(inBlock - first, count).copyMemory(from: buffer.part(0, count))
        try storage.write(from: whole.readable.part(0, last - first), at: host + UInt64(first))
        var bits = try bitmap(index, host)
        for sector in first / 512..<last / 512 { bits[sector / 8] |= 0x80 >> UInt8(sector % 8) }
        bitmaps.change(index, to: bits)
        if bitmaps.isFull {
            try storage.sync()
            try writeTables()
        }
        return count
    }

    override var hasDirtyTables: Bool { !table.dirtyPages.isEmpty || bitmaps.isDirty }
    override func writeTables() throws(ImageError) {
        try bitmaps.writeBack { (index, bits) throws(ImageError) in
            if let host = try blockHost(index) { try storage.write(bits, at: host - UInt64(bitmapBytes)) }
        }
        try table.writeBack()
    }
}
