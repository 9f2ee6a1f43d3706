/// Delivery of one interrupt or exception through the IVT or IDT (SDM vol. 3, 6.12 and 6.14; real mode: 20.1.4).
///
/// Nothing but memory below the stack pointer changes before everything is known to work, so that a fault on the way
/// leaves the state of the interrupted code.
extension CPU {
    /// Delivers `vector`; the saved instruction pointer is `rip`. False: a fault on the way is pending.
    ///
    /// - Parameter errorCode: pushed in protected and long mode.
    func deliver(vector: UInt8, kind: EventKind, errorCode: UInt32?) -> Bool {
        let s = state
        s.pointee.stepArmed = false
        tracer?.line(.int, eventLine(vector: vector, kind: kind, errorCode: errorCode))
        let delivered: Bool
        if !s.pointee.isProtected {
            delivered = deliverReal(vector: vector, tableBase: s.pointee.idtr.base, limit: UInt32(s.pointee.idtr.limit))
        } else if s.pointee.isLongMode {
            delivered = deliverLong(vector: vector, kind: kind, errorCode: errorCode)
        } else {
            delivered = deliverProtected(vector: vector, kind: kind, errorCode: errorCode)
        }
        if !delivered, kind != .software { markExternal() }
        return delivered
    }

    /// EXT: the event did not come from an instruction that asked for it (SDM vol. 3, 6.13).
    private func markExternal() {
        switch state.pointee.fault.vector {
        case Vector.ts, Vector.np, Vector.ss, Vector.gp: state.pointee.fault.errorCode |= 1
        default: break
        }
    }

    /// #GP or #NP that names an IDT entry.
    private func gateFault(_ faultVector: UInt8, _ vector: UInt8) -> Bool {
        raise(faultVector, errorCode: UInt32(vector) * 8 + 2)
        return false
    }

    /// Flags as the frame holds them.
    private func savedFlags(_ vector: UInt8, _ kind: EventKind) -> UInt32 {
        var flags = state.flags
        if kind == .exception, Self.isFaultClass(vector) { flags |= RFLAGS.rf }
        return flags
    }

    // MARK: Real mode

    /// Real-mode delivery, and redirected INT n of virtual-8086 mode with its table at 0.
    func deliverReal(vector: UInt8, tableBase: UInt64, limit: UInt32) -> Bool {
        let s = state
        guard UInt32(vector) * 4 + 3 <= limit else { return gateFault(Vector.gp, vector) }
        guard let entry = loadSystem(tableBase &+ UInt64(vector) * 4, size: 4) else { return false }
        var stack = currentStack()
        guard push(&stack, UInt64(s.flags & 0xFFFF), size: 2),
            push(&stack, UInt64(s.pointee.segments[SegmentIndex.cs].selector), size: 2),
            push(&stack, s.pointee.rip & 0xFFFF, size: 2)
        else { return false }
        commit(stack)
        s.pointee.flagsRest &= ~(RFLAGS.interrupt | RFLAGS.tf | RFLAGS.rf | RFLAGS.ac)
        loadRealCode(UInt16(entry >> 16))
        s.pointee.rip = entry & 0xFFFF
        updateMode()
        return true
    }

    // MARK: Protected mode

    private func deliverProtected(vector: UInt8, kind: EventKind, errorCode: UInt32?) -> Bool {
        let s = state
        guard UInt32(vector) * 8 + 7 <= UInt32(s.pointee.idtr.limit) else { return gateFault(Vector.gp, vector) }
        guard let raw = loadSystem(s.pointee.idtr.base &+ UInt64(vector) * 8, size: 8) else { return false }
        let gate = Descriptor(low: raw)
        let isGate: Bool
        switch gate.type {
        case SystemType.taskGate, SystemType.interruptGate16, SystemType.trapGate16, SystemType.interruptGate32,
            SystemType.trapGate32:
            isGate = !gate.isCodeOrData
        default: isGate = false
        }
        guard isGate, kind != .software || gate.dpl >= s.pointee.cpl else { return gateFault(Vector.gp, vector) }
        guard gate.isPresent else { return gateFault(Vector.np, vector) }
        if gate.type == SystemType.taskGate {
            return switchTask(throughGate: gate.gateSelector, errorCode: errorCode)
        }
        guard let code = handlerCode(gate.gateSelector) else { return false }
        let wide = gate.type >= SystemType.interruptGate32
        let flags = savedFlags(vector, kind)
        if !code.isConforming, code.dpl < s.pointee.cpl {
            return enterInner(gate, code, flags: flags, errorCode: errorCode, wide: wide)
        }
        // Virtual-8086 code (CPL 3) can only be interrupted by a handler of privilege 0.
        guard !s.pointee.isVirtual8086, code.isConforming || code.dpl == s.pointee.cpl else {
            fault(Vector.gp, selector: gate.gateSelector)
            return false
        }
        let size = wide ? 4 : 2
        var stack = currentStack()
        guard push(&stack, UInt64(flags), size: size),
            push(&stack, UInt64(s.pointee.segments[SegmentIndex.cs].selector), size: size),
            push(&stack, s.pointee.rip, size: size),
            pushErrorCode(&stack, errorCode, size: size),
            checkOffset(gate.handlerOffset, in: code)
        else { return false }
        commit(stack)
        enterHandler(gate, code, privilege: s.pointee.cpl)
        return true
    }

    /// The code segment that a gate leads to, checked and marked accessed.
    private func handlerCode(_ selector: UInt16) -> Descriptor? {
        guard !selector.isNullSelector else {
            generalProtection()
            return nil
        }
        guard var code = readDescriptor(selector) else { return nil }
        guard code.isCode, code.dpl <= state.pointee.cpl else {
            fault(Vector.gp, selector: selector)
            return nil
        }
        guard code.isPresent else {
            fault(Vector.np, selector: selector)
            return nil
        }
        guard markAccessed(&code) else { return nil }
        return code
    }

    private func pushErrorCode(_ stack: inout StackCursor, _ errorCode: UInt32?, size: Int) -> Bool {
        guard let errorCode else { return true }
        return push(&stack, UInt64(errorCode), size: size)
    }

    private func enterInner(
        _ gate: Descriptor, _ code: Descriptor, flags: UInt32, errorCode: UInt32?, wide: Bool
    ) -> Bool {
        let s = state
        let fromVirtual = s.pointee.isVirtual8086
        guard !fromVirtual || code.dpl == 0 else {
            fault(Vector.gp, selector: gate.gateSelector)
            return false
        }
        guard var stack = innerStack(privilege: code.dpl) else { return false }
        let size = wide ? 4 : 2
        if fromVirtual {
            for index in [SegmentIndex.gs, SegmentIndex.fs, SegmentIndex.ds, SegmentIndex.es] {
                guard push(&stack, UInt64(s.pointee.segments[index].selector), size: size) else { return false }
            }
        }
        guard push(&stack, UInt64(s.pointee.segments[SegmentIndex.ss].selector), size: size),
            push(&stack, s.pointee.gpr[Register.rsp], size: size),
            push(&stack, UInt64(flags), size: size),
            push(&stack, UInt64(s.pointee.segments[SegmentIndex.cs].selector), size: size),
            push(&stack, s.pointee.rip, size: size),
            pushErrorCode(&stack, errorCode, size: size),
            checkOffset(gate.handlerOffset, in: code)
        else { return false }
        if fromVirtual {
            for index in [SegmentIndex.gs, SegmentIndex.fs, SegmentIndex.ds, SegmentIndex.es] {
                s.pointee.segments[index] = Self.nullSegment(0)
            }
        }
        s.pointee.segments[SegmentIndex.ss] = stack.segment
        commit(stack)
        enterHandler(gate, code, privilege: code.dpl)
        return true
    }

    /// Loads CS:IP and the flags of a handler; SS is already the handler's.
    private func enterHandler(_ gate: Descriptor, _ code: Descriptor, privilege: UInt8) {
        let s = state
        var cleared = RFLAGS.tf | RFLAGS.nt | RFLAGS.rf | RFLAGS.vm
        if gate.type & 1 == 0 { cleared |= RFLAGS.interrupt }
        s.pointee.flagsRest &= ~cleared
        s.pointee.segments[SegmentIndex.cs] = code.segment(gate.gateSelector & 0xFFFC | UInt16(privilege))
        s.pointee.rip = gate.handlerOffset
        updateMode()
    }

    // MARK: Long mode

    private func deliverLong(vector: UInt8, kind: EventKind, errorCode: UInt32?) -> Bool {
        let s = state
        guard UInt32(vector) * 16 + 15 <= UInt32(s.pointee.idtr.limit) else { return gateFault(Vector.gp, vector) }
        let address = s.pointee.idtr.base &+ UInt64(vector) * 16
        guard let low = loadSystem(address, size: 8), let high = loadSystem(address &+ 8, size: 8) else { return false }
        let gate = Descriptor(low: low, high: high & 0xFFFF_FFFF)
        let isGate = gate.type == SystemType.interruptGate32 || gate.type == SystemType.trapGate32
        guard isGate, !gate.isCodeOrData, kind != .software || gate.dpl >= s.pointee.cpl else {
            return gateFault(Vector.gp, vector)
        }
        guard gate.isPresent else { return gateFault(Vector.np, vector) }
        guard let code = handlerCode(gate.gateSelector) else { return false }
        guard code.isLong, !code.isBig else {
            fault(Vector.gp, selector: gate.gateSelector)
            return false
        }
        let privilege = code.isConforming ? s.pointee.cpl : code.dpl
        var pointer = s.pointee.gpr[Register.rsp]
        if gate.gateStackTable != 0 {
            guard let top = longStack(at: 0x24 + (gate.gateStackTable - 1) * 8) else { return false }
            pointer = top
        } else if privilege < s.pointee.cpl {
            guard let top = longStack(at: 4 + Int(privilege) * 8) else { return false }
            pointer = top
        }
        let old = s.pointee.segments[SegmentIndex.ss]
        let new = privilege < s.pointee.cpl ? Self.nullStack(privilege: privilege) : old
        var stack = StackCursor(
            segment: new, pointer: pointer & ~0xF, mask: ~0, isFlat: true, isSystem: privilege < 3, errorCode: 0)
        guard push(&stack, UInt64(old.selector), size: 8),
            push(&stack, s.pointee.gpr[Register.rsp], size: 8),
            push(&stack, UInt64(savedFlags(vector, kind)), size: 8),
            push(&stack, UInt64(s.pointee.segments[SegmentIndex.cs].selector), size: 8),
            push(&stack, s.pointee.rip, size: 8),
            pushErrorCode(&stack, errorCode, size: 8)
        else { return false }
        guard isCanonical(gate.gateOffset) else {
            generalProtection()
            return false
        }
        s.pointee.segments[SegmentIndex.ss] = new
        commit(stack)
        enterHandler(gate, code, privilege: privilege)
        return true
    }
}

extension Descriptor {
    /// Where an interrupt gate leads: 16-bit gates have no upper offset.
    fileprivate var handlerOffset: UInt64 {
        type == SystemType.interruptGate16 || type == SystemType.trapGate16 ? gateOffset & 0xFFFF : gateOffset
    }
}
