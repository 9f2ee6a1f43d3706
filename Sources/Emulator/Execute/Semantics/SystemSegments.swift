/// Instructions that move segment registers and look at descriptors: PUSH, POP, MOV, LDS and its like, ARPL, BOUND,
/// LAR, LSL, VERR,
/// VERW (SDM vol. 2).
extension CPU {
    /// Segments other than SS leave the block only when flat addressing comes or goes with them.
    private func loaded(_ index: Int, _ selector: UInt16) -> Outcome {
        let key = state.pointee.modeKey
        guard loadSegment(index, selector) else { return .fault }
        return key == state.pointee.modeKey ? .next : .leave
    }

    /// MOV SS and POP SS.
    private func shadowed(_ outcome: Outcome) -> Outcome {
        guard outcome != .fault else { return .fault }
        state.pointee.interruptShadow = .stackSegment
        return .leave
    }

    func pushSegment(_ op: Op, _ index: Int) -> Outcome {
        let size = 1 << Int(op.pointee.size)
        return push(UInt64(state.pointee.segments[index].selector), size: size) ? .next : .fault
    }

    func popSegment(_ op: Op, _ index: Int) -> Outcome {
        var stack = currentStack()
        guard let value = pop(&stack, size: 1 << Int(op.pointee.size)) else { return .fault }
        let outcome = loaded(index, UInt16(truncatingIfNeeded: value))
        guard outcome != .fault else { return .fault }
        commit(stack)
        return index == SegmentIndex.ss ? shadowed(outcome) : outcome
    }

    func moveFromSegment(_ op: Op) -> Outcome {
        guard op.pointee.reg < 6 else { return undefinedOpcode() }
        return storeWord(op, state.pointee.segments[Int(op.pointee.reg)].selector) ? .next : .fault
    }

    func moveToSegment(_ op: Op) -> Outcome {
        let index = Int(op.pointee.reg)
        guard index < 6, index != SegmentIndex.cs else { return undefinedOpcode() }
        guard let selector = loadWord(op) else { return .fault }
        let outcome = loaded(index, selector)
        return index == SegmentIndex.ss ? shadowed(outcome) : outcome
    }

    /// LES, LDS, LSS, LFS, LGS: offset of the operand size, then the selector.
    func loadFarPointer(_ op: Op, _ index: Int) -> Outcome {
        guard let (selector, offset) = loadPointer(op) else { return .fault }
        let outcome = loaded(index, selector)
        guard outcome != .fault else { return .fault }
        setOperandRegister(op.pointee.reg, offset, size: op.pointee.size)
        return outcome
    }

    /// A far pointer in memory: m16:16, m16:32 or m16:64.
    func loadPointer(_ op: Op) -> (selector: UInt16, offset: UInt64)? {
        let size = 1 << Int(op.pointee.size)
        guard let linear = state.linear(op, size: UInt64(size + 2), write: false),
            let offset = loadSized(linear, size: size), let selector = loadSized(linear &+ UInt64(size), size: 2)
        else { return nil }
        return (UInt16(selector), offset)
    }

    func bound(_ op: Op) -> Outcome {
        let size = 1 << Int(op.pointee.size)
        guard let linear = state.linear(op, size: UInt64(2 * size), write: false),
            let low = loadSized(linear, size: size), let high = loadSized(linear &+ UInt64(size), size: size)
        else { return .fault }
        let shift = Int64(64 - 8 * size)
        func signed(_ value: UInt64) -> Int64 { Int64(bitPattern: value << UInt64(shift)) >> shift }
        let index = signed(state.gpr64(op.pointee.reg))
        return index < signed(low) || index > signed(high) ? raise(Vector.br) : .next
    }

    func adjustRPL(_ op: Op) -> Outcome {
        guard !state.pointee.usesRealSegments else { return undefinedOpcode() }
        let wanted = state.register(op.pointee.reg, as: UInt16.self) & 3
        guard let selector = loadWord(op) else { return .fault }
        let raised = selector & 3 < wanted
        if raised {
            // The destination is written only when it changes, so that read-only memory is no fault otherwise.
            let adjusted = selector & ~3 | wanted
            if op.pointee.prefixes.contains(.memory) {
                guard state.store(op, adjusted) else { return .fault }
            } else {
                state.setRegister(op.pointee.rm, adjusted)
            }
        }
        setZeroFlag(raised)
        return .next
    }

    /// Only ZF changes.
    private func setZeroFlag(_ value: Bool) {
        let flags = state.arithmeticFlags
        state.setArithmeticFlags(value ? flags | RFLAGS.zf : flags & ~RFLAGS.zf)
    }

    // MARK: Looking at descriptors

    /// What LAR, LSL, VERR and VERW may see: `.some(nil)` where the selector cannot be used, nil when a page fault is
    /// pending.
    private func visibleDescriptor(_ selector: UInt16) -> Descriptor?? {
        if selector.isNullSelector { return .some(nil) }
        guard let descriptor = readDescriptor(selector) else {
            guard state.pointee.fault.vector == Vector.gp else { return nil }
            state.pointee.fault.isPending = false
            return .some(nil)
        }
        let isOpen = descriptor.isCodeOrData && descriptor.isConforming
        if !isOpen, max(state.pointee.cpl, selector.rpl) > descriptor.dpl { return .some(nil) }
        return descriptor
    }

    func loadAccessRights(_ op: Op) -> Outcome {
        guard !state.pointee.usesRealSegments else { return undefinedOpcode() }
        guard let selector = loadWord(op), let found = visibleDescriptor(selector) else { return .fault }
        let isLong = state.pointee.isLongMode
        guard let descriptor = found, descriptor.isCodeOrData || Self.hasAccessRights(descriptor.type, isLong) else {
            setZeroFlag(false)
            return .next
        }
        setOperandRegister(op.pointee.reg, descriptor.low >> 32 & 0x00FF_FF00, size: op.pointee.size)
        setZeroFlag(true)
        return .next
    }

    /// System types that LAR accepts.
    private static func hasAccessRights(_ type: UInt8, _ isLong: Bool) -> Bool {
        switch type {
        case SystemType.ldt, SystemType.tss32, SystemType.busyTSS32, SystemType.callGate32: true
        case SystemType.tss16, SystemType.busyTSS16, SystemType.callGate16, SystemType.taskGate: !isLong
        default: false
        }
    }

    func loadSegmentLimit(_ op: Op) -> Outcome {
        guard !state.pointee.usesRealSegments else { return undefinedOpcode() }
        guard let selector = loadWord(op), let found = visibleDescriptor(selector) else { return .fault }
        let isLong = state.pointee.isLongMode
        guard let descriptor = found, descriptor.isCodeOrData || Self.hasLimit(descriptor.type, isLong) else {
            setZeroFlag(false)
            return .next
        }
        setOperandRegister(op.pointee.reg, UInt64(descriptor.limit), size: op.pointee.size)
        setZeroFlag(true)
        return .next
    }

    /// System types that LSL accepts.
    private static func hasLimit(_ type: UInt8, _ isLong: Bool) -> Bool {
        switch type {
        case SystemType.ldt, SystemType.tss32, SystemType.busyTSS32: true
        case SystemType.tss16, SystemType.busyTSS16: !isLong
        default: false
        }
    }

    func verify(_ op: Op, write: Bool) -> Outcome {
        guard !state.pointee.usesRealSegments else { return undefinedOpcode() }
        guard let selector = loadWord(op), let found = visibleDescriptor(selector) else { return .fault }
        if let descriptor = found {
            setZeroFlag(write ? descriptor.isWritableData : descriptor.isReadable)
        } else {
            setZeroFlag(false)
        }
        return .next
    }
}
