/// The six arithmetic flags, kept as the last result and a word of carries instead of as bits, so that an addition
/// costs two stores and only a reader pays for the rest.
///
/// `flagResult` is the result sign-extended to 64 bits. `flagAux`:
///
/// | bit | meaning |
/// | --- | --- |
/// | 63 | CF: carry or borrow out of the top bit |
/// | 62 | carry into the top bit; OF = bit 63 ^ bit 62 |
/// | 8–15 | XORed into the result's low byte before parity is taken |
/// | 3 | AF: carry out of bit 3 |
/// | 0 | XORed into the sign of the result |
///
/// Bits 8–15 and 0 are zero except when flags were loaded as bits (POPF, SAHF, IRET), where ZF with SF or PF need
/// not belong to any result.
extension UnsafeMutablePointer where Pointee == CPUState {
    @inline(__always) var cf: Bool { Int64(bitPattern: pointee.flagAux) < 0 }
    @inline(__always) var zf: Bool { pointee.flagResult == 0 }
    @inline(__always) var sf: Bool { (pointee.flagResult >> 63) ^ (pointee.flagAux & 1) != 0 }
    @inline(__always) var of: Bool { Int64(bitPattern: pointee.flagAux ^ (pointee.flagAux << 1)) < 0 }
    @inline(__always) var af: Bool { pointee.flagAux & 8 != 0 }
    @inline(__always) var pf: Bool {
        UInt8(truncatingIfNeeded: pointee.flagResult ^ (pointee.flagAux >> 8)).nonzeroBitCount & 1 == 0
    }

    /// A bitwise operation: CF, OF and AF are cleared.
    @inline(__always) func setLogicFlags<T: FixedWidthInteger & UnsignedInteger>(_ result: T) {
        pointee.flagResult = signExtended(result)
        pointee.flagAux = 0
    }

    @inline(__always) func setAddFlags<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T, _ result: T) {
        pointee.flagResult = signExtended(result)
        pointee.flagAux = auxiliary((a & b) | ((a | b) & ~result))
    }

    @inline(__always) func setSubFlags<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ b: T, _ result: T) {
        pointee.flagResult = signExtended(result)
        pointee.flagAux = auxiliary((~a & b) | ((~a | b) & result))
    }

    /// INC and DEC: as addition and subtraction of 1, but CF stays. OF must not change with it, so both bits flip.
    @inline(__always) func setIncFlags<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ result: T) {
        keepCarry { setAddFlags(a, 1, result) }
    }
    @inline(__always) func setDecFlags<T: FixedWidthInteger & UnsignedInteger>(_ a: T, _ result: T) {
        keepCarry { setSubFlags(a, 1, result) }
    }
    @inline(__always) private func keepCarry(_ body: () -> Void) {
        let old = pointee.flagAux
        body()
        if Int64(bitPattern: old ^ pointee.flagAux) < 0 { pointee.flagAux ^= 3 << 62 }
    }

    /// Result with CF and OF given and AF clear: shifts, multiplications.
    @inline(__always) func setFlags<T: FixedWidthInteger & UnsignedInteger>(_ result: T, cf: Bool, of: Bool) {
        pointee.flagResult = signExtended(result)
        pointee.flagAux = Self.carryBits(cf: cf, of: of)
    }

    /// Only CF and OF change: rotates.
    @inline(__always) func setCarryOverflow(cf: Bool, of: Bool) {
        pointee.flagAux = pointee.flagAux & ~(3 << 62) | Self.carryBits(cf: cf, of: of)
    }

    /// Only CF changes: CLC, STC, CMC, BT.
    @inline(__always) func setCarry(_ value: Bool) {
        if cf != value { pointee.flagAux ^= 3 << 62 }
    }

    /// The six flags as RFLAGS bits.
    var arithmeticFlags: UInt32 {
        (cf ? RFLAGS.cf : 0) | (pf ? RFLAGS.pf : 0) | (af ? RFLAGS.af : 0) | (zf ? RFLAGS.zf : 0)
            | (sf ? RFLAGS.sf : 0) | (of ? RFLAGS.of : 0)
    }

    /// Loads the six flags from RFLAGS bits; the other bits of `flags` are ignored.
    func setArithmeticFlags(_ flags: UInt32) {
        let isZero = flags & RFLAGS.zf != 0
        pointee.flagResult = isZero ? 0 : 1
        var aux = Self.carryBits(cf: flags & RFLAGS.cf != 0, of: flags & RFLAGS.of != 0)
        if flags & RFLAGS.af != 0 { aux |= 8 }
        if flags & RFLAGS.sf != 0 { aux |= 1 }
        // A result of 0 has even parity, of 1 odd.
        if (flags & RFLAGS.pf != 0) != isZero { aux |= 1 << 8 }
        pointee.flagAux = aux
    }

    /// The whole of RFLAGS.
    var flags: UInt32 {
        get { pointee.flagsRest | arithmeticFlags | RFLAGS.fixed1 }
        nonmutating set {
            setArithmeticFlags(newValue)
            pointee.flagsRest = newValue & 0x3F_7700
        }
    }

    @inline(__always) private static func carryBits(cf: Bool, of: Bool) -> UInt64 {
        (cf ? 1 << 63 : 0) | (cf != of ? 1 << 62 : 0)
    }
}

/// Sign-extends any unsigned width to 64 bits.
@inline(__always) func signExtended<T: FixedWidthInteger & UnsignedInteger>(_ value: T) -> UInt64 {
    let shift = UInt64(64 &- T.bitWidth)
    return UInt64(bitPattern: Int64(bitPattern: UInt64(truncatingIfNeeded: value) &<< shift) &>> Int64(shift))
}

/// Moves a word of carries of any width into the layout of `flagAux`.
@inline(__always) private func auxiliary<T: FixedWidthInteger & UnsignedInteger>(_ carries: T) -> UInt64 {
    let wide = UInt64(truncatingIfNeeded: carries)
    return (wide &<< UInt64(64 &- T.bitWidth)) & ~0xFFFF | (wide & 8)
}

/// Condition codes in the encoding of Jcc, SETcc and CMOVcc (SDM vol. 1, appendix B).
extension UnsafeMutablePointer where Pointee == CPUState {
    @inline(__always) func condition(_ code: UInt8) -> Bool {
        let positive: Bool
        switch code >> 1 & 7 {
        case 0: positive = of
        case 1: positive = cf
        case 2: positive = zf
        case 3: positive = cf || zf
        case 4: positive = sf
        case 5: positive = pf
        case 6: positive = sf != of
        default: positive = zf || sf != of
        }
        return positive != (code & 1 != 0)
    }
}
