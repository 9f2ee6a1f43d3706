/// Control and debug registers, TLB invalidation, MSRs, time stamps, HLT (SDM vol. 2).
extension CPU {
    // MARK: Control and debug registers. Their operands have the width of the mode, whatever the prefixes.

    private func setModeRegister(_ register: UInt8, _ value: UInt64) {
        setOperandRegister(register, value, size: state.pointee.is64Bit ? 3 : 2)
    }

    private func modeRegister(_ register: UInt8) -> UInt64 {
        state.pointee.is64Bit ? state.gpr64(register) : state.gpr64(register) & 0xFFFF_FFFF
    }

    func moveFromControl(_ op: Op) -> Outcome {
        let s = state.pointee
        let value: UInt64
        switch op.pointee.reg {
        case 0: value = s.cr0
        case 2: value = s.cr2
        case 3: value = s.cr3
        case 4: value = s.cr4
        case 8 where s.is64Bit: value = UInt64(readTaskPriority() >> 4)
        default: return undefinedOpcode()
        }
        guard requireSupervisor() else { return .fault }
        setModeRegister(op.pointee.rm, value)
        return .next
    }

    func moveToControl(_ op: Op) -> Outcome {
        let number = op.pointee.reg
        guard number == 0 || number == 2 || number == 3 || number == 4 || number == 8 && state.pointee.is64Bit else {
            return undefinedOpcode()
        }
        guard requireSupervisor() else { return .fault }
        let value = modeRegister(op.pointee.rm)
        let written: Bool
        switch number {
        case 0: written = writeCR0(value)
        case 2:
            state.pointee.cr2 = value
            written = true
        case 3: written = writeCR3(value)
        case 4: written = writeCR4(value)
        default: written = writeCR8(value)
        }
        return written ? .leave : .fault
    }

    /// DR4 and DR5 are DR6 and DR7 unless CR4.DE is set. Nil: #UD or the #DB of general detect is pending.
    private func debugRegister(_ op: Op) -> Int? {
        var number = Int(op.pointee.reg)
        guard number < 8, number != 4 && number != 5 || state.pointee.cr4 & CR4.de == 0 else {
            undefinedOpcode()
            return nil
        }
        if number == 4 || number == 5 { number += 2 }
        guard requireSupervisor() else { return nil }
        if state.pointee.debugRegisters[7] & DR7.generalDetect != 0 {
            setDebugCauses(DR6.accessDetected)
            raise(Vector.db)
            return nil
        }
        return number
    }

    func moveFromDebug(_ op: Op) -> Outcome {
        guard let number = debugRegister(op) else { return .fault }
        setModeRegister(op.pointee.rm, state.pointee.debugRegisters[number])
        return .next
    }

    func moveToDebug(_ op: Op) -> Outcome {
        guard let number = debugRegister(op) else { return .fault }
        let value = modeRegister(op.pointee.rm)
        if number >= 6, value >> 32 != 0 { return generalProtection() }
        writeDebugRegister(number, value)
        return .leave
    }

    // MARK: Extended control register

    func getExtendedControl() -> Outcome {
        guard state.pointee.cr4 & CR4.osxsave != 0 else { return undefinedOpcode() }
        guard state.register(UInt8(Register.rcx), as: UInt32.self) == 0 else { return generalProtection() }
        setPair(state.pointee.xcr0)
        return .next
    }

    func setExtendedControl() -> Outcome {
        guard state.pointee.cr4 & CR4.osxsave != 0 else { return undefinedOpcode() }
        guard requireSupervisor() else { return .fault }
        guard state.register(UInt8(Register.rcx), as: UInt32.self) == 0 else { return generalProtection() }
        return writeXCR0(pair) ? .leave : .fault
    }

    // MARK: Translations

    func invalidatePage(_ op: Op) -> Outcome {
        guard requireSupervisor() else { return .fault }
        let offset = state.effectiveOffset(op)
        let segment = op.pointee.segment
        var linear = offset
        // Without limit checks; a non-canonical address does nothing (SDM vol. 2, INVLPG).
        if segment != SegmentIndex.flat { linear = state.pointee.segments[Int(segment & 7)].base &+ offset }
        if !state.pointee.is64Bit { linear &= 0xFFFF_FFFF }
        flushTLB(page: linear)
        return .leave
    }

    /// INVPCID: the TLB is not tagged, so that every type drops all or one page.
    func invalidatePCID(_ op: Op) -> Outcome {
        guard requireSupervisor(), let linear = state.linear(op, size: 16, write: false),
            let pcid = state.load(linear, as: UInt64.self), let address = state.load(linear &+ 8, as: UInt64.self)
        else { return .fault }
        let kind = state.pointee.is64Bit ? state.gpr64(op.pointee.reg) : state.gpr64(op.pointee.reg) & 0xFFFF_FFFF
        let usesPCID = state.pointee.cr4 & CR4.pcide != 0
        switch kind {
        case 0:
            guard pcid >> 12 == 0, usesPCID || pcid == 0, isCanonical(address) else { return generalProtection() }
            flushTLB(page: address)
        case 1:
            guard pcid >> 12 == 0, usesPCID || pcid == 0 else { return generalProtection() }
            flushTLB()
        case 2, 3: flushTLB()
        default: return generalProtection()
        }
        return .leave
    }

    // MARK: MSRs, counters, identification

    /// EDX:EAX.
    private var pair: UInt64 {
        UInt64(state.register(UInt8(Register.rdx), as: UInt32.self)) << 32
            | UInt64(state.register(UInt8(Register.rax), as: UInt32.self))
    }

    private func setPair(_ value: UInt64) {
        state.setRegister(UInt8(Register.rax), UInt32(truncatingIfNeeded: value))
        state.setRegister(UInt8(Register.rdx), UInt32(truncatingIfNeeded: value >> 32))
    }

    func readMSRInstruction() -> Outcome {
        guard requireSupervisor(), let value = readMSR(state.register(UInt8(Register.rcx), as: UInt32.self)) else {
            return .fault
        }
        setPair(value)
        return .next
    }

    func writeMSRInstruction() -> Outcome {
        guard requireSupervisor(), writeMSR(state.register(UInt8(Register.rcx), as: UInt32.self), pair) else {
            return .fault
        }
        return .leave
    }

    func readTimeStamp(withAux: Bool) -> Outcome {
        if state.pointee.cr4 & CR4.tsd != 0, state.pointee.cpl > 0 { return generalProtection() }
        setPair(timeStampCounter)
        if withAux { state.setRegister(UInt8(Register.rcx), UInt32(truncatingIfNeeded: state.pointee.tscAux)) }
        return .next
    }

    /// There are no performance counters to name.
    func readPerformanceCounter() -> Outcome { generalProtection() }

    func cpuidInstruction() -> Outcome {
        let result = cpuid(
            state.register(UInt8(Register.rax), as: UInt32.self), state.register(UInt8(Register.rcx), as: UInt32.self))
        state.setRegister(UInt8(Register.rax), result.eax)
        state.setRegister(UInt8(Register.rbx), result.ebx)
        state.setRegister(UInt8(Register.rcx), result.ecx)
        state.setRegister(UInt8(Register.rdx), result.edx)
        return .next
    }

    /// RDRAND and RDSEED: the host's random numbers, which never run out.
    func randomNumber(_ op: Op) -> Outcome {
        var generator = SystemRandomNumberGenerator()
        setOperandRegister(op.pointee.rm, generator.next(), size: op.pointee.size)
        state.setArithmeticFlags(RFLAGS.cf)
        return .next
    }

    // MARK: Waiting

    func halt() -> Outcome {
        guard requireSupervisor() else { return .fault }
        state.pointee.halted = true
        // A store to a line that an MWAIT before it waited for wakes nobody from HLT.
        monitored?.isAwaited = false
        // HLT is itself the instruction that a shadow of STI waits for.
        state.pointee.interruptShadow = .none
        return .leave
    }

    /// MONITOR reads a byte and remembers the line around it.
    func monitor(_ op: Op) -> Outcome {
        guard state.pointee.cpl == 0 else { return undefinedOpcode() }
        guard state.register(UInt8(Register.rcx), as: UInt32.self) == 0 else { return generalProtection() }
        let shift = UInt64(op.pointee.addressShift)
        let offset = (state.gpr64(UInt8(Register.rax)) << shift) >> shift
        guard let linear = segmentLinear(op.pointee.segment, offset, size: 1, write: false),
            state.load(linear, as: UInt8.self) != nil
        else { return .fault }
        let place = translate(linear, .read, user: false).flatMap { memory.plainRAM($0.physical) }
        monitored = place.map { MonitoredLine($0) }
        return .next
    }

    /// MWAIT sleeps as HLT does where an interrupt can wake it, and until the monitored line is stored to. It may end its wait for
    /// reasons of its own, so where none can it ends at once.
    func monitorWait() -> Outcome {
        guard state.pointee.cpl == 0 else { return undefinedOpcode() }
        guard state.register(UInt8(Register.rcx), as: UInt32.self) <= 1 else { return generalProtection() }
        let isTooLate = monitored?.hasChanged ?? false
        state.pointee.halted = state.pointee.flagsRest & RFLAGS.interrupt != 0 && !isTooLate
        monitored?.isAwaited = state.pointee.halted
        state.pointee.interruptShadow = .none
        return .leave
    }
}
