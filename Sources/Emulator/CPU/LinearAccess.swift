import Glibc

/// Accesses at linear addresses that the inline TLB did not answer: translation, one lookup of what is at the physical page, the
/// access, and the TLB entry for the next time.
extension CPU {
    private var isUser: Bool { state.pointee.cpl == 3 }

    /// Bits 47–63 alike (SDM vol. 1, 3.3.7.1). Outside long mode every linear address has 32 bits.
    @inline(__always) func isCanonical(_ linear: UInt64) -> Bool {
        !state.pointee.isLongMode || UInt64(bitPattern: Int64(bitPattern: linear << 16) >> 16) == linear
    }

    private func width(_ linear: UInt64) -> UInt64 { state.pointee.isLongMode ? linear : linear & 0xFFFF_FFFF }

    /// Loads 1–8 bytes at any linear address with the privilege of the running code; fills the TLB.
    @inline(never) func loadSlow(_ linear: UInt64, size: Int) -> UInt64? {
        guard looksAtAccesses else { return load(linear, size: size, user: isUser, fillTLB: true) }
        guard checkAlignment(linear, size),
            let value = load(linear, size: size, user: isUser, fillTLB: mayFillTLB(linear))
        else { return nil }
        checkDataBreakpoints(linear, size: size, write: false)
        return value
    }

    /// Stores likewise. All pages are checked before the first byte is written.
    @inline(never) func storeSlow(_ linear: UInt64, _ value: UInt64, size: Int) -> Bool {
        guard looksAtAccesses else { return store(linear, value, size: size, user: isUser, fillTLB: true) }
        guard checkAlignment(linear, size),
            store(linear, value, size: size, user: isUser, fillTLB: mayFillTLB(linear))
        else { return false }
        checkDataBreakpoints(linear, size: size, write: true)
        return true
    }

    /// An implicit supervisor access (descriptor tables, TSS, interrupt stacks of CPL 0–2): load.
    func loadSystem(_ linear: UInt64, size: Int) -> UInt64? {
        load(linear, size: size, user: false, fillTLB: false, isSystem: true)
    }

    /// An implicit supervisor access: store.
    func storeSystem(_ linear: UInt64, _ value: UInt64, size: Int) -> Bool {
        store(linear, value, size: size, user: false, fillTLB: false, isSystem: true)
    }

    /// The check that both ends of an access must pass; false: #GP(0) is pending.
    @inline(__always) private func checkCanonical(_ linear: UInt64, _ size: Int, isSystem: Bool = false) -> Bool {
        if isCanonical(linear), isCanonical(linear &+ UInt64(size &- 1)) { return true }
        generalProtection()
        state.pointee.fault.isNonCanonical = !isSystem
        return false
    }

    /// EFLAGS.AC with CR0.AM at CPL 3; false: #AC(0) is pending (SDM vol. 3, 6.15). What is wider than 8 bytes comes in pieces.
    @inline(__always) private func checkAlignment(_ linear: UInt64, _ size: Int) -> Bool {
        guard state.pointee.modeKey & ModeKey.alignment != 0, linear & UInt64(size &- 1) != 0, size & (size &- 1) == 0
        else { return true }
        raise(Vector.ac, errorCode: 0)
        return false
    }

    /// Accesses that must be looked at one by one never fill the TLB.
    @inline(__always) private func mayFillTLB(_ linear: UInt64) -> Bool {
        state.pointee.modeKey & ModeKey.alignment == 0 && !isWatched(page: linear)
    }

    /// Whether the slow path has more to do than to translate and fill the TLB.
    @inline(__always) private var looksAtAccesses: Bool {
        state.pointee.dataBreakpoints || state.pointee.modeKey & ModeKey.alignment != 0
    }

    private func load(
        _ address: UInt64, size: Int, user: Bool, fillTLB: Bool, isSystem: Bool = false
    ) -> UInt64? {
        let linear = width(address)
        guard checkCanonical(linear, size, isSystem: isSystem) else { return nil }
        if Int(linear & 0xFFF) + size > 4096 { return loadAcross(linear, size: size, user: user) }
        guard let translation = translate(linear, .read, user: user) else { return nil }
        if let host = memory.plainRAM(translation.physical) {
            if fillTLB {
                tlb.enter(state.pointee.readTLB, linear, host - Int(translation.physical & 0xFFF), translation)
            }
            return PhysicalMap.load(host, size: size)
        }
        let target = memory.target(ofPageAt: translation.physical)
        if let journal, target.device != nil { return journal.refuse() }
        if fillTLB, let host = target.read { tlb.enter(state.pointee.readTLB, linear, host, translation) }
        return memory.read(target, inPage: translation.physical & 0xFFF, size: size)
    }

    /// Two pages: both are checked before devices, which may have side effects, are read.
    private func loadAcross(_ linear: UInt64, size: Int, user: Bool) -> UInt64? {
        let firstSize = 4096 - Int(linear & 0xFFF)
        guard let first = translate(linear, .read, user: user),
            let second = translate(width(linear &+ UInt64(firstSize)), .read, user: user)
        else { return nil }
        if let journal, !journal.allows(memory, first.physical, second.physical) { return nil }
        var value: UInt64 = 0
        for i in 0..<size {
            let at = i < firstSize ? first.physical + UInt64(i) : second.physical + UInt64(i - firstSize)
            value |= memory.read(at, size: 1) << UInt64(8 * i)
        }
        return value
    }

    private func store(
        _ address: UInt64, _ value: UInt64, size: Int, user: Bool, fillTLB: Bool, isSystem: Bool = false
    ) -> Bool {
        let linear = width(address)
        guard checkCanonical(linear, size, isSystem: isSystem) else { return false }
        if Int(linear & 0xFFF) + size > 4096 { return storeAcross(linear, value, size: size, user: user) }
        guard let translation = translate(linear, .write, user: user) else { return false }
        let physical = translation.physical & memory.a20Mask
        if let host = memory.plainRAM(physical) {
            if let journal { journal.note(host, value, size: size) }
            PhysicalMap.store(host, value, size: size)
            if memory.codePages.hasCode(physical) {
                memory.announceWrite(physical, UInt64(size))
            } else if fillTLB, journal == nil {
                tlb.enter(state.pointee.writeTLB, linear, host - Int(physical & 0xFFF), translation)
            }
            return true
        }
        let target = memory.target(ofPageAt: physical)
        if let journal {
            guard let host = target.write else { return journal.refuse() != nil }
            journal.note(host + Int(physical & 0xFFF), value, size: size)
        } else if fillTLB, let host = target.write, target.read == host, !memory.codePages.hasCode(physical) {
            tlb.enter(state.pointee.writeTLB, linear, host, translation)
        }
        memory.write(target, physical, size: size, value: value)
        return true
    }

    private func storeAcross(_ linear: UInt64, _ value: UInt64, size: Int, user: Bool) -> Bool {
        let firstSize = 4096 - Int(linear & 0xFFF)
        guard let first = translate(linear, .write, user: user),
            let second = translate(width(linear &+ UInt64(firstSize)), .write, user: user)
        else { return false }
        if let journal, !journal.allows(memory, first.physical, second.physical) { return false }
        for i in 0..<size {
            let at = i < firstSize ? first.physical + UInt64(i) : second.physical + UInt64(i - firstSize)
            let byte = value >> UInt64(8 * i) & 0xFF
            if let journal, let host = memory.target(ofPageAt: at).write {
                journal.note(host + Int(at & 0xFFF), byte, size: 1)
            }
            memory.write(at, size: 1, value: byte)
        }
        return true
    }

    /// First half of a read-modify-write on the slow path: checks that the store will not fault, then loads.
    @inline(never) func loadForStore(_ address: UInt64, size: Int) -> UInt64? {
        let linear = width(address)
        guard checkCanonical(linear, size), checkAlignment(linear, size) else { return nil }
        guard translate(linear, .write, user: isUser) != nil else { return nil }
        let last = width(linear &+ UInt64(size - 1))
        if last >> 12 != linear >> 12, translate(last & ~0xFFF, .write, user: isUser) == nil { return nil }
        return loadSlow(linear, size: size)
    }

    // MARK: Filling the TLB ahead of an access

    /// Enters the page of an access of translated code in the TLB, so that the access can be tried again.
    ///
    /// Nothing is raised: false means that the access crosses a page, would fault, or reaches what is not in the TLB, and is the
    /// interpreter's to do.
    func fillTLB(_ linear: UInt64, size: Int, write: Bool) -> Bool {
        guard linear & 0xFFF &+ UInt64(size) <= 4096, isCanonical(linear), !looksAtAccesses,
            state.pointee.isLongMode || linear >> 32 == 0
        else { return false }
        let faultAddress = state.pointee.cr2
        guard let translation = translate(linear, write ? .write : .read, user: isUser) else {
            state.pointee.fault.isPending = false
            state.pointee.cr2 = faultAddress
            return false
        }
        let physical = translation.physical & memory.a20Mask
        guard let host = memory.plainRAM(physical), !write || !memory.codePages.hasCode(physical) else { return false }
        let table = write ? state.pointee.writeTLB : state.pointee.readTLB
        tlb.enter(table, linear, host - Int(physical & 0xFFF), translation)
        return true
    }

    // MARK: Fetches

    /// The page of an instruction byte; nil: a fault is pending. The entry is good until the next call.
    func translateFetch(_ linear: UInt64) -> UnsafeMutablePointer<FetchEntry>? {
        let page = linear & ~0xFFF
        let entry = tlb.fetches(user: isUser) + Int(truncatingIfNeeded: page >> 12) & (TLBTables.fetchCount - 1)
        if entry.pointee.tag == page { return entry }
        guard isCanonical(linear) else {
            generalProtection()
            return nil
        }
        guard let translation = translate(linear, .fetch, user: isUser) else { return nil }
        let physical = translation.physical & memory.a20Mask
        let host = memory.target(ofPageAt: physical).read
        tlb.enterFetch(user: isUser, linear, physical, host, translation)
        return entry
    }

    // MARK: Segmentation

    /// Limit and type check of a memory operand outside flat code, then its linear address; nil: #GP(0) or #SS(0) is pending.
    @inline(never) func segmented(_ index: Int, _ offset: UInt64, size: UInt64, write: Bool) -> UInt64? {
        let segment = state.pointee.segments[index]
        let last = offset &+ (size &- 1)
        let limit = UInt64(segment.limit)
        var isInside: Bool
        if segment.isExpandDown && !state.pointee.usesRealSegments {
            let top: UInt64 = segment.isBig ? 0xFFFF_FFFF : 0xFFFF
            isInside = offset > limit && last <= top
        } else {
            isInside = last <= limit
        }
        if !state.pointee.usesRealSegments {
            // A null selector leaves a cache that is not present.
            isInside = isInside && segment.isPresent && (write ? segment.isWritableData : segment.isReadable)
        }
        if !isInside {
            raise(index == SegmentIndex.ss ? Vector.ss : Vector.gp, errorCode: 0)
            return nil
        }
        return (segment.base &+ offset) & 0xFFFF_FFFF
    }
}
