/// What transfers of control between segments share: the stacks that a TSS keeps for inner privilege levels
/// (SDM vol. 3, 5.8.5, 8.2 and 8.7), real-mode CS, and limits of the instruction pointer.
extension CPU {
    /// The stack that the TSS holds for `privilege`, checked, in legacy protected mode. Nil: #TS, #SS or #PF pending.
    func innerStack(privilege: UInt8) -> StackCursor? {
        let s = state
        let tr = s.pointee.tr
        let is32 = tr.type & 8 != 0
        let offset = is32 ? 4 + UInt32(privilege) * 8 : 2 + UInt32(privilege) * 4
        let size: UInt32 = is32 ? 4 : 2
        guard tr.isPresent, offset + size + 1 <= tr.limit else {
            fault(Vector.ts, selector: tr.selector)
            return nil
        }
        guard let pointer = loadSystem(tr.base &+ UInt64(offset), size: Int(size)),
            let selector = loadSystem(tr.base &+ UInt64(offset + size), size: 2),
            let segment = checkedStack(UInt16(selector), privilege: privilege, orRaise: Vector.ts)
        else { return nil }
        return StackCursor(
            segment: segment, pointer: pointer, mask: Self.stackMask(segment, is64Bit: false), isFlat: false,
            isSystem: privilege < 3, errorCode: UInt32(segment.selector & 0xFFFC))
    }

    /// A stack pointer (RSP0–2, IST1–7) of the 64-bit TSS, `offset` bytes into it.
    func longStack(at offset: Int) -> UInt64? {
        let tr = state.pointee.tr
        guard tr.isPresent, UInt32(offset) + 7 <= tr.limit else {
            fault(Vector.ts, selector: tr.selector)
            return nil
        }
        guard let pointer = loadSystem(tr.base &+ UInt64(offset), size: 8) else { return nil }
        guard isCanonical(pointer) else {
            raise(Vector.ss, errorCode: 0)
            return nil
        }
        return pointer
    }

    /// CS of real and virtual-8086 mode.
    func loadRealCode(_ selector: UInt16) {
        loadRealSegment(SegmentIndex.cs, selector)
        // Code stays executable and readable in the cache, so that PE can be set before CS is loaded again.
        if !state.pointee.isVirtual8086 { state.pointee.segments[SegmentIndex.cs].attributes |= 8 }
    }

    /// #GP(0) unless `offset` is a possible instruction pointer in `code`.
    func checkOffset(_ offset: UInt64, in code: Descriptor) -> Bool {
        let is64 = state.pointee.isLongMode && code.isLong
        guard is64 ? isCanonical(offset) : offset <= UInt64(code.limit) else {
            generalProtection()
            return false
        }
        return true
    }

    /// The descriptor of a code segment that a jump, call or return names, with the checks that do not depend on how.
    /// Nil: #GP or #PF pending.
    func codeDescriptor(_ selector: UInt16) -> Descriptor? {
        guard !selector.isNullSelector else {
            generalProtection()
            return nil
        }
        guard let descriptor = readDescriptor(selector) else { return nil }
        guard descriptor.isCode else {
            fault(Vector.gp, selector: selector)
            return nil
        }
        return checkedCodeSize(descriptor, selector)
    }

    /// In long mode a code segment with both L and D is invalid.
    func checkedCodeSize(_ descriptor: Descriptor, _ selector: UInt16) -> Descriptor? {
        if state.pointee.isLongMode, descriptor.isLong, descriptor.isBig {
            fault(Vector.gp, selector: selector)
            return nil
        }
        return descriptor
    }

    /// #NP, then the accessed bit, then the limit: what comes last before CS is loaded.
    func finishCode(_ descriptor: inout Descriptor, _ selector: UInt16, offset: UInt64) -> Bool {
        guard descriptor.isPresent else {
            fault(Vector.np, selector: selector)
            return false
        }
        return checkOffset(offset, in: descriptor) && markAccessed(&descriptor)
    }

    /// Makes `descriptor` the code segment at `privilege` and continues at `offset`.
    func enterCode(_ descriptor: Descriptor, _ selector: UInt16, privilege: UInt8, offset: UInt64) {
        state.pointee.segments[SegmentIndex.cs] = descriptor.segment(selector & 0xFFFC | UInt16(privilege))
        state.pointee.rip = offset
        updateMode()
    }
}
