/// Shifts and rotates (SDM vol. 2: SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD).
///
/// Flags that the manual leaves undefined (OF for counts above 1, AF) follow what processors do: OF is computed from the last
/// step, AF is cleared.
extension CPUPointer {
    @inline(__always) func shiftLeft<T: Word>(_ value: T, _ count: Int) -> T {
        // `count` is 1 … width - 1 here.
        let result = value &<< T(truncatingIfNeeded: count)
        let carry = (value &>> T(truncatingIfNeeded: T.bitWidth &- count)) & 1 != 0
        setFlags(result, cf: carry, of: (result &>> T(truncatingIfNeeded: T.bitWidth &- 1) != 0) != carry)
        return result
    }

    @inline(__always) func shiftRight<T: Word>(_ value: T, _ count: Int) -> T {
        let result = value &>> T(truncatingIfNeeded: count)
        let carry = (value &>> T(truncatingIfNeeded: count &- 1)) & 1 != 0
        // OF is the top bit of the original for a count of 1; in general the XOR of the result's two top bits.
        let top = result ^ (result &<< 1)
        setFlags(result, cf: carry, of: top &>> T(truncatingIfNeeded: T.bitWidth &- 1) != 0)
        return result
    }

    @inline(__always) func shiftArithmetic<T: Word>(_ value: T, _ count: Int) -> T {
        let wide = Int64(bitPattern: signExtended(value))
        let result = T(truncatingIfNeeded: wide &>> Int64(count))
        let carry = (wide &>> Int64(count &- 1)) & 1 != 0
        setFlags(result, cf: carry, of: false)
        return result
    }

    /// The count in CL, masked for the width.
    @inline(__always) func countCL<T: Word>(_: T.Type) -> Int {
        Int(register(UInt8(Register.rcx * 8), as: UInt8.self) & (T.bitWidth == 64 ? 63 : 31))
    }

    /// Register by immediate (never 0) or by CL.
    @inline(__always) func shlRI<T: Word>(_: T.Type, _ op: Op) {
        setRegister(op.pointee.reg, shiftLeft(register(op.pointee.reg, as: T.self), Int(op.pointee.immediate)))
    }
    @inline(__always) func shrRI<T: Word>(_: T.Type, _ op: Op) {
        setRegister(op.pointee.reg, shiftRight(register(op.pointee.reg, as: T.self), Int(op.pointee.immediate)))
    }
    @inline(__always) func sarRI<T: Word>(_: T.Type, _ op: Op) {
        setRegister(op.pointee.reg, shiftArithmetic(register(op.pointee.reg, as: T.self), Int(op.pointee.immediate)))
    }

    /// A count of 0 changes no flag, but a 32-bit destination is still written.
    @inline(__always) func byCL<T: Word>(_: T.Type, _ op: Op, _ shift: (T, Int) -> T) {
        let count = countCL(T.self)
        let value = register(op.pointee.reg, as: T.self)
        setRegister(op.pointee.reg, count == 0 ? value : shift(value, count))
    }

    /// Any shift or rotate; `kind` as ModRM.reg of opcode D3h.
    func shift<T: Word>(_ value: T, kind: UInt16, count: Int) -> T {
        if count == 0 { return value }
        let width = T.bitWidth
        switch kind {
        case 0: return rotateLeft(value, count % width)
        case 1: return rotateRight(value, count % width)
        case 2: return rotateThroughCarry(value, count % (width + 1), left: true)
        case 3: return rotateThroughCarry(value, count % (width + 1), left: false)
        case 4, 6:
            if count < width { return shiftLeft(value, count) }
            let carry = count == width && value & 1 != 0
            setFlags(T(0), cf: carry, of: carry)
            return 0
        case 5:
            if count < width { return shiftRight(value, count) }
            setFlags(T(0), cf: count == width && value.leadingZeroBitCount == 0, of: false)
            return 0
        default:
            return shiftArithmetic(value, min(count, 63))
        }
    }

    private func rotateLeft<T: Word>(_ value: T, _ count: Int) -> T {
        let result = count == 0 ? value : value << T(count) | value >> T(T.bitWidth - count)
        let carry = result & 1 != 0
        setCarryOverflow(cf: carry, of: (result.leadingZeroBitCount == 0) != carry)
        return result
    }

    private func rotateRight<T: Word>(_ value: T, _ count: Int) -> T {
        let result = count == 0 ? value : value >> T(count) | value << T(T.bitWidth - count)
        let top = result.leadingZeroBitCount == 0, second = result & (1 << T(T.bitWidth - 2)) != 0
        setCarryOverflow(cf: top, of: top != second)
        return result
    }

    private func rotateThroughCarry<T: Word>(_ value: T, _ count: Int, left: Bool) -> T {
        var result = value, carry = cf
        for _ in 0..<count {
            if left {
                let out = result.leadingZeroBitCount == 0
                result = result << 1 | (carry ? 1 : 0)
                carry = out
            } else {
                let out = result & 1 != 0
                result = result >> 1 | (carry ? 1 << T(T.bitWidth - 1) : 0)
                carry = out
            }
        }
        if count == 0 { return value }
        let top = result.leadingZeroBitCount == 0
        let of = left ? top != carry : top != (result & (1 << T(T.bitWidth - 2)) != 0)
        setCarryOverflow(cf: carry, of: of)
        return result
    }
}

extension CPU {
    /// The general shift: any kind, width, operand; the immediate is the count or -1 for CL.
    @inline(never) func shift(_ op: Op) -> Outcome {
        switch op.pointee.size {
        case 0: return shift(op, as: UInt8.self)
        case 1: return shift(op, as: UInt16.self)
        case 2: return shift(op, as: UInt32.self)
        default: return shift(op, as: UInt64.self)
        }
    }

    private func shift<T: Word>(_ op: Op, as: T.Type) -> Outcome {
        let s = state
        let count = op.pointee.immediate < 0 ? s.countCL(T.self) : Int(op.pointee.immediate)
        let kind = op.pointee.sub
        if op.pointee.prefixes.contains(.memory) {
            return s.modify(op, as: T.self) { s.shift($0, kind: kind, count: count) } ? .next : .fault
        }
        s.setRegister(op.pointee.reg, s.shift(s.register(op.pointee.reg, as: T.self), kind: kind, count: count))
        return .next
    }

    /// SHLD (`sub` 0) and SHRD (`sub` 1).
    @inline(never) func doubleShift(_ op: Op) -> Outcome {
        switch op.pointee.size {
        case 1: return doubleShift(op, as: UInt16.self)
        case 2: return doubleShift(op, as: UInt32.self)
        default: return doubleShift(op, as: UInt64.self)
        }
    }

    private func doubleShift<T: Word>(_ op: Op, as: T.Type) -> Outcome {
        let s = state
        let mask = T.bitWidth == 64 ? 63 : 31
        let count = (op.pointee.immediate < 0 ? s.countCL(T.self) : Int(op.pointee.immediate)) & mask
        let source = s.register(op.pointee.reg, as: T.self)
        let isLeft = op.pointee.sub == 0
        func combine(_ value: T) -> T {
            if count == 0 { return value }
            let width = T.bitWidth
            let result: T
            let carry: Bool
            if width == 64 {
                result =
                    isLeft ? value << T(count) | source >> T(64 - count) : value >> T(count) | source << T(64 - count)
                carry = value >> T(isLeft ? 64 - count : count - 1) & 1 != 0
            } else {
                // 16-bit operands with counts above 16 are undefined; processors rotate in the source and then the
                // destination.
                let row = UInt128(value) << UInt128(width * 2) | UInt128(source) << UInt128(width) | UInt128(value)
                let shift = isLeft ? width * 2 - count : count
                result = T(truncatingIfNeeded: row >> UInt128(shift))
                carry = row >> UInt128(isLeft ? shift + width : shift - 1) & 1 != 0
            }
            let overflow = (result ^ value).leadingZeroBitCount == 0
            s.setFlags(result, cf: carry, of: overflow)
            return result
        }
        if op.pointee.prefixes.contains(.memory) { return s.modify(op, as: T.self, combine) ? .next : .fault }
        s.setRegister(op.pointee.rm, combine(s.register(op.pointee.rm, as: T.self)))
        return .next
    }
}
