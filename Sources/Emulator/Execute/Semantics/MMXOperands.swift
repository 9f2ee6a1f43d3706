/// Operands of MMX instructions: the significands of the x87 registers.
extension CPU {
    /// The 64-bit source: MMX register or memory. Nil: a fault is pending.
    @inline(__always) func mmxSource(_ op: Op) -> UInt64? {
        op.pointee.prefixes.contains(.memory)
            ? state.load(op, as: UInt64.self) : state.pointee.fpu.registers[Int(op.pointee.rm)].significand
    }

    /// Any MMX instruction but EMMS: TOP is 0 and all registers are in use (SDM vol. 3, 12.2).
    @inline(__always) func enterMMX() {
        state.pointee.fpu.top = 0
        state.pointee.fpu.emptyMask = 0
    }

    @inline(__always) func setMMX(_ index: UInt8, _ value: UInt64) {
        enterMMX()
        state.pointee.fpu.registers[Int(index)] = X87Register(significand: value, signExponent: 0xFFFF)
    }

    /// MMX ← f(MMX, MMX/m64) through a 128-bit function of which the low half counts.
    @inline(__always) func mmx(_ op: Op, _ body: (V128, V128) -> V128) -> Outcome {
        guard let source = mmxSource(op) else { return .fault }
        let old = state.pointee.fpu.registers[Int(op.pointee.reg)].significand
        setMMX(op.pointee.reg, body(V128(low: old, high: 0), V128(low: source, high: 0)).low)
        return .next
    }

    /// Packs and horizontal operations, whose result comes from the destination's lanes, then the source's.
    @inline(__always) func mmxJoined(_ op: Op, _ body: (V128, V128) -> V128) -> Outcome {
        guard let source = mmxSource(op) else { return .fault }
        let old = state.pointee.fpu.registers[Int(op.pointee.reg)].significand
        let both = V128(low: old, high: source)
        setMMX(op.pointee.reg, body(both, both).low)
        return .next
    }

    @inline(__always) func mmxShiftImmediate(_ op: Op, _ body: (V128, UInt64) -> V128) -> Outcome {
        let old = state.pointee.fpu.registers[Int(op.pointee.rm)].significand
        setMMX(op.pointee.rm, body(V128(low: old, high: 0), UInt64(op.pointee.immediate & 0xFF)).low)
        return .next
    }

    /// MASKMOVQ, MASKMOVDQU: the bytes whose mask has its top bit set go to DS:rDI, or to the override's segment.
    func storeMasked(_ op: Op, _ value: V128, _ mask: V128, count: Int) -> Outcome {
        let shift = UInt64(op.pointee.addressShift)
        let offset = (state.gpr64(UInt8(Register.rdi)) << shift) >> shift
        guard let linear = segmentLinear(op.pointee.segment, offset, size: UInt64(count), write: true) else {
            return .fault
        }
        for i in 0..<count where mask.u8[i] & 0x80 != 0 {
            if loadForStore(linear &+ UInt64(i), size: 1) == nil { return .fault }
        }
        for i in 0..<count where mask.u8[i] & 0x80 != 0 {
            if !state.store(linear &+ UInt64(i), value.u8[i]) { return .fault }
        }
        return .next
    }
}
