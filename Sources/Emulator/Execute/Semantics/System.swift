/// Dispatch of system instructions. Families stand in the other System files; `rip` is already the next instruction's
/// offset.
extension CPU {
    func executeSystem(_ op: Op) -> Outcome {
        // The decoder takes `sub` from this enum's own raw values.
        guard let code = SystemCode(rawValue: op.pointee.sub) else { return undefinedOpcode() }
        switch code {
        case .pushES: return pushSegment(op, SegmentIndex.es)
        case .pushCS: return pushSegment(op, SegmentIndex.cs)
        case .pushSS: return pushSegment(op, SegmentIndex.ss)
        case .pushDS: return pushSegment(op, SegmentIndex.ds)
        case .pushFS: return pushSegment(op, SegmentIndex.fs)
        case .pushGS: return pushSegment(op, SegmentIndex.gs)
        case .popES: return popSegment(op, SegmentIndex.es)
        case .popSS: return popSegment(op, SegmentIndex.ss)
        case .popDS: return popSegment(op, SegmentIndex.ds)
        case .popFS: return popSegment(op, SegmentIndex.fs)
        case .popGS: return popSegment(op, SegmentIndex.gs)
        case .movFromSegment: return moveFromSegment(op)
        case .movToSegment: return moveToSegment(op)
        case .les: return loadFarPointer(op, SegmentIndex.es)
        case .lds: return loadFarPointer(op, SegmentIndex.ds)
        case .lss: return loadFarPointer(op, SegmentIndex.ss)
        case .lfs: return loadFarPointer(op, SegmentIndex.fs)
        case .lgs: return loadFarPointer(op, SegmentIndex.gs)
        case .bound: return bound(op)
        case .arpl: return adjustRPL(op)

        case .callFar: return callFar(op)
        case .jmpFar: return jumpFar(op)
        case .retFar: return returnFar(op)
        case .iret: return interruptReturn(op)
        case .int3: return softwareInterrupt(Vector.bp)
        case .int: return interruptN(UInt8(truncatingIfNeeded: op.pointee.immediate))
        case .into: return state.of ? softwareInterrupt(Vector.of) : .next
        case .int1: return interruptOne()

        case .pushf: return pushFlags(op)
        case .popf: return popFlags(op)
        case .cli: return clearInterruptFlag()
        case .sti: return setInterruptFlag()
        case .clac: return changeAccessCheck(false)
        case .stac: return changeAccessCheck(true)

        case .inByteImmediate: return portIn(UInt16(truncatingIfNeeded: op.pointee.immediate), size: 1)
        case .inWideImmediate: return portIn(UInt16(truncatingIfNeeded: op.pointee.immediate), size: portSize(op))
        case .inByteDX: return portIn(portDX, size: 1)
        case .inWideDX: return portIn(portDX, size: portSize(op))
        case .outByteImmediate: return portOut(UInt16(truncatingIfNeeded: op.pointee.immediate), size: 1)
        case .outWideImmediate: return portOut(UInt16(truncatingIfNeeded: op.pointee.immediate), size: portSize(op))
        case .outByteDX: return portOut(portDX, size: 1)
        case .outWideDX: return portOut(portDX, size: portSize(op))

        case .hlt: return halt()
        case .monitor: return monitor(op)
        case .mwait: return monitorWait()
        case .rsm, .ud0, .ud1, .ud2: return undefinedOpcode()

        case .sldt: return storeSelector(op, state.pointee.ldtr.selector)
        case .str: return storeSelector(op, state.pointee.tr.selector)
        case .lldt: return loadTableRegister(op, task: false)
        case .ltr: return loadTableRegister(op, task: true)
        case .verr: return verify(op, write: false)
        case .verw: return verify(op, write: true)
        case .lar: return loadAccessRights(op)
        case .lsl: return loadSegmentLimit(op)
        case .sgdt: return storeTable(op, state.pointee.gdtr)
        case .sidt: return storeTable(op, state.pointee.idtr)
        case .lgdt: return loadTable(op, \.gdtr)
        case .lidt: return loadTable(op, \.idtr)
        case .smsw: return storeMachineStatus(op)
        case .lmsw: return loadMachineStatus(op)

        case .invlpg: return invalidatePage(op)
        case .invpcid: return invalidatePCID(op)
        case .invd, .wbinvd: return state.pointee.cpl == 0 ? .next : generalProtection()
        case .clts: return clearTaskSwitched()
        case .movFromControl: return moveFromControl(op)
        case .movToControl: return moveToControl(op)
        case .movFromDebug: return moveFromDebug(op)
        case .movToDebug: return moveToDebug(op)
        case .xgetbv: return getExtendedControl()
        case .xsetbv: return setExtendedControl()

        case .wrmsr: return writeMSRInstruction()
        case .rdmsr: return readMSRInstruction()
        case .rdtsc: return readTimeStamp(withAux: false)
        case .rdtscp: return readTimeStamp(withAux: true)
        case .rdpmc: return readPerformanceCounter()
        case .cpuid: return cpuidInstruction()
        case .rdrand, .rdseed: return randomNumber(op)
        case .rdpid:
            setOperandRegister(op.pointee.rm, state.pointee.tscAux, size: state.pointee.is64Bit ? 3 : 2)
            return .next

        case .syscall: return systemCall()
        case .sysret: return systemReturn(op)
        case .sysenter: return systemEnter()
        case .sysexit: return systemExit(op)
        case .swapgs: return swapGS()
        case .rdfsbase: return readSegmentBase(op, SegmentIndex.fs)
        case .rdgsbase: return readSegmentBase(op, SegmentIndex.gs)
        case .wrfsbase: return writeSegmentBase(op, SegmentIndex.fs)
        case .wrgsbase: return writeSegmentBase(op, SegmentIndex.gs)
        }
    }

    // MARK: Shared by the families

    /// The low 16 bits of a register or memory operand; nil: a fault is pending.
    func loadWord(_ op: Op) -> UInt16? {
        if op.pointee.prefixes.contains(.memory) { return state.load(op, as: UInt16.self) }
        return state.register(op.pointee.rm, as: UInt16.self)
    }

    /// Writes a 16-bit value to memory, or zero-extended to a register of the operand size.
    func storeWord(_ op: Op, _ value: UInt16) -> Bool {
        if op.pointee.prefixes.contains(.memory) { return state.store(op, value) }
        setOperandRegister(op.pointee.rm, UInt64(value), size: op.pointee.size)
        return true
    }

    /// Writes a register of 16, 32 or 64 bits (`size` 1, 2, 3).
    func setOperandRegister(_ register: UInt8, _ value: UInt64, size: UInt8) {
        switch size {
        case 1: state.setRegister(register, UInt16(truncatingIfNeeded: value))
        case 2: state.setRegister(register, UInt32(truncatingIfNeeded: value))
        default: state.setGPR64(register, value)
        }
    }

    /// Instructions for privilege 0; false: #GP(0) is pending.
    func requireSupervisor() -> Bool {
        if state.pointee.cpl == 0 { return true }
        generalProtection()
        return false
    }
}
