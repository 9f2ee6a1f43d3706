/// 128 bits with the lane views that instructions need.
struct V128 {
    var q: SIMD2<UInt64>

    @inline(__always) init(low: UInt64, high: UInt64) { q = SIMD2(low, high) }
    @inline(__always) init(_ v: SIMD2<UInt64>) { q = v }
    // SAFETY (all below): vectors of the same 16 bytes; every bit pattern is a value of every lane type.
    @inline(__always) init<V: SIMD>(_ v: V) { q = unsafeBitCast(v, to: SIMD2<UInt64>.self) }
    @inline(__always) var u8: SIMD16<UInt8> { unsafeBitCast(q, to: SIMD16<UInt8>.self) }
    @inline(__always) var i8: SIMD16<Int8> { unsafeBitCast(q, to: SIMD16<Int8>.self) }
    @inline(__always) var u16: SIMD8<UInt16> { unsafeBitCast(q, to: SIMD8<UInt16>.self) }
    @inline(__always) var i16: SIMD8<Int16> { unsafeBitCast(q, to: SIMD8<Int16>.self) }
    @inline(__always) var u32: SIMD4<UInt32> { unsafeBitCast(q, to: SIMD4<UInt32>.self) }
    @inline(__always) var i32: SIMD4<Int32> { unsafeBitCast(q, to: SIMD4<Int32>.self) }
    @inline(__always) var i64: SIMD2<Int64> { unsafeBitCast(q, to: SIMD2<Int64>.self) }
    @inline(__always) var low: UInt64 { q[0] }
    @inline(__always) var high: UInt64 { q[1] }
}

/// Packed integer operations as pure functions; MMX uses them on the low half. Lane widths are in the names.
enum Packed {
    // MARK: Saturation

    @inline(__always) static func addUnsigned<V: SIMD>(_ a: V, _ b: V) -> V
    where V.Scalar: FixedWidthInteger & UnsignedInteger {
        let sum = a &+ b
        return sum.replacing(with: V.Scalar.max, where: sum .< a)
    }
    @inline(__always) static func subUnsigned<V: SIMD>(_ a: V, _ b: V) -> V
    where V.Scalar: FixedWidthInteger & UnsignedInteger {
        (a &- b).replacing(with: 0, where: a .< b)
    }
    @inline(__always) static func addSigned<V: SIMD>(_ a: V, _ b: V) -> V
    where V.Scalar: FixedWidthInteger & SignedInteger {
        var r = a
        for i in a.indices {
            let (sum, overflow) = a[i].addingReportingOverflow(b[i])
            r[i] = overflow ? (a[i] < 0 ? .min : .max) : sum
        }
        return r
    }
    @inline(__always) static func subSigned<V: SIMD>(_ a: V, _ b: V) -> V
    where V.Scalar: FixedWidthInteger & SignedInteger {
        var r = a
        for i in a.indices {
            let (difference, overflow) = a[i].subtractingReportingOverflow(b[i])
            r[i] = overflow ? (a[i] < 0 ? .min : .max) : difference
        }
        return r
    }

    // MARK: Multiplication

    @inline(__always) static func mulHighSigned(_ a: V128, _ b: V128) -> V128 {
        let product = SIMD8<Int32>(truncatingIfNeeded: a.i16) &* SIMD8<Int32>(truncatingIfNeeded: b.i16)
        return V128(SIMD8<Int16>(truncatingIfNeeded: product &>> 16))
    }
    @inline(__always) static func mulHighUnsigned(_ a: V128, _ b: V128) -> V128 {
        let product = SIMD8<UInt32>(truncatingIfNeeded: a.u16) &* SIMD8<UInt32>(truncatingIfNeeded: b.u16)
        return V128(SIMD8<UInt16>(truncatingIfNeeded: product &>> 16))
    }
    /// PMULHRSW.
    @inline(__always) static func mulRounded(_ a: V128, _ b: V128) -> V128 {
        let product = SIMD8<Int32>(truncatingIfNeeded: a.i16) &* SIMD8<Int32>(truncatingIfNeeded: b.i16)
        return V128(SIMD8<Int16>(truncatingIfNeeded: ((product &>> 14) &+ 1) &>> 1))
    }
    /// PMADDWD.
    @inline(__always) static func multiplyAdd(_ a: V128, _ b: V128) -> V128 {
        let product = SIMD8<Int32>(truncatingIfNeeded: a.i16) &* SIMD8<Int32>(truncatingIfNeeded: b.i16)
        return V128(product.evenHalf &+ product.oddHalf)
    }
    /// PMADDUBSW: unsigned bytes of the first, signed of the second.
    static func multiplyAddBytes(_ a: V128, _ b: V128) -> V128 {
        let product = SIMD16<Int32>(truncatingIfNeeded: a.u8) &* SIMD16<Int32>(truncatingIfNeeded: b.i8)
        let sum = product.evenHalf &+ product.oddHalf
        return V128(SIMD8<Int16>(clamping: sum))
    }
    @inline(__always) static func multiplyEvenUnsigned(_ a: V128, _ b: V128) -> V128 {
        V128((a.q & 0xFFFF_FFFF) &* (b.q & 0xFFFF_FFFF))
    }
    @inline(__always) static func multiplyEvenSigned(_ a: V128, _ b: V128) -> V128 {
        V128(((a.i64 &<< 32) &>> 32) &* ((b.i64 &<< 32) &>> 32))
    }
    @inline(__always) static func multiplyLow32(_ a: V128, _ b: V128) -> V128 { V128(a.u32 &* b.u32) }

    // MARK: Bytes

    @inline(__always) static func average8(_ a: V128, _ b: V128) -> V128 {
        V128((a.u8 | b.u8) &- (((a.u8 ^ b.u8) & 0xFE) &>> 1))
    }
    @inline(__always) static func average16(_ a: V128, _ b: V128) -> V128 {
        V128((a.u16 | b.u16) &- ((a.u16 ^ b.u16) &>> 1))
    }
    /// PSADBW.
    static func sumOfDifferences(_ a: V128, _ b: V128) -> V128 {
        let x = a.u8, y = b.u8
        let difference = SIMD16<UInt16>(truncatingIfNeeded: pointwiseMax(x, y) &- pointwiseMin(x, y))
        return V128(
            low: UInt64(difference.lowHalf.wrappedSum()), high: UInt64(difference.highHalf.wrappedSum()))
    }
    /// MPSADBW: eight sums over four bytes at sliding positions.
    static func multipleSums(_ a: V128, _ b: V128, _ control: UInt8) -> V128 {
        let first = Int(control >> 2 & 1) * 4, second = Int(control & 3) * 4
        let x = a.u8, y = b.u8
        var r = SIMD8<UInt16>()
        for i in 0..<8 {
            var sum: UInt16 = 0
            for j in 0..<4 {
                let p = Int(x[first + i + j]), q = Int(y[second + j])
                sum += UInt16(p > q ? p - q : q - p)
            }
            r[i] = sum
        }
        return V128(r)
    }
    /// The top bit of each byte of a quadword.
    @inline(__always) static func byteSigns(_ q: UInt64) -> UInt64 {
        ((q & 0x8080_8080_8080_8080) &>> 7 &* 0x0102_0408_1020_4080) &>> 56
    }
    static func minimumPosition(_ a: V128) -> V128 {
        let words = a.u16
        var at = 0
        for i in 1..<8 where words[i] < words[at] { at = i }
        return V128(low: UInt64(words[at]) | UInt64(at) << 16, high: 0)
    }

    // MARK: Horizontal

    @inline(__always) private static func evens16(_ a: V128, _ b: V128) -> SIMD8<Int16> {
        SIMD8(lowHalf: a.i16.evenHalf, highHalf: b.i16.evenHalf)
    }
    @inline(__always) private static func odds16(_ a: V128, _ b: V128) -> SIMD8<Int16> {
        SIMD8(lowHalf: a.i16.oddHalf, highHalf: b.i16.oddHalf)
    }
    static func horizontalAdd16(_ a: V128, _ b: V128) -> V128 { V128(evens16(a, b) &+ odds16(a, b)) }
    static func horizontalSub16(_ a: V128, _ b: V128) -> V128 { V128(evens16(a, b) &- odds16(a, b)) }
    static func horizontalAddSaturated(_ a: V128, _ b: V128) -> V128 { V128(addSigned(evens16(a, b), odds16(a, b))) }
    static func horizontalSubSaturated(_ a: V128, _ b: V128) -> V128 { V128(subSigned(evens16(a, b), odds16(a, b))) }
    static func horizontalAdd32(_ a: V128, _ b: V128) -> V128 {
        V128(
            SIMD4(lowHalf: a.i32.evenHalf, highHalf: b.i32.evenHalf)
                &+ SIMD4(lowHalf: a.i32.oddHalf, highHalf: b.i32.oddHalf))
    }
    static func horizontalSub32(_ a: V128, _ b: V128) -> V128 {
        V128(
            SIMD4(lowHalf: a.i32.evenHalf, highHalf: b.i32.evenHalf)
                &- SIMD4(lowHalf: a.i32.oddHalf, highHalf: b.i32.oddHalf))
    }

    // MARK: Sign and magnitude

    @inline(__always) static func sign<V: SIMD>(_ a: V, _ b: V) -> V where V.Scalar: FixedWidthInteger & SignedInteger {
        (V.zero &- a).replacing(with: a, where: b .>= 0).replacing(with: 0, where: b .== 0)
    }
    @inline(__always) static func absolute<V: SIMD>(_ a: V) -> V where V.Scalar: FixedWidthInteger & SignedInteger {
        a.replacing(with: V.zero &- a, where: a .< 0)
    }

    // MARK: Compares: all ones or all zeros in each lane

    @inline(__always) static func ones<V: SIMD>(_ type: V.Type, where mask: SIMDMask<V.MaskStorage>) -> V128
    where V.Scalar: FixedWidthInteger {
        V128(V.zero.replacing(with: 0 &- 1, where: mask))
    }

    // MARK: Packs and unpacks

    static func packSigned16(_ a: V128, _ b: V128) -> V128 {
        V128(SIMD16(lowHalf: SIMD8<Int8>(clamping: a.i16), highHalf: SIMD8<Int8>(clamping: b.i16)))
    }
    static func packUnsigned16(_ a: V128, _ b: V128) -> V128 {
        V128(SIMD16(lowHalf: SIMD8<UInt8>(clamping: a.i16), highHalf: SIMD8<UInt8>(clamping: b.i16)))
    }
    static func packSigned32(_ a: V128, _ b: V128) -> V128 {
        V128(SIMD8(lowHalf: SIMD4<Int16>(clamping: a.i32), highHalf: SIMD4<Int16>(clamping: b.i32)))
    }
    static func packUnsigned32(_ a: V128, _ b: V128) -> V128 {
        V128(SIMD8(lowHalf: SIMD4<UInt16>(clamping: a.i32), highHalf: SIMD4<UInt16>(clamping: b.i32)))
    }
    @inline(__always) static func interleave8(_ a: UInt64, _ b: UInt64) -> V128 {
        let x = V128(low: a, high: 0).u8.lowHalf, y = V128(low: b, high: 0).u8.lowHalf
        var r = SIMD16<UInt8>()
        r.evenHalf = x
        r.oddHalf = y
        return V128(r)
    }
    @inline(__always) static func interleave16(_ a: UInt64, _ b: UInt64) -> V128 {
        var r = SIMD8<UInt16>()
        r.evenHalf = V128(low: a, high: 0).u16.lowHalf
        r.oddHalf = V128(low: b, high: 0).u16.lowHalf
        return V128(r)
    }
    @inline(__always) static func interleave32(_ a: UInt64, _ b: UInt64) -> V128 {
        V128(low: a & 0xFFFF_FFFF | b &<< 32, high: a &>> 32 | b & 0xFFFF_FFFF_0000_0000)
    }

    // MARK: Shuffles

    static func shuffleBytes(_ a: V128, _ b: V128, mask: UInt64) -> V128 {
        let low = a.low, high = a.high
        /// Eight bytes picked by eight control bytes.
        @inline(__always) func pick(_ control: UInt64) -> UInt64 {
            var result: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                let index = control &>> shift
                let byte = (index & mask & 8 != 0 ? high : low) &>> ((index & 7) &* 8) & 0xFF
                result |= (index & 0x80 != 0 ? 0 : byte) &<< shift
            }
            return result
        }
        return V128(low: pick(b.low), high: pick(b.high))
    }
    @inline(__always) static func shuffle32(_ low: V128, _ high: V128, _ control: UInt8) -> V128 {
        let a = low.u32, b = high.u32
        return V128(
            SIMD4(
                a[Int(control & 3)], a[Int(control >> 2 & 3)], b[Int(control >> 4 & 3)], b[Int(control >> 6 & 3)]))
    }
    /// Four words of a quadword.
    @inline(__always) static func shuffle16(_ a: UInt64, _ control: UInt8) -> UInt64 {
        func word(_ i: UInt8) -> UInt64 { a &>> (UInt64(i & 3) &* 16) & 0xFFFF }
        return word(control) | word(control >> 2) &<< 16 | word(control >> 4) &<< 32 | word(control >> 6) &<< 48
    }
    /// 32 bytes shifted right by bytes.
    static func align(_ high: V128, _ low: V128, _ count: UInt8) -> V128 {
        shiftRightBytes(low, count) | shiftLeftBytes(high, 16 &- count, or: count)
    }
    private static func shiftLeftBytes(_ a: V128, _ count: UInt8, or right: UInt8) -> V128 {
        right <= 16 ? shiftLeftBytes(a, count) : shiftRightBytes(a, right &- 16)
    }
    static func shiftRightBytes(_ a: V128, _ count: UInt8) -> V128 {
        if count > 15 { return V128(low: 0, high: 0) }
        let n = UInt64(count) &* 8
        if n >= 64 { return V128(low: a.high >> (n - 64), high: 0) }
        return V128(low: a.low >> n | a.high << (64 - n), high: a.high >> n)
    }
    static func shiftLeftBytes(_ a: V128, _ count: UInt8) -> V128 {
        if count > 15 { return V128(low: 0, high: 0) }
        let n = UInt64(count) &* 8
        if n >= 64 { return V128(low: 0, high: a.low << (n - 64)) }
        return V128(low: a.low << n, high: a.high << n | a.low >> (64 - n))
    }

    // MARK: Shifts: counts at or above the lane's width give zeros or signs

    @inline(__always) static func shiftRight16(_ a: V128, _ n: UInt64) -> V128 {
        n > 15 ? V128(low: 0, high: 0) : V128(a.u16 &>> UInt16(truncatingIfNeeded: n))
    }
    @inline(__always) static func shiftRight32(_ a: V128, _ n: UInt64) -> V128 {
        n > 31 ? V128(low: 0, high: 0) : V128(a.u32 &>> UInt32(truncatingIfNeeded: n))
    }
    @inline(__always) static func shiftRight64(_ a: V128, _ n: UInt64) -> V128 {
        n > 63 ? V128(low: 0, high: 0) : V128(a.q &>> n)
    }
    @inline(__always) static func shiftLeft16(_ a: V128, _ n: UInt64) -> V128 {
        n > 15 ? V128(low: 0, high: 0) : V128(a.u16 &<< UInt16(truncatingIfNeeded: n))
    }
    @inline(__always) static func shiftLeft32(_ a: V128, _ n: UInt64) -> V128 {
        n > 31 ? V128(low: 0, high: 0) : V128(a.u32 &<< UInt32(truncatingIfNeeded: n))
    }
    @inline(__always) static func shiftLeft64(_ a: V128, _ n: UInt64) -> V128 {
        n > 63 ? V128(low: 0, high: 0) : V128(a.q &<< n)
    }
    @inline(__always) static func shiftSigned16(_ a: V128, _ n: UInt64) -> V128 {
        V128(a.i16 &>> Int16(truncatingIfNeeded: min(n, 15)))
    }
    @inline(__always) static func shiftSigned32(_ a: V128, _ n: UInt64) -> V128 {
        V128(a.i32 &>> Int32(truncatingIfNeeded: min(n, 31)))
    }
}

extension V128 {
    @inline(__always) static func | (a: V128, b: V128) -> V128 { V128(a.q | b.q) }
}
