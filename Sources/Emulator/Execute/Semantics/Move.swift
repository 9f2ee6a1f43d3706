/// MOV and its extending and conditional relatives, LEA, XCHG, BSWAP, MOVBE, SETcc.
extension CPUPointer {
    @inline(__always) func movRR<T: Word>(_: T.Type, _ op: Op) {
        setRegister(op.pointee.reg, register(op.pointee.rm, as: T.self))
    }

    @inline(__always) func movRM<T: Word>(_: T.Type, _ op: Op) -> Bool {
        guard let value = load(op, as: T.self) else { return false }
        setRegister(op.pointee.reg, value)
        return true
    }

    @inline(__always) func movMR<T: Word>(_: T.Type, _ op: Op) -> Bool {
        store(op, register(op.pointee.reg, as: T.self))
    }

    @inline(__always) func movRI<T: Word>(_: T.Type, _ op: Op) {
        setRegister(op.pointee.reg, T(truncatingIfNeeded: op.pointee.immediate))
    }

    @inline(__always) func movMI<T: Word>(_: T.Type, _ op: Op) -> Bool {
        store(op, T(truncatingIfNeeded: op.pointee.immediate))
    }

    /// MOVZX from a register or from memory.
    @inline(__always) func zeroExtendR<From: Word, To: Word>(_: From.Type, _: To.Type, _ op: Op) {
        setRegister(op.pointee.reg, To(truncatingIfNeeded: register(op.pointee.rm, as: From.self)))
    }

    @inline(__always) func zeroExtendM<From: Word, To: Word>(_: From.Type, _: To.Type, _ op: Op) -> Bool {
        guard let value = load(op, as: From.self) else { return false }
        setRegister(op.pointee.reg, To(truncatingIfNeeded: value))
        return true
    }

    /// MOVSX and MOVSXD.
    @inline(__always) func signExtendR<From: Word, To: Word>(_: From.Type, _: To.Type, _ op: Op) {
        setRegister(op.pointee.reg, To(truncatingIfNeeded: signExtended(register(op.pointee.rm, as: From.self))))
    }

    @inline(__always) func signExtendM<From: Word, To: Word>(_: From.Type, _: To.Type, _ op: Op) -> Bool {
        guard let value = load(op, as: From.self) else { return false }
        setRegister(op.pointee.reg, To(truncatingIfNeeded: signExtended(value)))
        return true
    }

    @inline(__always) func lea<T: Word>(_: T.Type, _ op: Op) {
        setRegister(op.pointee.reg, T(truncatingIfNeeded: effectiveOffset(op)))
    }

    @inline(__always) func xchgRR<T: Word>(_: T.Type, _ op: Op) {
        let a = register(op.pointee.reg, as: T.self), b = register(op.pointee.rm, as: T.self)
        setRegister(op.pointee.reg, b)
        setRegister(op.pointee.rm, a)
    }

    @inline(__always) func xchgMR<T: Word>(_: T.Type, _ op: Op) -> Bool {
        let source = register(op.pointee.reg, as: T.self)
        var old: T = 0
        guard
            modify(
                op, as: T.self,
                {
                    old = $0; return source
                })
        else { return false }
        setRegister(op.pointee.reg, old)
        return true
    }

    /// CMOVcc writes its destination also when the condition is false: 32-bit ones clear the upper half.
    @inline(__always) func cmovR<T: Word>(_: T.Type, _ op: Op) {
        let isTrue = condition(UInt8(truncatingIfNeeded: op.pointee.sub))
        setRegister(op.pointee.reg, register(isTrue ? op.pointee.rm : op.pointee.reg, as: T.self))
    }

    /// CMOVcc from memory loads, and faults, whatever the condition.
    @inline(__always) func cmovM<T: Word>(_: T.Type, _ op: Op) -> Bool {
        guard let value = load(op, as: T.self) else { return false }
        let isTrue = condition(UInt8(truncatingIfNeeded: op.pointee.sub))
        setRegister(op.pointee.reg, isTrue ? value : register(op.pointee.reg, as: T.self))
        return true
    }
}

extension CPU {
    /// MOVBE: `sub` 0 loads, 1 stores.
    @inline(never) func movbe(_ op: Op) -> Outcome {
        switch op.pointee.size {
        case 1: return movbe(op, as: UInt16.self)
        case 2: return movbe(op, as: UInt32.self)
        default: return movbe(op, as: UInt64.self)
        }
    }

    private func movbe<T: Word>(_ op: Op, as: T.Type) -> Outcome {
        if op.pointee.sub == 1 {
            return state.store(op, state.register(op.pointee.reg, as: T.self).byteSwapped) ? .next : .fault
        }
        guard let value = state.load(op, as: T.self) else { return .fault }
        state.setRegister(op.pointee.reg, value.byteSwapped)
        return .next
    }

    /// XLAT: AL = [seg:(r)BX + AL].
    @inline(never) func xlat(_ op: Op) -> Outcome {
        let shift = UInt64(op.pointee.addressShift)
        let sum = state.gpr64(UInt8(Register.rbx)) &+ UInt64(state.register(0, as: UInt8.self))
        guard let address = segmentLinear(op.pointee.segment, (sum << shift) >> shift, size: 1, write: false),
            let value = state.load(address, as: UInt8.self)
        else { return .fault }
        state.setRegister(0, value)
        return .next
    }

    /// Linear address for a segment as `DecodedOp.segment` writes it; nil: a fault is pending.
    @inline(__always) func segmentLinear(_ segment: UInt8, _ offset: UInt64, size: UInt64, write: Bool) -> UInt64? {
        if segment == SegmentIndex.flat { return offset }
        if segment & SegmentIndex.baseOnly != 0 { return offset &+ state.pointee.segments[Int(segment & 7)].base }
        return segmented(Int(segment), offset, size: size, write: write)
    }
}
