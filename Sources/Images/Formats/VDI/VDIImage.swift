/// An open VDI image.
final class VDIImage: BlockMappedImage, CheckableImage, @unchecked Sendable {
    private let map: EntryTable
    private let dataOffset: UInt64
    /// Place of the next new block, in blocks.
    private var nextPlace: UInt64
    private var allocated: UInt64
    private let parent: VDIParent?

    init(
        _ storage: any Storage, size: UInt64, map: EntryTable, dataOffset: UInt64, parent: VDIParent?
    ) throws(ImageError) {
        self.map = map
        self.parent = parent
        self.dataOffset = dataOffset
        var end: UInt64 = 0, used: UInt64 = 0
        try map.forEach { (_, place) throws(ImageError) in
            guard place < VDIFormat.zero else { return }
            end = max(end, place + 1)
            used += 1
        }
        nextPlace = end
        allocated = used
        super.init(storage: storage, formatName: "vdi", size: size, blockBytes: VDIFormat.blockBytes)
    }

    override var backingReference: BackingReference? {
        guard let parent else { return nil }
        // An image whose parent is missing still says that it needs one.
        let name = parent.file.isEmpty ? "{" + GUID(bytes: parent.uuid).mixedEndianText.dropFirst() : parent.file
        return BackingReference(file: name, format: "vdi")
    }

    override func attach(backing: any BlockDevice) throws(ImageError) {
        try parent?.verify(backing.path, for: path)
        try super.attach(backing: backing)
    }

    override func collectPlaces(into places: inout BlockPlaces) throws(ImageError) {
        places.addMetadata("the header", at: 0, bytes: 512)
        places.addMetadata("the block map", at: map.fileOffset, bytes: UInt64(map.byteCount))
        try map.forEach { (index, place) throws(ImageError) in
            guard place < VDIFormat.zero else { return }
            places.addBlock(UInt64(index), at: host(place), bytes: UInt64(blockBytes))
        }
    }

    /// Children tell by the content's UUID that their parent has changed.
    override func willWrite() throws(ImageError) { try storage.write(GUID.random().bytes, at: 408) }

    override func markZero(_ index: UInt64) throws(ImageError) -> Bool {
        // A block that has a place keeps it: the space could not be found again.
        guard try map[Int(index)] >= VDIFormat.zero else { return false }
        try map.set(VDIFormat.zero, at: Int(index))
        return true
    }

    private func host(_ place: UInt64) -> UInt64 { dataOffset + place << 20 }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        let inBlock = offset & 0xf_ffff
        var index = Int(offset >> 20)
        let first = try map[index]
        var length = UInt64(blockBytes) - inBlock
        index += 1
        let isPlaced = first < VDIFormat.zero
        var expected = first
        while length < limit, index < map.count {
            if isPlaced { expected += 1 }
            if try map[index] != expected { break }
            length += UInt64(blockBytes)
            index += 1
        }
        switch first {
        case VDIFormat.free: return BlockRun(kind: .unallocated, length: length)
        case VDIFormat.zero: return BlockRun(kind: .zero, length: length)
        default:
            guard first < UInt64(map.count) else {
                throw corrupt(
                    "VDI block \(offset >> 20) lies at place \(first), but there are only \(map.count) blocks", offset)
            }
            return BlockRun(kind: .data, length: length, host: host(first) + inBlock)
        }
    }

    override func place(_ index: UInt64, count: Int) throws(ImageError) -> (host: UInt64, count: Int) {
        let place = nextPlace
        guard place + UInt64(count) <= UInt64(map.count) else {
            throw corrupt("the VDI image has more blocks than its map")
        }
        try clearRoom(from: host(place), to: host(place + UInt64(count)))
        nextPlace += UInt64(count)
        return (host(place), count)
    }

    /// There are no more places than blocks: none may be lost to a write that failed.
    override func unplace(host: UInt64, count: Int) { nextPlace -= UInt64(count) }

    override func link(_ index: UInt64, host: UInt64) throws(ImageError) {
        try map.set((host - dataOffset) >> 20, at: Int(index))
        allocated += 1
    }

    override var hasDirtyTables: Bool { !map.dirtyPages.isEmpty }

    override func writeTables() throws(ImageError) {
        try map.writeBack()
        var count = [UInt8](repeating: 0, count: 4)
        for byte in 0..<4 { count[byte] = UInt8(truncatingIfNeeded: allocated >> UInt64(byte * 8)) }
        try storage.write(count, at: 388)
    }

    /// Two blocks at one place, or a place beyond the file.
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var result = CheckResult()
        var seen = [Bool](repeating: false, count: map.count)
        result.totalClusters = UInt64(map.count)
        try map.forEach { (index, entry) throws(ImageError) in
            guard entry < VDIFormat.zero else { return }
            let place = Int(entry)
            result.allocatedClusters += 1
            if place >= map.count || host(UInt64(place)) >= storage.byteCount {
                result.corruptions += 1
                result.note("ERROR: block index \(index) out of range, is \(place)")
            } else if seen[place] {
                result.corruptions += 1
                result.note("ERROR: block index \(index) also used by another block (place \(place))")
            } else {
                seen[place] = true
            }
        }
        return result
    }
}
