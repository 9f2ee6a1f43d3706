/// Descriptor-table and task registers, machine status word (SDM vol. 2, LGDT, LLDT, LTR, SLDT, LMSW and their like).
extension CPU {
    /// UMIP keeps the locations of system tables from user code.
    private var isHiddenFromUser: Bool { state.pointee.cr4 & CR4.umip != 0 && state.pointee.cpl > 0 }

    /// SLDT and STR.
    func storeSelector(_ op: Op, _ selector: UInt16) -> Outcome {
        guard !state.pointee.usesRealSegments else { return undefinedOpcode() }
        guard !isHiddenFromUser else { return generalProtection() }
        return storeWord(op, selector) ? .next : .fault
    }

    /// LLDT and LTR.
    func loadTableRegister(_ op: Op, task: Bool) -> Outcome {
        guard !state.pointee.usesRealSegments else { return undefinedOpcode() }
        guard requireSupervisor(), let selector = loadWord(op) else { return .fault }
        return (task ? loadTaskRegister(selector) : loadLDTR(selector)) ? .next : .fault
    }

    /// SGDT and SIDT: limit, then a base of 4 bytes, 8 in 64-bit mode.
    func storeTable(_ op: Op, _ table: DescriptorTable) -> Outcome {
        guard !isHiddenFromUser else { return generalProtection() }
        let baseSize = state.pointee.is64Bit ? 8 : 4
        guard let linear = state.linear(op, size: UInt64(2 + baseSize), write: true),
            storeSized(linear, UInt64(table.limit), size: 2), storeSized(linear &+ 2, table.base, size: baseSize)
        else { return .fault }
        return .next
    }

    /// LGDT and LIDT. A 16-bit operand size loads 24 bits of base.
    func loadTable(_ op: Op, _ register: WritableKeyPath<CPUState, DescriptorTable>) -> Outcome {
        guard requireSupervisor() else { return .fault }
        let is64 = state.pointee.is64Bit
        let baseSize = is64 ? 8 : 4
        guard let linear = state.linear(op, size: UInt64(2 + baseSize), write: false),
            let limit = loadSized(linear, size: 2), var base = loadSized(linear &+ 2, size: baseSize)
        else { return .fault }
        if is64 {
            guard isCanonical(base) else { return generalProtection() }
        } else if op.pointee.size == 1 {
            base &= 0xFF_FFFF
        }
        state.pointee[keyPath: register] = DescriptorTable(base: base, limit: UInt16(limit))
        return .next
    }

    func storeMachineStatus(_ op: Op) -> Outcome {
        guard !isHiddenFromUser else { return generalProtection() }
        if op.pointee.prefixes.contains(.memory) {
            return state.store(op, UInt16(truncatingIfNeeded: state.pointee.cr0)) ? .next : .fault
        }
        setOperandRegister(op.pointee.rm, state.pointee.cr0, size: op.pointee.size)
        return .next
    }

    /// LMSW changes PE, MP, EM and TS, and cannot clear PE.
    func loadMachineStatus(_ op: Op) -> Outcome {
        guard requireSupervisor(), let word = loadWord(op) else { return .fault }
        let old = state.pointee.cr0
        let value = old & ~(CR0.mp | CR0.em | CR0.ts) | UInt64(word) & 0xF
        return writeCR0(value) ? .leave : .fault
    }

    func clearTaskSwitched() -> Outcome {
        guard requireSupervisor() else { return .fault }
        state.pointee.cr0 &= ~CR0.ts
        state.pointee.fpuTrapped = state.pointee.cr0 & CR0.em != 0
        return .next
    }
}
