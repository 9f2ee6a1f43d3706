/// State after power-on and RESET (SDM vol. 3, table 9-1).
extension CPU {
    func reset() {
        let owner = state.pointee.owner
        let executed = state.pointee.instructionCount
        let native = state.pointee.native
        state.pointee = CPUState(readTLB: tlb.reads(user: false), writeTLB: tlb.writes(user: false))
        state.pointee.owner = owner
        state.pointee.instructionCount = executed
        state.pointee.native = native
        state.flags = RFLAGS.fixed1
        state.pointee.gpr[Register.rdx] = UInt64(features.signature)
        let data = Segment(selector: 0, attributes: Self.realAttributes, limit: 0xFFFF, base: 0)
        for index in 0..<6 { state.pointee.segments[index] = data }
        // Readable code, so that nothing changes for code that goes to protected mode without a far jump at once.
        // Real mode
        // lets it be written.
        state.pointee.segments[SegmentIndex.cs] = Segment(
            selector: 0xF000, attributes: 0x9B, limit: 0xFFFF, base: 0xFFFF_0000)
        state.pointee.rip = 0xFFF0
        state.pointee.gdtr.limit = 0xFFFF
        state.pointee.idtr.limit = 0xFFFF
        state.pointee.ldtr = Segment(selector: 0, attributes: 0x82, limit: 0xFFFF, base: 0)
        state.pointee.tr = Segment(selector: 0, attributes: 0x8B, limit: 0xFFFF, base: 0)
        state.pointee.debugRegisters[6] = 0xFFFF_0FF0
        state.pointee.debugRegisters[7] = 0x400
        // TSC restarts at 0 with the machine.
        state.pointee.tscOffset = 0 &- tscNow()
        loggedMSRs.removeAll()
        monitored = nil
        updateMode()
        flushTLB()
    }

    /// Starts a kernel without firmware: the state that its boot protocol asks for (see `BootEntry`).
    func start(at entry: BootEntry) {
        reset()
        let s = state
        s.pointee.gdtr = DescriptorTable(base: UInt64(entry.gdtBase), limit: entry.gdtLimit)
        s.pointee.cr0 = UInt64(entry.cr0)
        let data = Segment(selector: entry.dataSelector, attributes: 0xC093, limit: 0xFFFF_FFFF, base: 0)
        for index in 0..<6 { s.pointee.segments[index] = data }
        s.pointee.segments[SegmentIndex.cs] = Segment(
            selector: entry.codeSelector, attributes: 0xC09B, limit: 0xFFFF_FFFF, base: 0)
        s.pointee.gpr[Register.rdx] = 0
        s.pointee.gpr[Register.rsi] = UInt64(entry.parameters)
        s.pointee.gpr[Register.rax] = UInt64(entry.eax)
        s.pointee.gpr[Register.rbx] = UInt64(entry.ebx)
        s.pointee.gpr[Register.rsp] = UInt64(entry.stackPointer)
        s.pointee.rip = UInt64(entry.instructionPointer)
        updateMode()
    }

    /// Startup IPI: a processor that waits for it begins in real mode at the page that the vector names (SDM vol. 3, 8.4.3).
    func startUp(vector: UInt8) {
        state.pointee.segments[SegmentIndex.cs].selector = UInt16(vector) << 8
        state.pointee.segments[SegmentIndex.cs].base = UInt64(vector) << 12
        state.pointee.rip = 0
        updateMode()
    }

    /// INIT: as reset, but the FPU, the caches' mode bits and the MSRs survive. The boards' keyboard controller and
    /// port 92h
    /// pulse RESET, so that only local APIC INIT messages come here.
    func initialize() {
        let old = state.pointee
        reset()
        state.pointee.fpu = old.fpu
        state.pointee.cr0 = 0x10 | old.cr0 & (CR0.cd | CR0.nw)
        state.pointee.star = old.star
        state.pointee.lstar = old.lstar
        state.pointee.cstar = old.cstar
        state.pointee.syscallMask = old.syscallMask
        state.pointee.kernelGSBase = old.kernelGSBase
        state.pointee.sysenterCS = old.sysenterCS
        state.pointee.sysenterESP = old.sysenterESP
        state.pointee.sysenterEIP = old.sysenterEIP
        state.pointee.tscAux = old.tscAux
        state.pointee.tscOffset = old.tscOffset
        state.pointee.pat = old.pat
        state.pointee.mtrrDefaultType = old.mtrrDefaultType
        state.pointee.mtrrVariable = old.mtrrVariable
        state.pointee.mtrrFixed = old.mtrrFixed
        state.pointee.miscEnable = old.miscEnable
        updateMode()
    }
}
