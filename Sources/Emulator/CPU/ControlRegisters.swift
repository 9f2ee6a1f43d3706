/// CR0, CR3, CR4, CR8, EFER and XCR0 writes: the checks of SDM vol. 3, 2.5 and 9.8.5, and what follows from a change.
extension CPU {
    /// CR0 bits that exist; the others below bit 32 are ignored, those above must be 0.
    private static let cr0Bits =
        CR0.pe | CR0.mp | CR0.em | CR0.ts | CR0.ne | CR0.wp | CR0.am | CR0.nw | CR0.cd | CR0.pg

    /// False: #GP(0) or a fault of the PDPTE load is pending.
    func writeCR0(_ value: UInt64) -> Bool {
        let s = state
        guard value >> 32 == 0, value & CR0.pg == 0 || value & CR0.pe != 0, value & CR0.nw == 0 || value & CR0.cd != 0
        else { return refuse() }
        let old = s.pointee.cr0
        let new = value & Self.cr0Bits | CR0.et
        let turnsPagingOn = new & ~old & CR0.pg != 0
        let turnsPagingOff = old & ~new & CR0.pg != 0
        if turnsPagingOn, s.pointee.efer & EFER.lme != 0 {
            guard s.pointee.cr4 & CR4.pae != 0, !s.pointee.segments[SegmentIndex.cs].isLong else { return refuse() }
        }
        if turnsPagingOff {
            guard !s.pointee.is64Bit, s.pointee.cr4 & CR4.pcide == 0 else { return refuse() }
        }
        let usesPDPTEs = new & CR0.pg != 0 && s.pointee.cr4 & CR4.pae != 0 && s.pointee.efer & EFER.lme == 0
        if usesPDPTEs, (old ^ new) & (CR0.pg | CR0.cd | CR0.nw) != 0 {
            guard loadPDPTEs(s.pointee.cr3) else { return false }
        }
        s.pointee.cr0 = new
        if turnsPagingOn, s.pointee.efer & EFER.lme != 0 { s.pointee.efer |= EFER.lma }
        if turnsPagingOff { s.pointee.efer &= ~EFER.lma }
        if (old ^ new) & (CR0.pg | CR0.wp | CR0.pe) != 0 { flushTLB() }
        updateMode()
        return true
    }

    func writeCR3(_ value: UInt64) -> Bool {
        let s = state
        var new = value
        if s.pointee.isLongMode {
            if s.pointee.cr4 & CR4.pcide != 0 { new &= ~(1 << 63) }
            guard new >> UInt64(features.physicalAddressBits) == 0 else { return refuse() }
        } else {
            new &= 0xFFFF_FFFF
            if s.pointee.isPaging, s.pointee.cr4 & CR4.pae != 0 {
                guard loadPDPTEs(new) else { return false }
            }
        }
        s.pointee.cr3 = new
        flushLocalTLB()
        return true
    }

    /// Which feature brings which CR4 bits. Performance counters can always be opened to user code: there are none.
    private static let cr4Features: [(CPUFeature, UInt64)] = [
        (.fpu, CR4.pce), (.vme, CR4.vme | CR4.pvi), (.tsc, CR4.tsd), (.de, CR4.de), (.pse, CR4.pse), (.pae, CR4.pae),
        (.mce, CR4.mce), (.pge, CR4.pge), (.fxsr, CR4.osfxsr), (.sse, CR4.osxmmexcpt), (.umip, CR4.umip),
        (.fsgsbase, CR4.fsgsbase), (.pcid, CR4.pcide), (.xsave, CR4.osxsave), (.smep, CR4.smep), (.smap, CR4.smap),
    ]

    /// CR4 bits that the processor's features bring.
    var cr4Bits: UInt64 {
        var bits: UInt64 = 0
        for (feature, mask) in Self.cr4Features where features.has(feature) { bits |= mask }
        return bits
    }

    func writeCR4(_ value: UInt64) -> Bool {
        let s = state
        let old = s.pointee.cr4
        guard value & ~cr4Bits == 0 else { return refuse() }
        if s.pointee.isLongMode, value & CR4.pae == 0 { return refuse() }
        if value & ~old & CR4.pcide != 0, !s.pointee.isLongMode || s.pointee.cr3 & 0xFFF != 0 { return refuse() }
        let paging = CR4.pae | CR4.pse | CR4.pge | CR4.smep | CR4.smap | CR4.pcide
        if s.pointee.isPaging, value & CR4.pae != 0, !s.pointee.isLongMode,
            (old ^ value) & (CR4.pae | CR4.pge | CR4.pse | CR4.smep) != 0
        {
            guard loadPDPTEs(s.pointee.cr3) else { return false }
        }
        s.pointee.cr4 = value
        if (old ^ value) & paging != 0 { flushTLB() }
        updateMode()
        return true
    }

    func writeCR8(_ value: UInt64) -> Bool {
        guard value <= 15 else { return refuse() }
        writeTaskPriority(UInt8(value) << 4)
        return true
    }

    func writeEFER(_ value: UInt64) -> Bool {
        let s = state
        var bits = EFER.lma
        if features.has(.syscall) { bits |= EFER.sce }
        if features.has(.longMode) { bits |= EFER.lme }
        if features.has(.noExecute) { bits |= EFER.nxe }
        guard value & ~bits == 0 else { return refuse() }
        let old = s.pointee.efer
        if s.pointee.isPaging, (old ^ value) & EFER.lme != 0 { return refuse() }
        s.pointee.efer = value & ~EFER.lma | old & EFER.lma
        if (old ^ value) & EFER.nxe != 0 { flushTLB() }
        updateMode()
        return true
    }

    /// XSETBV with ECX 0. x87 must stay on, AVX needs SSE.
    func writeXCR0(_ value: UInt64) -> Bool {
        let supported: UInt64 = features.has(.avx) ? 7 : 3
        guard value & 1 != 0, value & ~supported == 0, value & 6 != 4 else { return refuse() }
        state.pointee.xcr0 = value
        return true
    }

    /// The four page-directory pointers of PAE paging are read when CR3 is loaded, not at each walk (SDM vol. 3,
    /// 4.4.1).
    func loadPDPTEs(_ cr3: UInt64) -> Bool {
        let table = cr3 & 0xFFFF_FFE0
        var entries = InlineArray<4, UInt64>(repeating: 0)
        let reserved: UInt64 = 0x1E6 | ~((1 << UInt64(features.physicalAddressBits)) - 1)
        for i in 0..<4 {
            let entry = memory.read(table + UInt64(i) * 8, size: 8)
            if entry & 1 != 0, entry & reserved != 0 { return refuse() }
            entries[i] = entry
        }
        state.pointee.pdpte = entries
        return true
    }

    /// #GP(0), as a refusal.
    private func refuse() -> Bool {
        generalProtection()
        return false
    }
}
