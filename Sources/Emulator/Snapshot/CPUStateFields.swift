/// The processor's part of a saved state: everything that a guest can see or that decides what it sees next. What the engines keep
/// for their speed (TLBs, blocks, translated code, `CPUState.native`) is not in it.
extension CPU: BoardDevice {
    var stateID: String { index == 0 ? "cpu" : "cpu\(index)" }

    func exchange(_ c: StateCoder) {
        exchangeRegisters(c)
        exchangeEvents(c)
        exchangeSystem(c)
        c.group("fpu") { state.pointee.fpu.exchange(c) }
        c.field("instructionCount", &state.pointee.instructionCount)
    }

    private func exchangeRegisters(_ c: StateCoder) {
        for index in 0..<16 { c.field("gpr\(index)", &state.pointee.gpr[index]) }
        c.field("rip", &state.pointee.rip)
        // The arithmetic flags are kept lazily; a state has them as the guest would see them.
        c.field("flags", state.flags) { state.flags = $0 }
        for index in 0..<6 { c.group("segments\(index)") { state.pointee.segments[index].exchange(c) } }
        c.group("ldtr") { state.pointee.ldtr.exchange(c) }
        c.group("tr") { state.pointee.tr.exchange(c) }
        c.group("gdtr") { state.pointee.gdtr.exchange(c) }
        c.group("idtr") { state.pointee.idtr.exchange(c) }
    }

    private func exchangeEvents(_ c: StateCoder) {
        c.field("interruptShadow", &state.pointee.interruptShadow)
        c.group("fault") {
            c.field("vector", &state.pointee.fault.vector, in: 0...31)
            c.field("errorCode", &state.pointee.fault.errorCode)
            c.field("hasErrorCode", &state.pointee.fault.hasErrorCode)
            c.field("isPending", &state.pointee.fault.isPending)
        }
        c.field("halted", &state.pointee.halted)
        c.field("interruptRequest", &state.pointee.interruptRequest)
        c.field("nmiRequest", &state.pointee.nmiRequest)
        c.field("nmiBlocked", &state.pointee.nmiBlocked)
        c.field("pendingDebug", &state.pointee.pendingDebug)
        c.field("stepArmed", &state.pointee.stepArmed)
    }

    private func exchangeSystem(_ c: StateCoder) {
        c.field("cr0", &state.pointee.cr0)
        c.field("cr2", &state.pointee.cr2)
        c.field("cr3", &state.pointee.cr3)
        c.field("cr4", &state.pointee.cr4)
        for index in 0..<4 { c.field("pdpte\(index)", &state.pointee.pdpte[index]) }
        c.field("efer", &state.pointee.efer)
        for index in 0..<8 { c.field("debugRegisters\(index)", &state.pointee.debugRegisters[index]) }
        c.field("star", &state.pointee.star)
        c.field("lstar", &state.pointee.lstar)
        c.field("cstar", &state.pointee.cstar)
        c.field("syscallMask", &state.pointee.syscallMask)
        c.field("kernelGSBase", &state.pointee.kernelGSBase)
        c.field("sysenterCS", &state.pointee.sysenterCS)
        c.field("sysenterESP", &state.pointee.sysenterESP)
        c.field("sysenterEIP", &state.pointee.sysenterEIP)
        c.field("tscAux", &state.pointee.tscAux)
        c.field("tscOffset", &state.pointee.tscOffset)
        c.field("pat", &state.pointee.pat)
        c.field("xcr0", &state.pointee.xcr0)
        c.field("mtrrDefaultType", &state.pointee.mtrrDefaultType)
        for index in 0..<16 { c.field("mtrrVariable\(index)", &state.pointee.mtrrVariable[index]) }
        for index in 0..<11 { c.field("mtrrFixed\(index)", &state.pointee.mtrrFixed[index]) }
        c.field("miscEnable", &state.pointee.miscEnable)
    }

    func stateRestored() {
        updateMode()
        debugRegistersChanged()
        flushTLB()
        blocks.requestFlush()
        kick()
    }
}

extension Segment {
    mutating func exchange(_ c: StateCoder) {
        c.field("selector", &selector)
        c.field("attributes", &attributes)
        c.field("limit", &limit)
        c.field("base", &base)
    }
}

extension DescriptorTable {
    mutating func exchange(_ c: StateCoder) {
        c.field("base", &base)
        c.field("limit", &limit)
    }
}

extension XMMRegister {
    mutating func exchange(_ c: StateCoder) {
        c.field("low", &low)
        c.field("high", &high)
    }
}

extension FPUState {
    mutating func exchange(_ c: StateCoder) {
        for index in 0..<8 {
            c.field("registers\(index).significand", &registers[index].significand)
            c.field("registers\(index).signExponent", &registers[index].signExponent)
        }
        c.field("control", &control)
        c.field("status", &status)
        c.field("top", &top, in: 0...7)
        c.field("emptyMask", &emptyMask)
        c.field("lastOpcode", &lastOpcode)
        c.field("lastInstruction", &lastInstruction)
        c.field("lastInstructionSelector", &lastInstructionSelector)
        c.field("lastOperand", &lastOperand)
        c.field("lastOperandSelector", &lastOperandSelector)
        for index in 0..<16 { c.group("xmm\(index)") { xmm[index].exchange(c) } }
        for index in 0..<16 { c.group("ymmHigh\(index)") { ymmHigh[index].exchange(c) } }
        // Bits that do not exist would fault on the host.
        c.field("mxcsr", &mxcsr, in: 0...0xFFFF)
    }
}
