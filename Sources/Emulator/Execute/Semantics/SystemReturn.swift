/// Far RET and IRET (SDM vol. 2, RET and IRET; vol. 3, 5.8.6).
extension CPU {
    func returnFar(_ op: Op) -> Outcome {
        let size = 1 << Int(op.pointee.size)
        let released = UInt64(bitPattern: op.pointee.immediate) & 0xFFFF
        var stack = currentStack()
        guard let offset = pop(&stack, size: size), let word = pop(&stack, size: size) else { return .fault }
        let selector = UInt16(truncatingIfNeeded: word)
        if state.pointee.usesRealSegments {
            guard offset <= UInt64(state.pointee.segments[SegmentIndex.cs].limit) else { return generalProtection() }
            loadRealCode(selector)
            state.pointee.rip = offset
        } else {
            guard var code = returnCode(selector), finishCode(&code, selector, offset: offset) else { return .fault }
            if selector.rpl > state.pointee.cpl {
                stack.pointer = (stack.pointer &+ released) & stack.mask
                guard let outer = popOuterStack(&stack, selector, code, size: size) else { return .fault }
                leaveToOuter(code, selector, outer, offset: offset, released: released)
                return .leave
            }
            state.pointee.segments[SegmentIndex.cs] = code.segment(selector)
            state.pointee.rip = offset
        }
        stack.pointer = (stack.pointer &+ released) & stack.mask
        commit(stack)
        updateMode()
        return .leave
    }

    /// The code segment that a return goes to. Nil: fault pending.
    private func returnCode(_ selector: UInt16) -> Descriptor? {
        guard let code = codeDescriptor(selector) else { return nil }
        let isAllowed = code.isConforming ? code.dpl <= selector.rpl : code.dpl == selector.rpl
        guard selector.rpl >= state.pointee.cpl, isAllowed else {
            fault(Vector.gp, selector: selector)
            return nil
        }
        return code
    }

    /// SS:SP that a return to less privileged code (or any IRET of 64-bit mode) pops, checked.
    private func popOuterStack(
        _ stack: inout StackCursor, _ codeSelector: UInt16, _ code: Descriptor, size: Int
    ) -> StackCursor? {
        guard let pointer = pop(&stack, size: size), let word = pop(&stack, size: size) else { return nil }
        let selector = UInt16(truncatingIfNeeded: word)
        let returnsTo64 = state.pointee.isLongMode && code.isLong
        let privilege = codeSelector.rpl
        let segment: Segment
        if selector.isNullSelector, returnsTo64, privilege != 3, selector.rpl == privilege {
            segment = Self.nullStack(privilege: privilege)
        } else {
            guard let checked = checkedStack(selector, privilege: privilege, orRaise: Vector.gp) else { return nil }
            segment = checked
        }
        return StackCursor(
            segment: segment, pointer: pointer, mask: Self.stackMask(segment, is64Bit: returnsTo64),
            isFlat: returnsTo64,
            isSystem: false, errorCode: 0)
    }

    private func leaveToOuter(
        _ code: Descriptor, _ selector: UInt16, _ outer: StackCursor, offset: UInt64, released: UInt64
    ) {
        let wasOuter = selector.rpl > state.pointee.cpl
        state.pointee.segments[SegmentIndex.cs] = code.segment(selector)
        state.pointee.segments[SegmentIndex.ss] = outer.segment
        var stack = outer
        stack.pointer = (stack.pointer &+ released) & stack.mask
        commit(stack)
        state.pointee.rip = offset
        updateMode()
        if wasOuter {
            dropPrivilegedSegments()
            updateMode()
        }
    }

    // MARK: IRET

    func interruptReturn(_ op: Op) -> Outcome {
        let s = state
        let size = 1 << Int(op.pointee.size)
        let outcome: Outcome
        if !s.pointee.isProtected {
            outcome = returnReal(size: size, keep: 0)
        } else if s.pointee.isVirtual8086 {
            outcome = returnVirtual(size: size)
        } else if s.pointee.flagsRest & RFLAGS.nt != 0 {
            outcome = s.pointee.isLongMode ? generalProtection() : returnTask()
        } else {
            outcome = returnProtected(size: size)
        }
        if outcome == .leave { s.pointee.nmiBlocked = false }
        return outcome
    }

    private func returnTask() -> Outcome {
        guard let link = loadSystem(state.pointee.tr.base, size: 2) else { return .fault }
        return switchTask(UInt16(link), .interruptReturn) ? .leave : .fault
    }

    /// Real mode, and virtual-8086 mode with IOPL 3. `keep`: flags that stay.
    private func returnReal(size: Int, keep: UInt32) -> Outcome {
        let s = state
        var stack = currentStack()
        guard let offset = pop(&stack, size: size), let selector = pop(&stack, size: size),
            let image = pop(&stack, size: size)
        else { return .fault }
        guard offset <= UInt64(s.pointee.segments[SegmentIndex.cs].limit) else { return generalProtection() }
        let kept = keep | RFLAGS.vm | RFLAGS.vif | RFLAGS.vip | (size == 2 ? 0xFFFF_0000 : 0)
        s.flags = UInt32(truncatingIfNeeded: image) & ~kept | s.flags & kept & ~RFLAGS.rf
        commit(stack)
        loadRealCode(UInt16(truncatingIfNeeded: selector))
        s.pointee.rip = offset
        updateMode()
        return .leave
    }

    private func returnVirtual(size: Int) -> Outcome {
        let s = state
        if s.pointee.iopl == 3 { return returnReal(size: size, keep: RFLAGS.iopl) }
        guard s.pointee.cr4 & CR4.vme != 0, size == 2 else { return generalProtection() }
        // VME: IF of the image becomes VIF (SDM vol. 2, IRET).
        var stack = currentStack()
        guard let offset = pop(&stack, size: 2), let selector = pop(&stack, size: 2), let word = pop(&stack, size: 2)
        else { return .fault }
        let image = UInt32(word)
        let wantsInterrupts = image & RFLAGS.interrupt != 0
        if image & RFLAGS.tf != 0 || wantsInterrupts && s.pointee.flagsRest & RFLAGS.vip != 0 {
            return generalProtection()
        }
        let kept: UInt32 = 0xFFFF_0000 | RFLAGS.iopl | RFLAGS.interrupt
        let flags = image & ~kept | s.flags & kept & ~(RFLAGS.rf | RFLAGS.vif)
        s.flags = flags | (wantsInterrupts ? RFLAGS.vif : 0)
        commit(stack)
        loadRealCode(UInt16(selector))
        s.pointee.rip = offset
        updateMode()
        return .leave
    }

    private func returnProtected(size: Int) -> Outcome {
        let s = state
        let is64 = s.pointee.is64Bit
        var stack = currentStack()
        guard let offset = pop(&stack, size: size), let word = pop(&stack, size: size),
            let image = pop(&stack, size: size)
        else { return .fault }
        let selector = UInt16(truncatingIfNeeded: word)
        let flags = UInt32(truncatingIfNeeded: image)
        let cpl = s.pointee.cpl
        if size == 4, flags & RFLAGS.vm != 0, cpl == 0, !s.pointee.isLongMode {
            return returnToVirtual(&stack, selector, offset, flags)
        }
        guard var code = returnCode(selector), finishCode(&code, selector, offset: offset) else { return .fault }
        if is64 || selector.rpl > cpl {
            guard let outer = popOuterStack(&stack, selector, code, size: size) else { return .fault }
            loadReturnFlags(flags, size: size, cpl: cpl)
            leaveToOuter(code, selector, outer, offset: offset, released: 0)
        } else {
            loadReturnFlags(flags, size: size, cpl: cpl)
            commit(stack)
            enterCode(code, selector, privilege: selector.rpl, offset: offset)
        }
        return .leave
    }

    /// Flags that IRET may change depend on the privilege it ran at.
    private func loadReturnFlags(_ image: UInt32, size: Int, cpl: UInt8) {
        let s = state
        var mask = RFLAGS.arithmetic | RFLAGS.tf | RFLAGS.df | RFLAGS.nt
        if size > 2 { mask |= RFLAGS.rf | RFLAGS.ac | RFLAGS.id }
        if cpl <= s.pointee.iopl { mask |= RFLAGS.interrupt }
        if cpl == 0 {
            mask |= RFLAGS.iopl
            if size > 2 { mask |= RFLAGS.vif | RFLAGS.vip }
        }
        s.flags = image & mask | s.flags & ~(mask | RFLAGS.rf)
    }

    private func returnToVirtual(
        _ stack: inout StackCursor, _ selector: UInt16, _ offset: UInt64, _ flags: UInt32
    ) -> Outcome {
        let s = state
        var words = InlineArray<6, UInt64>(repeating: 0)
        // ESP, SS, ES, DS, FS, GS.
        for i in 0..<6 {
            guard let word = pop(&stack, size: 4) else { return .fault }
            words[i] = word
        }
        guard offset <= 0xFFFF else { return generalProtection() }
        s.flags = flags
        let order = [SegmentIndex.ss, SegmentIndex.es, SegmentIndex.ds, SegmentIndex.fs, SegmentIndex.gs]
        for (i, index) in order.enumerated() { loadRealSegment(index, UInt16(truncatingIfNeeded: words[i + 1])) }
        loadRealSegment(SegmentIndex.cs, selector)
        s.pointee.gpr[Register.rsp] = words[0]
        s.pointee.rip = offset & 0xFFFF
        updateMode()
        return .leave
    }
}
