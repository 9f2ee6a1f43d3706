/// LZCNT, TZCNT, BMI1, BMI2 and ADX (SDM vol. 2).
///
/// `sub` counts from `Mnemonic.lzcnt`. The VEX-coded ones carry the second register of the encoding in `DecodedOp.vexRegister`.
extension CPU {
    private enum Kind: UInt16 {
        case lzcnt, tzcnt, adcx, adox, andn, bextr, blsr, blsmsk, blsi, bzhi, pdep, pext, mulx, rorx, sarx, shlx, shrx
    }

    @inline(never) func bitManipulation(_ op: Op) -> Outcome {
        switch op.pointee.size {
        case 1: return bitManipulation(op, as: UInt16.self)
        case 2: return bitManipulation(op, as: UInt32.self)
        default: return bitManipulation(op, as: UInt64.self)
        }
    }

    private func bitManipulation<T: Word>(_ op: Op, as: T.Type) -> Outcome {
        let s = state
        guard let kind = Kind(rawValue: op.pointee.sub) else { return undefinedOpcode() }
        // VEX prefixes exist in protected mode only.
        if kind.rawValue >= Kind.andn.rawValue, s.pointee.usesRealSegments { return undefinedOpcode() }
        let source: T
        if op.pointee.prefixes.contains(.memory) {
            guard let value = s.load(op, as: T.self) else { return .fault }
            source = value
        } else {
            source = s.register(op.pointee.rm, as: T.self)
        }
        let other = s.register(op.pointee.vexRegister, as: T.self)
        let destination = op.pointee.reg
        switch kind {
        case .lzcnt: count(destination, source.leadingZeroBitCount, of: source)
        case .tzcnt: count(destination, source.trailingZeroBitCount, of: source)
        case .adcx: addCarry(destination, source, RFLAGS.cf)
        case .adox: addCarry(destination, source, RFLAGS.of)
        case .andn: result(destination, ~other & source, carry: false)
        case .bextr:
            let start = Int(other & 0xFF), length = Int(other >> 8 & 0xFF)
            let shifted = start < T.bitWidth ? source >> T(start) : 0
            result(destination, length < T.bitWidth ? shifted & (1 << T(length) &- 1) : shifted, carry: false)
        // The destination of these three is the VEX register.
        case .blsr: result(op.pointee.vexRegister, source & (source &- 1), carry: source == 0)
        case .blsmsk: result(op.pointee.vexRegister, source ^ (source &- 1), carry: source == 0)
        case .blsi: result(op.pointee.vexRegister, source & (0 &- source), carry: source != 0)
        case .bzhi:
            let index = Int(other & 0xFF)
            result(
                destination, index < T.bitWidth ? source & (1 << T(index) &- 1) : source, carry: index >= T.bitWidth)
        case .pdep: s.setRegister(destination, Self.deposit(other, source))
        case .pext: s.setRegister(destination, Self.extract(other, source))
        case .mulx:
            let product = source.multipliedFullWidth(by: s.register(UInt8(Register.rdx), as: T.self))
            // The upper half wins where both go to one register.
            s.setRegister(op.pointee.vexRegister, T(truncatingIfNeeded: product.low))
            s.setRegister(destination, product.high)
        case .rorx:
            let count = T(truncatingIfNeeded: op.pointee.vexImmediate) & T(T.bitWidth - 1)
            s.setRegister(destination, source >> count | source << ((T(T.bitWidth) - count) & T(T.bitWidth - 1)))
        case .sarx:
            s.setRegister(destination, T(truncatingIfNeeded: signed(source) >> Int64(other & T(T.bitWidth - 1))))
        case .shlx: s.setRegister(destination, source << (other & T(T.bitWidth - 1)))
        case .shrx: s.setRegister(destination, source >> (other & T(T.bitWidth - 1)))
        }
        return .next
    }

    private func signed<T: Word>(_ value: T) -> Int64 {
        let shift = Int64(64 - T.bitWidth)
        return (Int64(truncatingIfNeeded: value) << shift) >> shift
    }

    /// LZCNT and TZCNT: CF tells a source of 0, ZF a result of 0. The other flags, undefined by the manual, stay.
    private func count<T: Word>(_ destination: UInt8, _ zeros: Int, of source: T) {
        state.setRegister(destination, T(zeros))
        var flags = state.arithmeticFlags & ~(RFLAGS.cf | RFLAGS.zf)
        if source == 0 { flags |= RFLAGS.cf }
        if zeros == 0 { flags |= RFLAGS.zf }
        state.setArithmeticFlags(flags)
    }

    /// ADCX and ADOX: each with a carry of its own, all other flags as they were.
    private func addCarry<T: Word>(_ destination: UInt8, _ source: T, _ flag: UInt32) {
        let flags = state.arithmeticFlags
        let (half, first) = state.register(destination, as: T.self).addingReportingOverflow(source)
        let (sum, second) = half.addingReportingOverflow(flags & flag != 0 ? 1 : 0)
        state.setRegister(destination, sum)
        state.setArithmeticFlags(first || second ? flags | flag : flags & ~flag)
    }

    /// SF and ZF by the result, CF as given, OF clear.
    private func result<T: Word>(_ destination: UInt8, _ value: T, carry: Bool) {
        state.setRegister(destination, value)
        var flags: UInt32 = carry ? RFLAGS.cf : 0
        if value == 0 { flags |= RFLAGS.zf }
        if value >> T(T.bitWidth - 1) != 0 { flags |= RFLAGS.sf }
        state.setArithmeticFlags(flags)
    }

    /// The low bits of `value` go to the set bits of `mask`, in order.
    private static func deposit<T: Word>(_ value: T, _ mask: T) -> T {
        var (rest, source, result) = (mask, value, T(0))
        while rest != 0 {
            let lowest = rest & (0 &- rest)
            if source & 1 != 0 { result |= lowest }
            source >>= 1
            rest &= rest &- 1
        }
        return result
    }

    /// The bits of `value` at the set bits of `mask` come together at the bottom.
    private static func extract<T: Word>(_ value: T, _ mask: T) -> T {
        var (rest, result, place) = (mask, T(0), T(1))
        while rest != 0 {
            if value & rest & (0 &- rest) != 0 { result |= place }
            place <<= 1
            rest &= rest &- 1
        }
        return result
    }
}
