/// Sector bitmaps of differencing images, by block: which sectors are the image's own. A changed bitmap stays in memory
/// until the sectors that it vouches for have been synced; only then may it be written.
final class SectorBitmaps: @unchecked Sendable {
    private let lock = Lock()
    private let limit: Int
    private var bits: [Int: [UInt8]] = [:]
    private var dirty: Set<Int> = []

    /// `bitmapBytes` is the length of one; about 4 MiB are kept.
    init(bitmapBytes: Int) { limit = max(16, (4 << 20) / max(1, bitmapBytes)) }

    /// The bits of a block, read by `load` where they are not known.
    func find(_ block: Int, load: () throws(ImageError) -> [UInt8]) throws(ImageError) -> [UInt8] {
        lock.lock()
        defer { lock.unlock() }
        if let known = bits[block] { return known }
        if bits.count >= limit { bits = bits.filter { dirty.contains($0.key) } }
        let loaded = try load()
        bits[block] = loaded
        return loaded
    }

    func change(_ block: Int, to changed: [UInt8]) {
        lock.lock()
        defer { lock.unlock() }
        bits[block] = changed
        dirty.insert(block)
    }

    var isDirty: Bool { !dirty.isEmpty }
    /// Whether the changed ones should be written soon.
    var isFull: Bool { dirty.count >= limit }

    /// Writes the changed ones. The data has been synced.
    func writeBack(_ write: (Int, [UInt8]) throws(ImageError) -> Void) throws(ImageError) {
        for block in dirty.sorted() {
            if let changed = bits[block] { try write(block, changed) }
            dirty.remove(block)
        }
    }
}
