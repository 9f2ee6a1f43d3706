/// From an instruction pointer to a decoded block: jump cache, then translation and block cache, then the decoder.
extension CPU {
    /// Longest block. Long enough for any straight run that pays, short enough for prompt interrupts.
    static let maxInstructions = 64

    /// Linear address of `rip`.
    @inline(__always) var linearPointer: UInt64 {
        let s = state
        if s.pointee.modeKey & ModeKey.code64 != 0 { return s.pointee.rip }
        return (s.pointee.segments[unchecked: SegmentIndex.cs].base &+ s.pointee.rip) & 0xFFFF_FFFF
    }

    /// Keeps `rip` in the width of the code segment after it ran off a block's end.
    func maskPointer() {
        let key = state.pointee.modeKey
        if key & ModeKey.code64 == 0 { state.pointee.rip &= key & ModeKey.code32 != 0 ? 0xFFFF_FFFF : 0xFFFF }
    }

    /// Whether an indirect near target may be fetched from; otherwise #GP(0) is pending.
    @inline(__always) func isNearTarget(_ target: UInt64) -> Bool {
        if state.pointee.modeKey & ModeKey.code64 != 0 {
            let canonical = UInt64(bitPattern: Int64(bitPattern: target &<< 16) &>> 16)
            if canonical == target { return true }
        } else if state.pointee.modeKey & ModeKey.flat != 0
            || target <= UInt64(state.pointee.segments[unchecked: SegmentIndex.cs].limit)
        {
            return true
        }
        generalProtection()
        return false
    }

    /// The next block by way of the jump cache; nil: a fault is pending.
    @inline(__always) func jump() -> BlockCache.Pointer? {
        if !blocks.flushRequested, let block = jumps.find(linearPointer, mode: state.pointee.modeKey) { return block }
        return lookup()
    }

    /// The block at `rip`, decoded if need be; nil: a fault is pending.
    @inline(never) func lookup() -> BlockCache.Pointer? {
        if blocks.flushRequested { blocks.flush() }
        maskPointer()
        let mode = state.pointee.modeKey
        if mode & ModeKey.code64 == 0,
            state.pointee.rip > UInt64(state.pointee.segments[unchecked: SegmentIndex.cs].limit)
        {
            generalProtection()
            return nil
        }
        let linear = linearPointer
        guard let page = translateFetch(linear) else { return nil }
        let physical = page.pointee.physical & ~0xFFF | linear & 0xFFF
        if singleStepping { return single(linear, mode, physical: physical) }
        let host = page.pointee.host
        if let block = decoded(physical, linear, mode) {
            if isInsideLimit(block) {
                remember(linear, mode, block)
                return block
            }
        } else if state.pointee.fault.isPending {
            return nil
        }
        guard let host else { return single(linear, mode, physical: physical) }
        return build(linear, physical, host, mode)
    }

    /// The block at a linear address that was decoded before; nil: there is none, or a fault is pending.
    func decoded(at linear: UInt64, _ mode: UInt32) -> BlockCache.Pointer? {
        guard let page = translateFetch(linear) else { return nil }
        guard let block = decoded(page.pointee.physical & ~0xFFF | linear & 0xFFF, linear, mode), isInsideLimit(block)
        else { return nil }
        return block
    }

    /// Of the blocks at a physical address, the one that goes on in the page that `linear` goes on in.
    @inline(__always)
    private func decoded(_ physical: UInt64, _ linear: UInt64, _ mode: UInt32) -> BlockCache.Pointer? {
        var candidate = blocks.find(physical, mode: mode)
        while let block = candidate {
            guard block.pointee.crossesPage else { return block }
            guard let second = secondPage(linear) else { return nil }
            if second == block.pointee.secondPage { return block }
            candidate = blocks.next(after: block)
        }
        return nil
    }

    /// Physical address of the page behind the one of `linear`, into which an instruction there goes on; nil: a fault is pending.
    private func secondPage(_ linear: UInt64) -> UInt64? {
        let next = (linear | 0xFFF) &+ 1
        return translateFetch(state.pointee.modeKey & ModeKey.code64 != 0 ? next : next & 0xFFFF_FFFF)
            .map { $0.pointee.physical & ~0xFFF }
    }

    private func isInsideLimit(_ block: BlockCache.Pointer) -> Bool {
        let s = state
        if s.pointee.modeKey & ModeKey.code64 != 0 { return true }
        return s.pointee.rip + UInt64(max(block.pointee.byteLength, 1)) - 1
            <= UInt64(s.pointee.segments[unchecked: SegmentIndex.cs].limit)
    }

    private func remember(_ linear: UInt64, _ mode: UInt32, _ block: BlockCache.Pointer) {
        jumps.remember(linear, mode: mode, isGlobal: isGlobalFetch(linear, block), block)
    }

    /// Whether the code of a block that was just looked up stays where it is over a CR3 load.
    func isGlobalFetch(_ linear: UInt64, _ block: BlockCache.Pointer) -> Bool {
        func isGlobal(_ address: UInt64) -> Bool { translateFetch(address)?.pointee.isGlobal ?? false }
        return isGlobal(linear) && (!block.pointee.crossesPage || isGlobal((linear | 0xFFF) &+ 1))
    }

    /// Links two blocks of one page, so that the next time no lookup is needed. The link holds wherever the page is mapped, as both
    /// ends move together; 16-bit code is left out because its pointer may wrap between them, and what crosses into another page because
    /// that page may be mapped elsewhere.
    func link(_ from: BlockCache.Pointer, _ to: BlockCache.Pointer, _ start: UInt64, taken: Bool) {
        guard from != scratch, to != scratch, from.pointee.isLive, to.pointee.isLive,
            !from.pointee.crossesPage, !to.pointee.crossesPage,
            from.pointee.mode == to.pointee.mode, from.pointee.mode & (ModeKey.code32 | ModeKey.code64) != 0,
            from.pointee.physical >> 12 == to.pointee.physical >> 12,
            (start ^ from.pointee.physical) & 0xFFF == (state.pointee.rip ^ to.pointee.physical) & 0xFFF,
            start &- (from.pointee.physical & 0xFFF) == state.pointee.rip &- (to.pointee.physical & 0xFFF)
        else { return }
        if taken { from.pointee.taken = to } else { from.pointee.next = to }
    }
}
