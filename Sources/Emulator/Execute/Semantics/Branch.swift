/// Near control flow outside of the fast cases: calls and returns of 16 and 32 bits, LOOP and JCXZ.
extension CPU {
    /// The instruction pointer's bits for an operand size.
    @inline(__always) func pointerMask(_ size: UInt8) -> UInt64 {
        size == 3 ? ~0 : size == 2 ? 0xFFFF_FFFF : 0xFFFF
    }

    /// Whether a near target can be fetched from; otherwise #GP(0) is pending (SDM vol. 2, CALL and JMP).
    func checkTarget(_ target: UInt64) -> Bool {
        if state.pointee.is64Bit {
            if isCanonical(target) { return true }
        } else if target <= UInt64(state.pointee.segments[SegmentIndex.cs].limit) {
            return true
        }
        generalProtection()
        return false
    }

    /// CALL with a return address of `size`; `state.rip` holds the return address.
    private func call(_ target: UInt64, size: UInt8) -> Outcome {
        guard checkTarget(target), push(state.pointee.rip, size: 1 << Int(size)) else { return .fault }
        state.pointee.rip = target
        return .leave
    }

    @inline(never) func callRelative(_ op: Op) -> Outcome {
        let target = state.gpr64(UInt8(Register.blockIP)) &+ UInt64(bitPattern: op.pointee.immediate)
        return call(target & pointerMask(op.pointee.size), size: op.pointee.size)
    }

    @inline(never) func callIndirect(_ op: Op) -> Outcome {
        guard let target = loadOperand(op, register: op.pointee.reg) else { return .fault }
        return call(target, size: op.pointee.size)
    }

    @inline(never) func ret(_ op: Op) -> Outcome {
        let size = 1 << Int(op.pointee.size)
        guard let target = peek(0, size: size), checkTarget(target) else { return .fault }
        setStackPointer(state.gpr64(UInt8(Register.rsp)) &+ UInt64(size) &+ UInt64(op.pointee.immediate))
        state.pointee.rip = target
        return .leave
    }

    /// LOOP, LOOPE, LOOPNE, JCXZ: `sub` 0–3, `scale` is 64 minus the counter's width. Returns whether to jump.
    @inline(never) func loopTaken(_ op: Op) -> Bool {
        let shift = UInt64(op.pointee.scale)
        let register = UInt8(Register.rcx)
        let old = state.gpr64(register)
        let count = (old << shift) >> shift
        if op.pointee.sub == 3 { return count == 0 }
        let new = ((count &- 1) << shift) >> shift
        if shift == 48 {
            state.setRegister(register, UInt16(truncatingIfNeeded: new))
        } else {
            state.setGPR64(register, new)
        }
        switch op.pointee.sub {
        case 0: return new != 0
        case 1: return new != 0 && state.zf
        default: return new != 0 && !state.zf
        }
    }
}
