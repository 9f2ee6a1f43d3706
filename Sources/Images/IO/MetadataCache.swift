/// A bounded cache of equally sized metadata tables (L2 tables, refcount blocks, grain tables), written back in an
/// order that its owner decides. Not thread-safe: the owner holds a lock around every use.
final class MetadataCache {
    /// One cached table.
    struct Slot {
        /// Index of the table in its parent (L1 index, refcount table index), -1 when free.
        var key: Int
        /// Where the table lies in the file.
        var hostOffset: UInt64
        var isDirty: Bool
        /// Second chance for the clock hand.
        var wasUsed: Bool
        var table: UnsafeMutableRawPointer
    }

    let tableBytes: Int
    /// Most tables kept at a time.
    let slotLimit: Int
    private(set) var slots: [Slot] = []
    private var index: [Int: Int] = [:]
    private var lastKey = -1
    private var lastSlot = 0
    private var hand = 0
    private(set) var dirtyCount = 0

    /// `budgetBytes` bounds the memory; four tables are kept at least.
    init(tableBytes: Int, budgetBytes: Int) {
        self.tableBytes = tableBytes
        slotLimit = max(4, budgetBytes / tableBytes)
    }

    deinit { for slot in slots { slot.table.deallocate() } }

    /// The slot that holds table `key`, nil when it is not cached.
    @inline(__always) func find(_ key: Int) -> Int? {
        if key == lastKey {
            slots[lastSlot].wasUsed = true
            return lastSlot
        }
        guard let slot = index[key] else { return nil }
        slots[slot].wasUsed = true
        lastKey = key
        lastSlot = slot
        return slot
    }

    /// A slot to load `key` into: a new one, or a clean one given up; nil when all are dirty and must be written first.
    func claim(_ key: Int, hostOffset: UInt64) -> Int? {
        var chosen: Int
        if slots.count < slotLimit {
            let table = UnsafeMutableRawPointer.allocate(byteCount: tableBytes, alignment: 4096)
            slots.append(Slot(key: -1, hostOffset: 0, isDirty: false, wasUsed: false, table: table))
            chosen = slots.count - 1
        } else {
            var steps = 0
            while true {
                if steps > 2 * slots.count { return nil }
                chosen = hand
                hand = (hand + 1) % slots.count
                steps += 1
                if slots[chosen].isDirty { continue }
                if slots[chosen].wasUsed, slots[chosen].key >= 0 {
                    slots[chosen].wasUsed = false
                    continue
                }
                break
            }
            drop(chosen)
        }
        slots[chosen].key = key
        slots[chosen].hostOffset = hostOffset
        slots[chosen].wasUsed = true
        index[key] = chosen
        lastKey = key
        lastSlot = chosen
        return chosen
    }

    @inline(__always) func table(_ slot: Int) -> UnsafeMutableRawPointer { slots[slot].table }

    func bytes(_ slot: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: slots[slot].table, count: tableBytes)
    }

    @inline(__always) func markDirty(_ slot: Int) {
        if !slots[slot].isDirty {
            slots[slot].isDirty = true
            dirtyCount += 1
        }
    }

    func markClean(_ slot: Int) {
        if slots[slot].isDirty {
            slots[slot].isDirty = false
            dirtyCount -= 1
        }
    }

    /// The table has moved (copied on write).
    func move(_ slot: Int, to hostOffset: UInt64) { slots[slot].hostOffset = hostOffset }

    /// Forgets one table without writing it.
    func drop(_ slot: Int) {
        markClean(slot)
        if slots[slot].key >= 0 { index[slots[slot].key] = nil }
        if slots[slot].key == lastKey { lastKey = -1 }
        slots[slot].key = -1
    }

    /// Whether the next `claim` might find only dirty tables.
    var isFullOfDirty: Bool { dirtyCount + 1 >= slotLimit }

    /// Forgets everything without writing.
    func dropAll() { for slot in slots.indices { drop(slot) } }

    /// Slots that must be written, in file order.
    func dirtySlots() -> [Int] {
        dirtyCount == 0
            ? [] : slots.indices.filter { slots[$0].isDirty }.sorted { slots[$0].hostOffset < slots[$1].hostOffset }
    }

    /// Writes all dirty tables to `storage`.
    func writeBack(to storage: any Storage) throws(ImageError) {
        for slot in dirtySlots() {
            try storage.write(from: UnsafeRawBufferPointer(bytes(slot)), at: slots[slot].hostOffset)
            markClean(slot)
        }
    }
}
