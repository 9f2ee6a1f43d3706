/// What a recorded run of the interpreter overwrote, so that it can be undone. While a CPU has one, the slow paths note every store and refuse
/// whatever cannot be undone: devices.
final class StoreJournal {
    struct Entry {
        var place: UnsafeMutableRawPointer
        var old: UInt64
        var new: UInt64
        var size: Int
    }

    private(set) var entries: [Entry] = []
    /// An access was refused: the instruction did not run, though no fault is pending.
    private(set) var hasRefused = false

    func begin() {
        entries.removeAll(keepingCapacity: true)
        hasRefused = false
    }

    /// To be called before `value` is stored.
    func note(_ place: UnsafeMutableRawPointer, _ value: UInt64, size: Int) {
        entries.append(Entry(place: place, old: PhysicalMap.load(place, size: size), new: value, size: size))
    }

    /// Always nil, which means a fault to the instruction.
    func refuse() -> UInt64? {
        hasRefused = true
        return nil
    }

    /// Whether both pages of an access are memory.
    func allows(_ memory: PhysicalMap, _ first: UInt64, _ second: UInt64) -> Bool {
        let isMemory = memory.target(ofPageAt: first).device == nil && memory.target(ofPageAt: second).device == nil
        if !isMemory { hasRefused = true }
        return isMemory
    }

    /// Takes back what was stored since the journal had `count` entries.
    func undo(to count: Int = 0) {
        while entries.count > count {
            let entry = entries.removeLast()
            PhysicalMap.store(entry.place, entry.old, size: entry.size)
        }
    }

    /// The first byte of memory that is not as the first `count` entries left it; nil: all are.
    func difference(_ count: Int) -> (place: UnsafeMutableRawPointer, expected: UInt8, found: UInt8)? {
        var bytes: [UnsafeMutableRawPointer: UInt8] = [:]
        for entry in entries[..<count] {
            for i in 0..<entry.size {
                bytes[entry.place + i] = UInt8(truncatingIfNeeded: entry.new >> UInt64(8 * i))
            }
        }
        for (place, expected) in bytes {
            let found = place.load(as: UInt8.self)
            if found != expected { return (place, expected, found) }
        }
        return nil
    }

    /// What `undo` took back, for `difference`.
    func replaceEntries(_ entries: [Entry]) { self.entries = entries }
}
