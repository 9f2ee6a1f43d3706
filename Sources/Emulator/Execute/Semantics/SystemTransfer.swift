/// Far JMP and CALL, direct and through call gates, task gates and TSSs (SDM vol. 2, CALL and JMP; vol. 3, 5.8 and
/// 7.3).
extension CPU {
    private func farTarget(_ op: Op) -> (selector: UInt16, offset: UInt64)? {
        if op.pointee.prefixes.contains(.memory) { return loadPointer(op) }
        let immediate = UInt64(bitPattern: op.pointee.immediate)
        return (UInt16(truncatingIfNeeded: immediate >> 32), immediate & 0xFFFF_FFFF)
    }

    func jumpFar(_ op: Op) -> Outcome {
        guard let (selector, offset) = farTarget(op) else { return .fault }
        if state.pointee.usesRealSegments { return jumpReal(selector, offset) }
        guard let descriptor = systemOrCode(selector) else { return .fault }
        guard descriptor.isCodeOrData else { return jumpSystem(selector, descriptor) }
        guard var code = directCode(descriptor, selector), finishCode(&code, selector, offset: offset) else {
            return .fault
        }
        enterCode(code, selector, privilege: state.pointee.cpl, offset: offset)
        return .leave
    }

    func callFar(_ op: Op) -> Outcome {
        guard let (selector, offset) = farTarget(op) else { return .fault }
        let size = 1 << Int(op.pointee.size)
        if state.pointee.usesRealSegments {
            var stack = currentStack()
            guard pushReturn(&stack, size: size) else { return .fault }
            let outcome = jumpReal(selector, offset)
            if outcome == .leave { commit(stack) }
            return outcome
        }
        guard let descriptor = systemOrCode(selector) else { return .fault }
        guard descriptor.isCodeOrData else { return callSystem(selector, descriptor) }
        guard var code = directCode(descriptor, selector) else { return .fault }
        guard code.isPresent else { return fault(Vector.np, selector: selector) }
        var stack = currentStack()
        guard pushReturn(&stack, size: size), finishCode(&code, selector, offset: offset) else { return .fault }
        commit(stack)
        enterCode(code, selector, privilege: state.pointee.cpl, offset: offset)
        return .leave
    }

    private func jumpReal(_ selector: UInt16, _ offset: UInt64) -> Outcome {
        guard offset <= UInt64(state.pointee.segments[SegmentIndex.cs].limit) else { return generalProtection() }
        loadRealCode(selector)
        state.pointee.rip = offset
        updateMode()
        return .leave
    }

    /// CS and the next instruction's offset, as a far call saves them.
    private func pushReturn(_ stack: inout StackCursor, size: Int) -> Bool {
        push(&stack, UInt64(state.pointee.segments[SegmentIndex.cs].selector), size: size)
            && push(&stack, state.pointee.rip, size: size)
    }

    private func systemOrCode(_ selector: UInt16) -> Descriptor? {
        guard !selector.isNullSelector else {
            generalProtection()
            return nil
        }
        return readDescriptor(selector)
    }

    /// Privilege of a direct transfer: it stays at CPL, so conforming code may be more privileged, other code must be
    /// as privileged.
    private func directCode(_ descriptor: Descriptor, _ selector: UInt16) -> Descriptor? {
        let cpl = state.pointee.cpl
        let isAllowed =
            descriptor.isConforming ? descriptor.dpl <= cpl : selector.rpl <= cpl && descriptor.dpl == cpl
        guard descriptor.isCode, isAllowed else {
            fault(Vector.gp, selector: selector)
            return nil
        }
        return checkedCodeSize(descriptor, selector)
    }

    // MARK: Gates and tasks

    /// A gate or TSS must not be more privileged than CPL and RPL.
    private func isReachable(_ descriptor: Descriptor, _ selector: UInt16) -> Bool {
        descriptor.dpl >= max(state.pointee.cpl, selector.rpl)
    }

    private func jumpSystem(_ selector: UInt16, _ descriptor: Descriptor) -> Outcome {
        guard isReachable(descriptor, selector) else { return fault(Vector.gp, selector: selector) }
        switch descriptor.type {
        case SystemType.callGate32:
            return enterGate(selector, descriptor, isCall: false)
        case SystemType.callGate16 where !state.pointee.isLongMode:
            return enterGate(selector, descriptor, isCall: false)
        case SystemType.taskGate, SystemType.tss16, SystemType.tss32: return transferTask(selector, descriptor, .jump)
        default: return fault(Vector.gp, selector: selector)
        }
    }

    private func callSystem(_ selector: UInt16, _ descriptor: Descriptor) -> Outcome {
        guard isReachable(descriptor, selector) else { return fault(Vector.gp, selector: selector) }
        switch descriptor.type {
        case SystemType.callGate32:
            return enterGate(selector, descriptor, isCall: true)
        case SystemType.callGate16 where !state.pointee.isLongMode:
            return enterGate(selector, descriptor, isCall: true)
        case SystemType.taskGate, SystemType.tss16, SystemType.tss32: return transferTask(selector, descriptor, .call)
        default: return fault(Vector.gp, selector: selector)
        }
    }

    private func transferTask(_ selector: UInt16, _ descriptor: Descriptor, _ cause: TaskSwitchCause) -> Outcome {
        guard !state.pointee.isLongMode else { return fault(Vector.gp, selector: selector) }
        guard descriptor.isPresent else { return fault(Vector.np, selector: selector) }
        let target = descriptor.type == SystemType.taskGate ? descriptor.gateSelector : selector
        return switchTask(target, cause) ? .leave : .fault
    }

    private func enterGate(_ selector: UInt16, _ short: Descriptor, isCall: Bool) -> Outcome {
        guard let gate = widened(short, selector) else { return .fault }
        guard gate.isPresent else { return fault(Vector.np, selector: selector) }
        let target = gate.gateSelector
        guard var code = codeDescriptor(target) else { return .fault }
        let cpl = state.pointee.cpl
        // A jump cannot change privilege: its target must be conforming or as privileged as CPL.
        let isAllowed = isCall || code.isConforming ? code.dpl <= cpl : code.dpl == cpl
        guard isAllowed, !state.pointee.isLongMode || code.isLong else { return fault(Vector.gp, selector: target) }
        let offset = gate.type == SystemType.callGate16 ? gate.gateOffset & 0xFFFF : gate.gateOffset
        guard code.isPresent else { return fault(Vector.np, selector: target) }
        guard isCall else {
            guard finishCode(&code, target, offset: offset) else { return .fault }
            enterCode(code, target, privilege: cpl, offset: offset)
            return .leave
        }
        let isInner = !code.isConforming && code.dpl < cpl
        let size = state.pointee.isLongMode ? 8 : gate.type == SystemType.callGate16 ? 2 : 4
        guard var stack = isInner ? gateStack(gate, privilege: code.dpl, size: size) : currentStack(),
            pushReturn(&stack, size: size), finishCode(&code, target, offset: offset)
        else { return .fault }
        if isInner { state.pointee.segments[SegmentIndex.ss] = stack.segment }
        commit(stack)
        enterCode(code, target, privilege: isInner ? code.dpl : cpl, offset: offset)
        return .leave
    }

    /// The inner stack with the caller's SS:SP and the gate's parameters on it.
    private func gateStack(_ gate: Descriptor, privilege: UInt8, size: Int) -> StackCursor? {
        let outer = currentStack()
        let inner: StackCursor?
        if state.pointee.isLongMode {
            inner = longStack(at: 4 + Int(privilege) * 8).map {
                StackCursor(
                    segment: Self.nullStack(privilege: privilege), pointer: $0, mask: ~0, isFlat: true, isSystem: true,
                    errorCode: 0)
            }
        } else {
            inner = innerStack(privilege: privilege)
        }
        guard var stack = inner,
            push(&stack, UInt64(outer.segment.selector), size: size),
            push(&stack, state.pointee.gpr[Register.rsp], size: size)
        else { return nil }
        if !state.pointee.isLongMode {
            for i in (0..<gate.gateParameters).reversed() {
                guard let word = peek(outer, at: i * size, size: size), push(&stack, word, size: size) else {
                    return nil
                }
            }
        }
        return stack
    }
}
