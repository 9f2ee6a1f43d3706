import Glibc

/// What of the CPU's mode changes how bytes decode or what a decoded instruction does without asking again.
enum ModeKey {
    static let code32: UInt32 = 1
    static let code64: UInt32 = 2
    static let stack32: UInt32 = 4
    static let flat: UInt32 = 8
    static let user: UInt32 = 16
}

/// A run of decoded instructions that starts at a physical address and stays inside its page.
struct Block {
    var physical: UInt64
    var mode: UInt32
    /// Instructions, without the closing `endOfBlock`.
    var count: Int32
    var byteLength: UInt16
    var isLive: Bool
    /// Directly linked successors in the same page: after the last instruction, and at its branch target.
    var next: UnsafeMutablePointer<Block>?
    var taken: UnsafeMutablePointer<Block>?
    var hashNext: UnsafeMutablePointer<Block>?
    var pageNext: UnsafeMutablePointer<Block>?

    /// Instructions follow the header in the arena.
    static let headerBytes = (MemoryLayout<Block>.size + 31) & ~31
}

extension UnsafeMutablePointer where Pointee == Block {
    @inline(__always) var ops: UnsafeMutablePointer<DecodedOp> {
        // SAFETY: BlockCache allocates header and instructions as one piece.
        UnsafeMutableRawPointer(self).advanced(by: Block.headerBytes).assumingMemoryBound(to: DecodedOp.self)
    }
}

/// Decoded blocks by physical address and mode, and which pages they came from.
///
/// A store to a page with blocks takes the slow path (the page is never in the store TLB) and throws away those blocks
/// whose 128-byte lines it touches. A thrown-away block may still be running or be linked to: its instructions turn into `stale`,
/// which looks the address up again. Its memory comes back when the whole arena is flushed.
final class BlockCache {
    typealias Pointer = UnsafeMutablePointer<Block>

    private struct Page {
        var first: Pointer?
        /// One bit for each 128 bytes that some block covers.
        var lines: UInt32
    }

    /// An entry of the jump cache: linear address and mode straight to a block.
    struct Jump {
        var linear: UInt64
        /// Generation of translations in the upper half, mode key in the lower.
        var tag: UInt64
        var block: Pointer?
    }

    static let arenaBytes = 24 << 20
    private static let hashCount = 1 << 14
    static let jumpCount = 1 << 12

    private let arena: UnsafeMutableRawPointer
    private var used = 0
    private let heads: UnsafeMutablePointer<Pointer?>
    let jumps: UnsafeMutablePointer<Jump>
    private var pages: [UInt64: Page] = [:]
    private(set) var generation: UInt64 = 1
    /// Set when everything must go; honoured between blocks.
    private(set) var flushRequested = false
    /// Called when a page gets its first block: the CPU drops store translations to it.
    var pageBecameCode: (UInt64) -> Void = { _ in }

    init() {
        arena = .allocate(byteCount: Self.arenaBytes, alignment: 64)
        heads = .allocate(capacity: Self.hashCount)
        heads.initialize(repeating: nil, count: Self.hashCount)
        jumps = .allocate(capacity: Self.jumpCount)
        jumps.initialize(repeating: Jump(linear: 0, tag: 0, block: nil), count: Self.jumpCount)
    }

    deinit {
        arena.deallocate()
        heads.deallocate()
        jumps.deallocate()
    }

    // MARK: Lookup

    @inline(__always) static func jumpIndex(_ linear: UInt64) -> Int {
        Int(truncatingIfNeeded: (linear ^ (linear &>> 12)) & UInt64(jumpCount - 1))
    }

    @inline(__always) func tag(mode: UInt32) -> UInt64 { generation << 32 | UInt64(mode) }

    private static func hash(_ physical: UInt64, _ mode: UInt32) -> Int {
        Int(truncatingIfNeeded: (physical ^ (physical >> 13) ^ UInt64(mode) << 5) & UInt64(hashCount - 1))
    }

    func find(_ physical: UInt64, mode: UInt32) -> Pointer? {
        var candidate = heads[Self.hash(physical, mode)]
        while let block = candidate {
            if block.pointee.physical == physical && block.pointee.mode == mode { return block }
            candidate = block.pointee.hashNext
        }
        return nil
    }

    /// Forgets what depends on linear addresses: after any change of translations.
    func forgetLinear() { generation &+= 1 }

    // MARK: Building

    /// Space for a block of at most `count` instructions; nil when the arena is full and must be flushed.
    func reserve(_ count: Int) -> Pointer? {
        let bytes = Block.headerBytes + count * MemoryLayout<DecodedOp>.stride
        guard used + bytes <= Self.arenaBytes else { return nil }
        return (arena + used).assumingMemoryBound(to: Block.self)
    }

    /// Keeps a block that was built in reserved space.
    func commit(_ block: Pointer) {
        let count = Int(block.pointee.count) + 1
        used += (Block.headerBytes + count * MemoryLayout<DecodedOp>.stride + 63) & ~63
        let slot = Self.hash(block.pointee.physical, block.pointee.mode)
        block.pointee.hashNext = heads[slot]
        heads[slot] = block
        let page = block.pointee.physical >> 12
        var info = pages[page] ?? Page(first: nil, lines: 0)
        let isNew = info.first == nil
        block.pointee.pageNext = info.first
        info.first = block
        info.lines |= Self.lines(block.pointee.physical, UInt64(block.pointee.byteLength))
        pages[page] = info
        if isNew { pageBecameCode(page << 12) }
    }

    // MARK: Invalidation

    private static func lines(_ physical: UInt64, _ length: UInt64) -> UInt32 {
        let first = physical >> 7 & 31, last = (physical + max(length, 1) - 1) >> 7 & 31
        return UInt32(truncatingIfNeeded: (UInt64(2) << last) - (UInt64(1) << first))
    }

    func hasCode(page physical: UInt64) -> Bool { pages[physical >> 12] != nil }

    /// Throws away blocks that cover any byte of a range; cheap where there are none.
    func invalidate(_ physical: UInt64, _ length: UInt64) {
        if pages.isEmpty { return }
        var at = physical
        let end = physical &+ length
        while at < end {
            let pageEnd = (at | 0xFFF) + 1
            let stop = min(end, pageEnd)
            if let info = pages[at >> 12], info.lines & Self.lines(at, stop - at) != 0 {
                invalidatePage(at >> 12, from: at, to: stop)
            }
            at = stop
        }
    }

    private func invalidatePage(_ page: UInt64, from start: UInt64, to end: UInt64) {
        guard var info = pages[page] else { return }
        var kept: Pointer?
        var lines: UInt32 = 0
        var candidate = info.first
        while let block = candidate {
            candidate = block.pointee.pageNext
            let blockStart = block.pointee.physical, blockEnd = blockStart + UInt64(block.pointee.byteLength)
            if blockStart < end && blockEnd > start {
                retire(block)
            } else {
                block.pointee.pageNext = kept
                kept = block
                lines |= Self.lines(blockStart, UInt64(block.pointee.byteLength))
            }
        }
        info.first = kept
        info.lines = lines
        // An empty page stays known until the next flush: code that is rewritten once tends to be again.
        pages[page] = info
    }

    private func retire(_ block: Pointer) {
        block.pointee.isLive = false
        for i in 0...Int(block.pointee.count) { block.ops[i].code = .stale }
        let slot = Self.hash(block.pointee.physical, block.pointee.mode)
        if heads[slot] == block {
            heads[slot] = block.pointee.hashNext
        } else {
            var previous = heads[slot]
            while let p = previous, p.pointee.hashNext != block { previous = p.pointee.hashNext }
            previous?.pointee.hashNext = block.pointee.hashNext
        }
    }

    /// Asks for a flush of everything at the next block boundary (memory map changed, A20).
    func requestFlush() { flushRequested = true }

    /// Drops every block. Only between blocks: nothing may hold a pointer.
    func flush() {
        flushRequested = false
        used = 0
        heads.update(repeating: nil, count: Self.hashCount)
        pages.removeAll(keepingCapacity: true)
        generation &+= 1
    }
}
