/// BT, BTS, BTR, BTC, BSF, BSR, POPCNT, CMPXCHG, XADD, CMPXCHG8B/16B.
extension CPUPointer {
    /// `kind`: 0 BT, 1 BTS, 2 BTR, 3 BTC.
    @inline(__always) func bitTest<T: Word>(_ value: T, bit: T, kind: UInt16) -> T {
        let mask: T = 1 &<< bit
        setCarry(value & mask != 0)
        switch kind {
        case 0: return value
        case 1: return value | mask
        case 2: return value & ~mask
        default: return value ^ mask
        }
    }

    /// Register operand, offset in a register (modulo the width).
    @inline(__always) func bitTestRR<T: Word>(_: T.Type, _ op: Op) {
        let bit = register(op.pointee.reg, as: T.self)
        let result = bitTest(register(op.pointee.rm, as: T.self), bit: bit, kind: op.pointee.sub)
        if op.pointee.sub != 0 { setRegister(op.pointee.rm, result) }
    }

    @inline(__always) func bitTestRI<T: Word>(_: T.Type, _ op: Op) {
        let bit = T(truncatingIfNeeded: op.pointee.immediate)
        let result = bitTest(register(op.pointee.rm, as: T.self), bit: bit, kind: op.pointee.sub)
        if op.pointee.sub != 0 { setRegister(op.pointee.rm, result) }
    }
}

extension CPU {
    /// Memory forms and 16-bit ones. A register offset reaches beyond the operand: it is a signed bit number relative to the address.
    @inline(never) func bitTestGeneral(_ op: Op) -> Outcome {
        switch op.pointee.size {
        case 1: return bitTest(op, as: UInt16.self)
        case 2: return bitTest(op, as: UInt32.self)
        default: return bitTest(op, as: UInt64.self)
        }
    }

    private func bitTest<T: Word>(_ op: Op, as: T.Type) -> Outcome {
        let s = state
        let kind = op.pointee.sub
        let isRegisterOffset = op.pointee.immediate < 0
        let offset =
            isRegisterOffset
            ? Int64(bitPattern: signExtended(s.register(op.pointee.reg, as: T.self))) : op.pointee.immediate
        let bit = T(truncatingIfNeeded: offset) & T(T.bitWidth - 1)
        guard op.pointee.prefixes.contains(.memory) else {
            let result = s.bitTest(s.register(op.pointee.rm, as: T.self), bit: bit, kind: kind)
            if kind != 0 { s.setRegister(op.pointee.rm, result) }
            return .next
        }
        // Whole operands away from the address; immediates never leave the operand.
        let bytes = UInt64(T.bitWidth / 8)
        let away = isRegisterOffset ? (offset >> Int64(T.bitWidth.trailingZeroBitCount)) &* Int64(bytes) : 0
        let shift = UInt64(op.pointee.addressShift)
        let address = ((s.effectiveOffset(op) &+ UInt64(bitPattern: away)) << shift) >> shift
        guard let linear = segmentLinear(op.pointee.segment, address, size: bytes, write: kind != 0)
        else { return .fault }
        if kind == 0 {
            guard let value = s.load(linear, as: T.self) else { return .fault }
            _ = s.bitTest(value, bit: bit, kind: 0)
            return .next
        }
        return s.modify(linear, as: T.self) { s.bitTest($0, bit: bit, kind: kind) } ? .next : .fault
    }

    /// BSF (0), BSR (1), POPCNT (2). A zero source leaves the destination of the scans as it was, as AMD documents.
    @inline(never) func bitScan(_ op: Op) -> Outcome {
        switch op.pointee.size {
        case 1: return bitScan(op, as: UInt16.self)
        case 2: return bitScan(op, as: UInt32.self)
        default: return bitScan(op, as: UInt64.self)
        }
    }

    private func bitScan<T: Word>(_ op: Op, as: T.Type) -> Outcome {
        let s = state
        let source: T
        if op.pointee.prefixes.contains(.memory) {
            guard let value = s.load(op, as: T.self) else { return .fault }
            source = value
        } else {
            source = s.register(op.pointee.rm, as: T.self)
        }
        if op.pointee.sub == 2 {
            s.setRegister(op.pointee.reg, T(source.nonzeroBitCount))
            s.setLogicFlags(source == 0 ? T(0) : T(1))
            // PF is cleared too: a result of 1 has odd parity; with ZF set it must read 0 as well.
            s.setArithmeticFlags(source == 0 ? RFLAGS.zf : 0)
            return .next
        }
        s.setLogicFlags(source)
        if source != 0 {
            let index = op.pointee.sub == 0 ? source.trailingZeroBitCount : T.bitWidth - 1 - source.leadingZeroBitCount
            s.setRegister(op.pointee.reg, T(index))
        }
        return .next
    }

    @inline(never) func cmpxchg(_ op: Op) -> Outcome {
        switch op.pointee.size {
        case 0: return cmpxchg(op, as: UInt8.self)
        case 1: return cmpxchg(op, as: UInt16.self)
        case 2: return cmpxchg(op, as: UInt32.self)
        default: return cmpxchg(op, as: UInt64.self)
        }
    }

    private func cmpxchg<T: Word>(_ op: Op, as: T.Type) -> Outcome {
        let s = state
        let accumulator = s.register(0, as: T.self), source = s.register(op.pointee.reg, as: T.self)
        if op.pointee.prefixes.contains(.memory) {
            var old: T = 0
            // The destination is written in any case (SDM vol. 2, CMPXCHG).
            guard
                s.modify(
                    op, as: T.self,
                    {
                        old = $0; return $0 == accumulator ? source : $0
                    })
            else { return .fault }
            s.setSubFlags(accumulator, old, accumulator &- old)
            if old != accumulator { s.setRegister(0, old) }
            return .next
        }
        let old = s.register(op.pointee.rm, as: T.self)
        s.setSubFlags(accumulator, old, accumulator &- old)
        if old == accumulator { s.setRegister(op.pointee.rm, source) } else { s.setRegister(0, old) }
        return .next
    }

    @inline(never) func xadd(_ op: Op) -> Outcome {
        switch op.pointee.size {
        case 0: return xadd(op, as: UInt8.self)
        case 1: return xadd(op, as: UInt16.self)
        case 2: return xadd(op, as: UInt32.self)
        default: return xadd(op, as: UInt64.self)
        }
    }

    private func xadd<T: Word>(_ op: Op, as: T.Type) -> Outcome {
        let s = state
        let source = s.register(op.pointee.reg, as: T.self)
        var old: T = 0
        if op.pointee.prefixes.contains(.memory) {
            guard
                s.modify(
                    op, as: T.self,
                    {
                        old = $0; return $0 &+ source
                    })
            else { return .fault }
            s.setRegister(op.pointee.reg, old)
        } else {
            old = s.register(op.pointee.rm, as: T.self)
            s.setRegister(op.pointee.reg, old)
            s.setRegister(op.pointee.rm, old &+ source)
        }
        s.setAddFlags(old, source, old &+ source)
        return .next
    }

    /// CMPXCHG8B, and CMPXCHG16B with REX.W (16-byte aligned, or #GP).
    @inline(never) func cmpxchg8b(_ op: Op) -> Outcome {
        let s = state
        let isWide = op.pointee.size == 3
        if isWide, !features.has(.cmpxchg16b) { return undefinedOpcode() }
        let half: UInt64 = isWide ? 8 : 4
        guard let address = s.linear(op, size: half * 2, write: true) else { return .fault }
        if isWide && address & 15 != 0 { return generalProtection() }
        // The check of the second half first, so that the first store cannot be half of a faulting instruction.
        guard loadForStore(address &+ half, size: Int(half)) != nil,
            let low = loadForStore(address, size: Int(half)), let high = loadSlow(address &+ half, size: Int(half))
        else { return .fault }
        let mask: UInt64 = isWide ? ~0 : 0xFFFF_FFFF
        let rax = s.gpr64(UInt8(Register.rax)) & mask, rdx = s.gpr64(UInt8(Register.rdx)) & mask
        let isEqual = low == rax && high == rdx
        let newLow = isEqual ? s.gpr64(UInt8(Register.rbx)) & mask : low
        let newHigh = isEqual ? s.gpr64(UInt8(Register.rcx)) & mask : high
        guard storeSlow(address, newLow, size: Int(half)), storeSlow(address &+ half, newHigh, size: Int(half))
        else { return .fault }
        if !isEqual {
            s.setGPR64(UInt8(Register.rax), low)
            s.setGPR64(UInt8(Register.rdx), high)
        }
        s.setArithmeticFlags(s.arithmeticFlags & ~RFLAGS.zf | (isEqual ? RFLAGS.zf : 0))
        return .next
    }
}
