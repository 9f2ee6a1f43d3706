/// From a linear instruction pointer straight to a block: one CPU's cache in front of translation and block lookup.
///
/// What leads to supervisor code and what leads to user code has a generation of its own, so that forgetting is one
/// increment and a CR3 load keeps a kernel whose pages are global. The generations also go into `CPUState.jumpKey`, which
/// guards the translated code's jump cache in the same way.
struct JumpCache: ~Copyable {
    struct Entry {
        var linear: UInt64
        /// Generation in the upper half, mode key in the lower.
        var tag: UInt64
        var block: UnsafeMutablePointer<Block>?
    }

    static let count = 1 << 12
    /// Generations have 14 bits, as they stand in the upper bits of a key beside the address.
    static let generationBits = 14
    private static let generationLimit: UInt64 = 1 << generationBits

    private let entries: UnsafeMutablePointer<Entry>
    private var supervisor: UInt64 = 1
    private var user: UInt64 = 2
    private var last: UInt64 = 2
    /// Supervisor code was entered from a page that is not global: a CR3 load must forget supervisor code, too.
    private var hasLocalSupervisorCode = false
    /// For each linear page, by its low bits: bit 0 supervisor code, bit 1 user code may be entered.
    private let pages: UnsafeMutablePointer<UInt8>
    private static let pageCount = 1 << 14
    /// The generations ran out: the translated jump cache must be emptied before a key is used again.
    private(set) var isExhausted = false

    init() {
        entries = .allocate(capacity: Self.count)
        entries.initialize(repeating: Entry(linear: 0, tag: 0, block: nil), count: Self.count)
        pages = .allocate(capacity: Self.pageCount)
        pages.initialize(repeating: 0, count: Self.pageCount)
    }

    deinit {
        entries.deallocate()
        pages.deallocate()
    }

    @inline(__always) private static func isUser(_ mode: UInt32) -> Bool { mode & ModeKey.user != 0 }

    @inline(__always) func generation(mode: UInt32) -> UInt64 { Self.isUser(mode) ? user : supervisor }

    @inline(__always) private func tag(_ mode: UInt32) -> UInt64 { generation(mode: mode) << 32 | UInt64(mode) }

    @inline(__always) private func entry(_ linear: UInt64) -> UnsafeMutablePointer<Entry> {
        entries + Int(truncatingIfNeeded: (linear ^ (linear &>> 12)) & UInt64(Self.count - 1))
    }

    @inline(__always) func find(_ linear: UInt64, mode: UInt32) -> UnsafeMutablePointer<Block>? {
        let entry = entry(linear)
        guard entry.pointee.linear == linear, entry.pointee.tag == tag(mode), let block = entry.pointee.block,
            block.pointee.isLive
        else { return nil }
        return block
    }

    mutating func remember(_ linear: UInt64, mode: UInt32, isGlobal: Bool, _ block: UnsafeMutablePointer<Block>) {
        entry(linear).pointee = Entry(linear: linear, tag: tag(mode), block: block)
        note(linear, mode: mode, isGlobal: isGlobal, block)
    }

    /// A block can be entered at `linear` without translation: whatever changes the page, or the one that it goes on in, must be told.
    @inline(__always)
    mutating func note(_ linear: UInt64, mode: UInt32, isGlobal: Bool, _ block: UnsafeMutablePointer<Block>) {
        note(linear, mode: mode, isGlobal: isGlobal)
        if block.pointee.crossesPage { note(linear &+ 4096, mode: mode, isGlobal: isGlobal) }
    }

    /// The same for a block that stays in its page.
    mutating func note(_ linear: UInt64, mode: UInt32, isGlobal: Bool) {
        pages[Int(truncatingIfNeeded: linear >> 12) & (Self.pageCount - 1)] |= Self.isUser(mode) ? 2 : 1
        if !Self.isUser(mode), !isGlobal { hasLocalSupervisorCode = true }
    }

    // MARK: Forgetting

    private mutating func next() -> UInt64 {
        last += 1
        if last == Self.generationLimit {
            last = 1
            isExhausted = true
            entries.update(repeating: Entry(linear: 0, tag: 0, block: nil), count: Self.count)
        }
        return last
    }

    /// After any change of translations.
    mutating func forget() {
        supervisor = next()
        user = next()
        hasLocalSupervisorCode = false
        pages.update(repeating: 0, count: Self.pageCount)
    }

    /// After a CR3 load: what is global stays.
    mutating func forgetLocal() {
        if hasLocalSupervisorCode {
            supervisor = next()
            hasLocalSupervisorCode = false
        }
        user = next()
    }

    /// After INVLPG.
    /// - Returns: whether supervisor code was forgotten.
    mutating func forget(page linear: UInt64) -> Bool {
        let marks = pages[Int(truncatingIfNeeded: linear >> 12) & (Self.pageCount - 1)]
        if marks & 1 != 0 { supervisor = next() }
        if marks & 2 != 0 { user = next() }
        return marks & 1 != 0
    }

    mutating func acknowledgeExhaustion() { isExhausted = false }
}
