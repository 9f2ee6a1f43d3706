/// What of the CPU's mode changes how bytes decode or what a decoded instruction does without asking again.
enum ModeKey {
    static let code32: UInt32 = 1
    static let code64: UInt32 = 2
    static let stack32: UInt32 = 4
    static let flat: UInt32 = 8
    static let user: UInt32 = 16
    /// Accesses of user code must be aligned (CR0.AM and EFLAGS.AC): interpreted, and no TLB.
    static let alignment: UInt32 = 32
}

/// A run of decoded instructions that starts at a physical address and stays inside its page; or one instruction that
/// goes on in another page.
struct Block {
    var physical: UInt64
    /// Physical page in which a crossing instruction ends; `noPage` for all others.
    var secondPage: UInt64 = Block.noPage
    var mode: UInt32
    /// Instructions, without the closing `endOfBlock`.
    var count: Int32
    var byteLength: UInt16
    var isLive = true
    /// Directly linked successors in the same page: after the last instruction, and at its branch target.
    var next: UnsafeMutablePointer<Block>?
    var taken: UnsafeMutablePointer<Block>?
    var hashNext: UnsafeMutablePointer<Block>?
    var pageNext: UnsafeMutablePointer<Block>?
    /// The next crossing block that ends in `secondPage`.
    var crossingNext: UnsafeMutablePointer<Block>?
    /// Translated code for this block at `entryLinear`, or wherever it is mapped (Relocation.swift); nil: none.
    var entry: UnsafeMutableRawPointer?
    var entryLinear: UInt64 = 0
    /// Flags that the code may read, and the 128-byte lines of the page that say so.
    var entryFlags = FlagMask.all
    var entryLines: UInt32 = 0
    /// Times that the interpreter ran it: what is hot gets translated.
    var heat: Int32 = 0

    static let noPage = ~UInt64(0)
    var crossesPage: Bool { secondPage != Block.noPage }

    /// Instructions follow the header in the arena.
    static let headerBytes = (MemoryLayout<Block>.size + 31) & ~31
}

extension UnsafeMutablePointer where Pointee == Block {
    @inline(__always) var ops: UnsafeMutablePointer<DecodedOp> {
        // SAFETY: BlockCache allocates header and instructions as one piece.
        UnsafeMutableRawPointer(self).advanced(by: Block.headerBytes).assumingMemoryBound(to: DecodedOp.self)
    }

    /// Bytes of the block in the page where it starts.
    var bytesInFirstPage: UInt64 {
        pointee.crossesPage ? 4096 - pointee.physical & 0xFFF : UInt64(pointee.byteLength)
    }
}

/// Decoded blocks by physical address and mode, and which pages they came from.
///
/// A store to a page with blocks takes the slow path (the page is never in the store TLB) and throws away those blocks
/// whose 128-byte lines it touches. A thrown-away block may still be running or be linked to: its instructions turn into `stale`,
/// which looks the address up again. Its memory comes back when the whole arena is flushed.
final class BlockCache {
    typealias Pointer = UnsafeMutablePointer<Block>

    static let arenaBytes = 64 << 20
    private static let hashBits: UInt64 = 17
    private static let hashCount = 1 << hashBits
    /// Stray stores that a page with code takes before it is given up to data.
    private static let strayLimit = 64
    private static let longestPatience: UInt16 = 8

    private let arena: UnsafeMutableRawPointer
    private var used = 0
    private let heads: UnsafeMutablePointer<Pointer?>
    private let pages: CodePages
    /// Counts flushes: a pointer from before one leads nowhere.
    private(set) var epoch: UInt64 = 0
    /// Set when everything must go; honoured between blocks.
    private(set) var flushRequested = false
    /// Who runs the blocks: each CPU.
    struct Observer {
        /// A page got its first block: store translations to it must go.
        var pageBecameCode: (UInt64) -> Void
        /// Everything was thrown away.
        var flushed: () -> Void
    }
    private var observers: [Observer] = []
    /// Called when code of a page was thrown away (physical address of the page, its 128-byte lines).
    var codeRetired: (UInt64, UInt32) -> Void = { _, _ in }

    init(pages: CodePages) {
        self.pages = pages
        arena = .allocate(byteCount: Self.arenaBytes, alignment: 64)
        heads = .allocate(capacity: Self.hashCount)
        heads.initialize(repeating: nil, count: Self.hashCount)
    }

    deinit {
        arena.deallocate()
        heads.deallocate()
    }

    func addObserver(_ observer: Observer) { observers.append(observer) }

    // MARK: Lookup

    /// Fibonacci hashing: page offsets and mode bits all reach the upper bits.
    @inline(__always) private static func hash(_ physical: UInt64, _ mode: UInt32) -> Int {
        Int(truncatingIfNeeded: ((physical ^ UInt64(mode) << 40) &* 0x9E37_79B9_7F4A_7C15) >> (64 - hashBits))
    }

    /// The first block of this address and mode at or behind `candidate` in its chain.
    @inline(__always)
    private func match(_ start: Pointer?, _ physical: UInt64, _ mode: UInt32) -> Pointer? {
        var candidate = start
        while let block = candidate {
            if block.pointee.physical == physical && block.pointee.mode == mode { return block }
            candidate = block.pointee.hashNext
        }
        return nil
    }

    /// A block, of several that cross a page the first.
    @inline(__always) func find(_ physical: UInt64, mode: UInt32) -> Pointer? {
        match(heads[Self.hash(physical, mode)], physical, mode)
    }

    /// The next block of the same address and mode, which ends in another page.
    func next(after block: Pointer) -> Pointer? {
        match(block.pointee.hashNext, block.pointee.physical, block.pointee.mode)
    }

    // MARK: Building

    /// Bytes left in the arena.
    var room: Int { Self.arenaBytes - used }

    /// Space for a block of at most `count` instructions; nil when the arena is full and must be flushed.
    func reserve(_ count: Int) -> Pointer? {
        let bytes = Block.headerBytes + count * MemoryLayout<DecodedOp>.stride
        guard used + bytes <= Self.arenaBytes else { return nil }
        return (arena + used).assumingMemoryBound(to: Block.self)
    }

    /// Keeps a block that was built in reserved space. Its pages must be memory.
    func commit(_ block: Pointer) {
        let count = Int(block.pointee.count) + 1
        used += (Block.headerBytes + count * MemoryLayout<DecodedOp>.stride + 63) & ~63
        let slot = Self.hash(block.pointee.physical, block.pointee.mode)
        block.pointee.hashNext = heads[slot]
        heads[slot] = block
        if let page = pages.page(block.pointee.physical) {
            block.pointee.pageNext = page.pointee.first
            page.pointee.first = block
            cover(page, block.pointee.physical, block.bytesInFirstPage)
        }
        if block.pointee.crossesPage, let page = pages.page(block.pointee.secondPage) {
            block.pointee.crossingNext = page.pointee.crossing
            page.pointee.crossing = block
            cover(page, block.pointee.secondPage, UInt64(block.pointee.byteLength) - block.bytesInFirstPage)
        }
    }

    private func cover(_ page: UnsafeMutablePointer<CodePages.Page>, _ physical: UInt64, _ length: UInt64) {
        let isNew = page.pointee.lines == 0
        page.pointee.lines |= CodePages.lines(physical, length)
        if isNew { for observer in observers { observer.pageBecameCode(physical & ~0xFFF) } }
    }

    // MARK: Invalidation

    /// Throws away blocks that cover any byte of a range that was written; cheap where there are none.
    func invalidate(_ physical: UInt64, _ length: UInt64) {
        var at = physical
        let end = physical &+ length
        while at < end {
            let stop = min(end, (at | 0xFFF) + 1)
            if let page = pages.page(at), page.pointee.lines != 0 {
                if page.pointee.lines & CodePages.lines(at, stop - at) != 0 {
                    invalidate(page, from: at, to: stop)
                } else {
                    strayStore(page, at)
                }
            }
            at = stop
        }
    }

    /// Data beside code is slow, as the page cannot be in the store TLB. A page that is stored to again and again loses its code: either
    /// that is never run again, or it is decoded anew.
    private func strayStore(_ page: UnsafeMutablePointer<CodePages.Page>, _ physical: UInt64) {
        page.pointee.strayStores &+= 1
        guard Int(page.pointee.strayStores) >= Self.strayLimit << Int(page.pointee.patience) else { return }
        if page.pointee.patience < Self.longestPatience { page.pointee.patience += 1 }
        invalidate(page, from: physical & ~0xFFF, to: (physical | 0xFFF) + 1)
    }

    private func invalidate(_ page: UnsafeMutablePointer<CodePages.Page>, from start: UInt64, to end: UInt64) {
        let base = start & ~0xFFF
        let before = page.pointee.lines
        var lines: UInt32 = 0
        var kept: Pointer?
        var candidate = page.pointee.first
        while let block = candidate {
            candidate = block.pointee.pageNext
            let from = block.pointee.physical, length = block.bytesInFirstPage
            if from < end && from + length > start {
                retire(block)
                if block.pointee.crossesPage { unlinkCrossing(block) }
            } else {
                block.pointee.pageNext = kept
                kept = block
                lines |= CodePages.lines(from, length)
            }
        }
        page.pointee.first = kept
        kept = nil
        candidate = page.pointee.crossing
        while let block = candidate {
            candidate = block.pointee.crossingNext
            let length = UInt64(block.pointee.byteLength) - block.bytesInFirstPage
            if start < base + length {
                retire(block)
                unlinkStart(block)
            } else {
                block.pointee.crossingNext = kept
                kept = block
                lines |= CodePages.lines(base, length)
            }
        }
        page.pointee.crossing = kept
        page.pointee.lines = lines
        if lines == 0 { page.pointee.strayStores = 0 }
        codeRetired(base, before & CodePages.lines(start, end - start))
    }

    /// Takes a thrown-away crossing block off the list of the page in which it ends; that page's lines may stay marked.
    private func unlinkCrossing(_ block: Pointer) {
        guard let page = pages.page(block.pointee.secondPage) else { return }
        Self.unlink(block, from: &page.pointee.crossing, by: \.crossingNext)
    }

    /// The same for the page in which it starts.
    private func unlinkStart(_ block: Pointer) {
        guard let page = pages.page(block.pointee.physical) else { return }
        Self.unlink(block, from: &page.pointee.first, by: \.pageNext)
    }

    /// Takes a block off a list that goes on at `next`.
    @inline(__always)
    private static func unlink(_ block: Pointer, from head: inout Pointer?, by next: WritableKeyPath<Block, Pointer?>) {
        let rest = block.pointee[keyPath: next]
        if head == block {
            head = rest
            return
        }
        var previous = head
        while let p = previous, p.pointee[keyPath: next] != block { previous = p.pointee[keyPath: next] }
        previous?.pointee[keyPath: next] = rest
    }

    private func retire(_ block: Pointer) {
        block.pointee.isLive = false
        block.pointee.entry = nil
        for i in 0...Int(block.pointee.count) { block.ops[i].code = .stale }
        Self.unlink(block, from: &heads[Self.hash(block.pointee.physical, block.pointee.mode)], by: \.hashNext)
    }

    /// Asks for a flush of everything at the next block boundary (memory map changed, A20).
    func requestFlush() { flushRequested = true }

    /// Drops every block. Only between blocks: a pointer from before leads to memory that is used again (`epoch`).
    func flush() {
        flushRequested = false
        for slot in 0..<Self.hashCount {
            var candidate = heads[slot]
            while let block = candidate {
                candidate = block.pointee.hashNext
                forgetPage(block.pointee.physical)
                if block.pointee.crossesPage { forgetPage(block.pointee.secondPage) }
            }
            heads[slot] = nil
        }
        used = 0
        epoch += 1
        for observer in observers { observer.flushed() }
    }

    private func forgetPage(_ physical: UInt64) {
        guard let page = pages.page(physical) else { return }
        page.pointee.first = nil
        page.pointee.crossing = nil
        page.pointee.lines = 0
        page.pointee.strayStores = 0
    }
}
