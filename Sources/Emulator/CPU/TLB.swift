import Glibc

/// One entry of the software TLB: a linear page and where the host keeps it.
///
/// An access of n bytes at `linear` hits when `(linear + n - 1) & ~0xFFF == tag` in the entry that `linear` selects:
/// an access that crosses into the next page compares unequal and takes the slow path. Pages that are not plain RAM, hold
/// decoded code (stores) or are watched are never entered, so a hit needs no further test.
struct TLBEntry {
    /// Linear address of the page; `TLBEntry.invalid` matches nothing, as real tags have 12 zero bits.
    var tag: UInt64
    /// Host address minus linear address.
    var addend: UInt64
    static let invalid = ~UInt64(0)
}

/// A cached translation for fetches and for the slow path: linear page to physical page.
struct FetchEntry {
    var tag: UInt64
    /// Physical address of the page.
    var physical: UInt64
    /// Host address of the page's bytes.
    var host: UnsafeMutableRawPointer?
}

/// The TLB tables of one CPU: loads and stores, each for supervisor and user mode, and fetches for both.
struct TLBTables: ~Copyable {
    static let entryCount = 1024
    static let mask = UInt64(entryCount - 1)

    /// Supervisor loads, supervisor stores, user loads, user stores, one after another.
    let data: UnsafeMutablePointer<TLBEntry>
    /// Supervisor fetches, then user fetches.
    let fetch: UnsafeMutablePointer<FetchEntry>
    static let fetchCount = 256

    init() {
        data = .allocate(capacity: 4 * Self.entryCount)
        fetch = .allocate(capacity: 2 * Self.fetchCount)
        flush()
    }

    deinit {
        data.deallocate()
        fetch.deallocate()
    }

    func reads(user: Bool) -> UnsafeMutablePointer<TLBEntry> { data + (user ? 2 : 0) * Self.entryCount }
    func writes(user: Bool) -> UnsafeMutablePointer<TLBEntry> { data + (user ? 3 : 1) * Self.entryCount }
    func fetches(user: Bool) -> UnsafeMutablePointer<FetchEntry> { fetch + (user ? Self.fetchCount : 0) }

    func flush() {
        // SAFETY: both tables are plain words; all ones is an invalid tag.
        memset(data, 0xFF, 4 * Self.entryCount * MemoryLayout<TLBEntry>.stride)
        memset(fetch, 0xFF, 2 * Self.fetchCount * MemoryLayout<FetchEntry>.stride)
    }

    /// Drops the translations of one linear page.
    func flush(page linear: UInt64) {
        let index = Int(linear >> 12 & Self.mask)
        for table in 0..<4 { data[table * Self.entryCount + index].tag = TLBEntry.invalid }
        let fetchIndex = Int(linear >> 12) & (Self.fetchCount - 1)
        fetch[fetchIndex].tag = TLBEntry.invalid
        fetch[Self.fetchCount + fetchIndex].tag = TLBEntry.invalid
    }

    /// Drops all store translations that lead to a host page (another linear alias may have entered it).
    func flushWrites(hostPage: UnsafeMutableRawPointer) {
        let host = UInt64(UInt(bitPattern: hostPage))
        for table in [1, 3] {
            let entries = data + table * Self.entryCount
            for i in 0..<Self.entryCount
            where entries[i].tag != TLBEntry.invalid && entries[i].tag &+ entries[i].addend == host {
                entries[i].tag = TLBEntry.invalid
            }
        }
    }
}
