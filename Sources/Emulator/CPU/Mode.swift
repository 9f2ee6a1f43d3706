extension CPU {
    /// Recomputes what follows from the mode and the segment registers: CPL, TLB tables, block key, FPU trapping.
    /// To be called after every change of CS, SS, DS, ES, CR0, CR4, EFER, EFLAGS.VM and EFLAGS.AC.
    func updateMode() {
        let s = state
        let cpl: UInt8
        // In protected mode the stack segment's DPL always equals CPL: every way to load SS sees to that.
        if !s.pointee.isProtected {
            cpl = 0
        } else if s.pointee.isVirtual8086 {
            cpl = 3
        } else {
            cpl = s.pointee.segments[SegmentIndex.ss].dpl
        }
        s.pointee.cpl = cpl
        let checksAlignment = cpl == 3 && s.pointee.cr0 & CR0.am != 0 && s.pointee.flagsRest & RFLAGS.ac != 0
        s.pointee.readTLB = checksAlignment ? tlb.none : tlb.reads(user: cpl == 3)
        s.pointee.writeTLB = checksAlignment ? tlb.none : tlb.writes(user: cpl == 3)

        if s.pointee.cr4 & CR4.smap != 0, s.pointee.flagsRest & RFLAGS.ac == 0 { tlb.closeUserPages() }

        var key: UInt32 = cpl == 3 ? ModeKey.user : 0
        if checksAlignment { key |= ModeKey.alignment }
        if s.pointee.is64Bit {
            key |= ModeKey.code64 | ModeKey.stack32 | ModeKey.flat
        } else if !s.pointee.isVirtual8086 {
            if s.pointee.segments[SegmentIndex.cs].isBig { key |= ModeKey.code32 }
            if s.pointee.segments[SegmentIndex.ss].isBig { key |= ModeKey.stack32 }
            if s.pointee.isProtected, isFlat { key |= ModeKey.flat }
        }
        if key != s.pointee.modeKey {
            s.pointee.modeKey = key
            updateJumpKey()
        }
        s.pointee.native.plainFS = isPlain(SegmentIndex.fs) ? 1 : 0
        s.pointee.native.plainGS = isPlain(SegmentIndex.gs) ? 1 : 0
        s.pointee.fpuTrapped = s.pointee.cr0 & (CR0.em | CR0.ts) != 0
    }

    /// Writable data whose limit nobody can pass: only its base matters.
    private func isPlain(_ index: Int) -> Bool {
        let segment = state.pointee.segments[index]
        return segment.limit == 0xFFFF_FFFF && segment.isPresent && segment.isWritableData && !segment.isExpandDown
    }

    private var isFlat: Bool {
        func covers(_ segment: Segment) -> Bool {
            segment.base == 0 && segment.limit == 0xFFFF_FFFF && segment.isPresent
        }
        func isFlatData(_ index: Int) -> Bool {
            let segment = state.pointee.segments[index]
            return covers(segment) && segment.isWritableData && !segment.isExpandDown
        }
        let code = state.pointee.segments[SegmentIndex.cs]
        return covers(code) && code.isCode && code.isReadable && isFlatData(SegmentIndex.ss)
            && isFlatData(SegmentIndex.ds) && isFlatData(SegmentIndex.es)
    }
}
