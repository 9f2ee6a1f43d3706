/// A stack that several words are pushed on or popped from before anything is committed: far transfers, interrupt
/// frames.
struct StackCursor {
    var segment: Segment
    var pointer: UInt64
    /// Bits of the stack pointer that take part: 16, 32 or 64.
    let mask: UInt64
    /// 64-bit mode: no segmentation, canonical addresses.
    let isFlat: Bool
    /// The stack of an inner privilege level: accesses are the supervisor's, whatever CPL still is.
    let isSystem: Bool
    /// Error code of the #SS for what does not fit.
    let errorCode: UInt32
}

extension CPU {
    /// The stack in use, for pushes and pops at the current privilege.
    func currentStack() -> StackCursor {
        let is64 = state.pointee.is64Bit
        let segment = state.pointee.segments[SegmentIndex.ss]
        let mask = Self.stackMask(segment, is64Bit: is64)
        return StackCursor(
            segment: segment, pointer: state.pointee.gpr[Register.rsp] & mask, mask: mask, isFlat: is64,
            isSystem: false, errorCode: 0)
    }

    static func stackMask(_ segment: Segment, is64Bit: Bool) -> UInt64 {
        is64Bit ? ~0 : segment.isBig ? 0xFFFF_FFFF : 0xFFFF
    }

    /// Makes the cursor's pointer the stack pointer; bits outside of the stack's width stay.
    func commit(_ stack: StackCursor) {
        let old = state.pointee.gpr[Register.rsp]
        // A 32-bit stack pointer is a 32-bit register write, which clears the upper half.
        let kept = stack.mask == 0xFFFF ? old & ~0xFFFF : 0
        state.pointee.gpr[Register.rsp] = kept | stack.pointer & stack.mask
    }

    /// False: #SS or #PF is pending.
    func push(_ stack: inout StackCursor, _ value: UInt64, size: Int) -> Bool {
        let pointer = (stack.pointer &- UInt64(size)) & stack.mask
        guard let linear = linear(stack, pointer, size) else { return false }
        let stored: Bool
        if stack.isSystem {
            stored = storeSystem(linear, value, size: size)
        } else {
            switch size {
            case 2: stored = state.store(linear, UInt16(truncatingIfNeeded: value))
            case 4: stored = state.store(linear, UInt32(truncatingIfNeeded: value))
            default: stored = state.store(linear, value)
            }
        }
        guard stored else { return false }
        stack.pointer = pointer
        return true
    }

    /// Nil: #SS or #PF is pending.
    func pop(_ stack: inout StackCursor, size: Int) -> UInt64? {
        guard let value = peek(stack, at: 0, size: size) else { return nil }
        stack.pointer = (stack.pointer &+ UInt64(size)) & stack.mask
        return value
    }

    /// The word `offset` bytes above the pointer.
    func peek(_ stack: StackCursor, at offset: Int, size: Int) -> UInt64? {
        guard let linear = linear(stack, (stack.pointer &+ UInt64(offset)) & stack.mask, size) else { return nil }
        if stack.isSystem { return loadSystem(linear, size: size) }
        switch size {
        case 2: return state.load(linear, as: UInt16.self).map(UInt64.init)
        case 4: return state.load(linear, as: UInt32.self).map(UInt64.init)
        default: return state.load(linear, as: UInt64.self)
        }
    }

    private func linear(_ stack: StackCursor, _ pointer: UInt64, _ size: Int) -> UInt64? {
        let last = pointer &+ UInt64(size - 1)
        if stack.isFlat {
            if isCanonical(pointer), isCanonical(last) { return pointer }
        } else {
            let limit = UInt64(stack.segment.limit)
            let fits =
                stack.segment.isExpandDown
                ? pointer > limit && last <= (stack.segment.isBig ? 0xFFFF_FFFF : 0xFFFF) : last <= limit
            if fits { return (stack.segment.base &+ pointer) & 0xFFFF_FFFF }
        }
        raise(Vector.ss, errorCode: stack.errorCode)
        return nil
    }
}
