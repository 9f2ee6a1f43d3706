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
    /// Physical address of the page; bit 0 tells that it is global.
    var physical: UInt64
    /// Host address of the page's bytes.
    var host: UnsafeMutableRawPointer?

    var isGlobal: Bool { physical & 1 != 0 }
}

/// What a walk found above the last level: where the page table of 2 MiB lies, and what all entries that lead to it allow.
///
/// A processor may keep these as long as its TLB's entries, and INVLPG of any address drops all of them (SDM vol. 3, 4.10.3 and
/// 4.10.4.1).
struct WalkEntry {
    /// Linear address in units of 2 MiB.
    var tag: UInt64
    var generation: UInt64
    var table: UInt64
    var isWritable: Bool
    var isUser: Bool
    var isNoExecute: Bool
}

/// The TLB tables of one CPU: loads and stores, each for supervisor and user mode, and fetches for both.
///
/// Entries of pages that are not global are listed in a journal, so that a CR3 load costs what was filled and keeps the
/// kernel's translations (SDM vol. 3, 4.10.2.4). Large pages are entered as pages of 4 KiB; a filter remembers where they lie, as INVLPG of
/// any of their addresses drops all of them (SDM vol. 3, 4.10.4.1).
struct TLBTables: ~Copyable {
    static let entryCount = 4096
    static let mask = UInt64(entryCount - 1)
    static let fetchCount = 256
    private static let journalLimit = 4096

    /// Supervisor loads, supervisor stores, user loads, user stores, one after another.
    let data: UnsafeMutablePointer<TLBEntry>
    /// Supervisor fetches, then user fetches.
    let fetch: UnsafeMutablePointer<FetchEntry>
    /// A table of which no entry ever matches: every access takes the slow path.
    let none: UnsafeMutablePointer<TLBEntry>
    /// Indices into `data`, or into `fetch` with `fetchMark`.
    private let journal: UnsafeMutablePointer<UInt32>
    private static let fetchMark: UInt32 = 1 << 31
    /// Entries of the journal; `journalLimit` when some did not fit.
    private let journalCount: UnsafeMutablePointer<Int>
    /// One bit for each 2 MiB, by the address's low bits, that holds fragments of a large page.
    private let large: UnsafeMutablePointer<UInt64>
    private static let largeWords = 32
    /// Entries of user pages that supervisor code reached while EFLAGS.AC let it (SMAP); `openLimit` when some did not fit.
    private let open: UnsafeMutablePointer<UInt32>
    private let openCount: UnsafeMutablePointer<Int>
    private static let openLimit = 64
    private let walks: UnsafeMutablePointer<WalkEntry>
    private let walkGeneration: UnsafeMutablePointer<UInt64>
    private static let walkCount = 64
    let windows: PageWindows

    /// - Parameters: `memory` of `CPUArena.tlbBytes`; `windows` of `PageWindows.bytes`.
    init(_ memory: UnsafeMutableRawPointer, windows: UnsafeMutableRawPointer) {
        self.windows = PageWindows(windows)
        data = memory.assumingMemoryBound(to: TLBEntry.self)
        fetch = .allocate(capacity: 2 * Self.fetchCount)
        none = .allocate(capacity: Self.entryCount)
        none.initialize(repeating: TLBEntry(tag: TLBEntry.invalid, addend: 0), count: Self.entryCount)
        journal = .allocate(capacity: Self.journalLimit)
        journalCount = .allocate(capacity: 1)
        open = .allocate(capacity: Self.openLimit)
        openCount = .allocate(capacity: 1)
        large = .allocate(capacity: Self.largeWords)
        walks = .allocate(capacity: Self.walkCount)
        walks.initialize(
            repeating: WalkEntry(
                tag: 0, generation: 0, table: 0, isWritable: false, isUser: false, isNoExecute: false),
            count: Self.walkCount)
        walkGeneration = .allocate(capacity: 1)
        walkGeneration.initialize(to: 0)
        flush()
    }

    deinit {
        fetch.deallocate()
        none.deallocate()
        journal.deallocate()
        journalCount.deallocate()
        open.deallocate()
        openCount.deallocate()
        large.deallocate()
        walks.deallocate()
        walkGeneration.deallocate()
    }

    func reads(user: Bool) -> UnsafeMutablePointer<TLBEntry> { data + (user ? 2 : 0) * Self.entryCount }
    func writes(user: Bool) -> UnsafeMutablePointer<TLBEntry> { data + (user ? 3 : 1) * Self.entryCount }
    func fetches(user: Bool) -> UnsafeMutablePointer<FetchEntry> { fetch + (user ? Self.fetchCount : 0) }

    // MARK: Filling

    /// - Parameter table: one of `reads` and `writes`.
    func enter(
        _ table: UnsafeMutablePointer<TLBEntry>, _ linear: UInt64, _ host: UnsafeMutableRawPointer,
        _ translation: CPU.Translation
    ) {
        let page = linear & ~0xFFF
        let slot = table + Int(truncatingIfNeeded: page >> 12 & Self.mask)
        slot.pointee = TLBEntry(tag: page, addend: UInt64(UInt(bitPattern: host)) &- page)
        let index = UInt32(truncatingIfNeeded: slot - data)
        note(index, linear, translation)
        if translation.isOpenedByAC {
            let count = openCount.pointee
            if count < Self.openLimit {
                open[count] = index
                openCount.pointee = count + 1
            }
        }
    }

    /// EFLAGS.AC closed user pages to supervisor code.
    func closeUserPages() {
        let count = openCount.pointee
        if count == 0 { return }
        guard count < Self.openLimit else { return flush() }
        for i in 0..<count { data[Int(open[i])].tag = TLBEntry.invalid }
        openCount.pointee = 0
    }

    func enterFetch(
        user: Bool, _ linear: UInt64, _ physical: UInt64, _ host: UnsafeMutableRawPointer?,
        _ translation: CPU.Translation
    ) {
        let slot = fetches(user: user) + Int(truncatingIfNeeded: linear >> 12) & (Self.fetchCount - 1)
        slot.pointee = FetchEntry(
            tag: linear & ~0xFFF, physical: physical & ~0xFFF | (translation.isGlobal ? 1 : 0), host: host)
        note(UInt32(truncatingIfNeeded: slot - fetch) | Self.fetchMark, linear, translation)
    }

    private func note(_ index: UInt32, _ linear: UInt64, _ translation: CPU.Translation) {
        if translation.largeShift != 0 {
            // A 4 MiB page has two bits, a page of 1 GiB all of them.
            if translation.largeShift > 22 {
                large.update(repeating: ~0, count: Self.largeWords)
            } else {
                let bits: UInt64 = translation.largeShift == 22 ? 3 << (linear >> 21 & 62) : 1 << (linear >> 21 & 63)
                large[Int(linear >> 27) & (Self.largeWords - 1)] |= bits
            }
        }
        if translation.isGlobal { return }
        let count = journalCount.pointee
        guard count < Self.journalLimit else { return }
        journal[count] = index
        journalCount.pointee = count + 1
    }

    // MARK: The upper levels of walks

    /// What leads to the page table for `linear`, if that is known.
    @inline(__always) func walk(_ linear: UInt64) -> UnsafePointer<WalkEntry>? {
        let entry = walks + Int(truncatingIfNeeded: linear >> 21) & (Self.walkCount - 1)
        guard entry.pointee.tag == linear >> 21, entry.pointee.generation == walkGeneration.pointee else { return nil }
        return UnsafePointer(entry)
    }

    func enterWalk(_ linear: UInt64, table: UInt64, isWritable: Bool, isUser: Bool, isNoExecute: Bool) {
        walks[Int(truncatingIfNeeded: linear >> 21) & (Self.walkCount - 1)] = WalkEntry(
            tag: linear >> 21, generation: walkGeneration.pointee, table: table, isWritable: isWritable,
            isUser: isUser, isNoExecute: isNoExecute)
    }

    private func forgetWalks() { walkGeneration.pointee &+= 1 }

    // MARK: Flushing

    func flush() {
        windows.shut()
        // SAFETY: both tables are plain words; all ones is an invalid tag.
        memset(data, 0xFF, 4 * Self.entryCount * MemoryLayout<TLBEntry>.stride)
        memset(fetch, 0xFF, 2 * Self.fetchCount * MemoryLayout<FetchEntry>.stride)
        journalCount.pointee = 0
        openCount.pointee = 0
        large.update(repeating: 0, count: Self.largeWords)
        forgetWalks()
    }

    /// Drops what is not global (a CR3 load with CR4.PGE set or clear: without it nothing was entered as global).
    func flushLocal() {
        windows.shut()
        forgetWalks()
        let count = journalCount.pointee
        guard count < Self.journalLimit else { return flush() }
        for i in 0..<count {
            let index = journal[i]
            if index & Self.fetchMark != 0 {
                fetch[Int(index & ~Self.fetchMark)].tag = TLBEntry.invalid
            } else {
                data[Int(index)].tag = TLBEntry.invalid
            }
        }
        journalCount.pointee = 0
    }

    /// Whether `linear` may belong to a large page that was entered in fragments: then INVLPG drops everything.
    func mayBeLarge(_ linear: UInt64) -> Bool {
        large[Int(linear >> 27) & (Self.largeWords - 1)] & (1 << (linear >> 21 & 63)) != 0
    }

    /// Drops the translations of one linear page.
    func flush(page linear: UInt64) {
        windows.shut()
        forgetWalks()
        let index = Int(linear >> 12 & Self.mask)
        for table in 0..<4 { data[table * Self.entryCount + index].tag = TLBEntry.invalid }
        let fetchIndex = Int(linear >> 12) & (Self.fetchCount - 1)
        fetch[fetchIndex].tag = TLBEntry.invalid
        fetch[Self.fetchCount + fetchIndex].tag = TLBEntry.invalid
    }

    /// Drops all store translations that lead to a host page (another linear alias may have entered it).
    func flushWrites(hostPage: UnsafeMutableRawPointer) {
        windows.shut()
        let host = UInt64(UInt(bitPattern: hostPage))
        for table in [1, 3] {
            let entries = data + table * Self.entryCount
            for i in 0..<Self.entryCount
            where entries[i].tag &+ entries[i].addend == host && entries[i].tag != TLBEntry.invalid {
                entries[i].tag = TLBEntry.invalid
            }
        }
    }
}
