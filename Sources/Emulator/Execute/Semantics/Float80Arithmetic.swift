/// Addition, multiplication, division, square root and rounding of numbers taken apart: exact, then rounded once
/// (IEEE 754; SDM vol. 1, 4.8.4 and 4.9). NaN operands are the caller's affair, as x87 and SSE differ there.
enum FloatArithmetic {
    // MARK: Rounding

    /// Rounds `(high, low) / 2^127 * 2^exponent`, bit 63 of `high` set, to a format.
    @inline(__always)
    static func round(
        sign: Bool, exponent: Int32, high: UInt64, low: UInt64, _ format: FloatFormat, _ context: inout FloatContext
    ) -> FloatParts {
        let extra = UInt64(truncatingIfNeeded: 64 &- format.precision)
        let fraction = extra == 0 ? low : high &<< (64 &- extra) | (low != 0 ? 1 : 0)
        if exponent < format.minExponent {
            return roundTiny(sign: sign, exponent: exponent, high: high, low: low, format, &context)
        }
        let unit: UInt64 = 1 &<< extra
        var kept = high & (0 &- unit)
        var exponent = exponent
        if fraction != 0 {
            context.flags |= FloatFlag.inexact
            if context.roundsUp(sign: sign, fraction: fraction, odd: kept & unit != 0) {
                context.roundedUp = true
                kept = kept &+ unit
                if kept == 0 {
                    kept = 1 << 63
                    exponent &+= 1
                }
            }
        }
        if exponent > format.maxExponent {
            return overflow(sign: sign, exponent: exponent, significand: kept, format, &context)
        }
        return FloatParts(sign: sign, exponent: exponent, significand: kept)
    }

    /// What an unmasked overflow or underflow adds to or takes from the exponent, so that a handler can see the result.
    private static let wrap: Int32 = 24576

    @inline(never)
    private static func overflow(
        sign: Bool, exponent: Int32, significand: UInt64, _ format: FloatFormat, _ context: inout FloatContext
    ) -> FloatParts {
        context.flags |= FloatFlag.overflow
        guard context.isMasked(FloatFlag.overflow) else {
            let wrapped = exponent - wrap
            // Only FSCALE goes further than the bias can bring back: infinity then.
            if wrapped > format.maxExponent {
                context.flags |= FloatFlag.inexact
                context.roundedUp = true
                return .infinity(sign: sign)
            }
            return FloatParts(sign: sign, exponent: wrapped, significand: significand)
        }
        context.flags |= FloatFlag.inexact
        let toInfinity = context.rounding == 0 || context.rounding == (sign ? 1 : 2)
        context.roundedUp = toInfinity
        if toInfinity { return .infinity(sign: sign) }
        let unit: UInt64 = 1 << UInt64(64 - format.precision)
        return FloatParts(sign: sign, exponent: format.maxExponent, significand: 0 &- unit)
    }

    /// Below the normal range: underflow, gradually. Tininess is found after rounding.
    @inline(never)
    private static func roundTiny(
        sign: Bool, exponent: Int32, high: UInt64, low: UInt64, _ format: FloatFormat, _ context: inout FloatContext
    ) -> FloatParts {
        var unbounded = context
        let wide = FloatFormat(precision: format.precision, minExponent: Int32.min / 2, maxExponent: Int32.max / 2)
        let ideal = round(sign: sign, exponent: exponent, high: high, low: low, wide, &unbounded)
        let isTiny = ideal.exponent < format.minExponent
        if isTiny && !context.isMasked(FloatFlag.underflow) {
            context = unbounded
            context.flags |= FloatFlag.underflow
            var result = ideal
            result.exponent += wrap
            if result.exponent < format.minExponent {
                context.flags |= FloatFlag.inexact
                return .zero(sign: sign)
            }
            return result
        }
        if isTiny && context.flushToZero {
            context.flags |= FloatFlag.underflow | FloatFlag.inexact
            return .zero(sign: sign)
        }
        let (shiftedHigh, shiftedLow) = shiftRight(high, low, by: Int(format.minExponent) - Int(exponent))
        let extra = UInt64(64 - format.precision)
        let unit: UInt64 = 1 << extra
        let fraction = extra == 0 ? shiftedLow : shiftedHigh << (64 - extra) | (shiftedLow != 0 ? 1 : 0)
        var kept = shiftedHigh & (0 &- unit)
        if fraction != 0 {
            context.flags |= FloatFlag.inexact | (isTiny ? FloatFlag.underflow : 0)
            if context.roundsUp(sign: sign, fraction: fraction, odd: kept & unit != 0) {
                context.roundedUp = true
                // No carry: the shift left at least one bit free.
                kept = kept &+ unit
            }
        }
        if kept == 0 { return .zero(sign: sign) }
        let shift = kept.leadingZeroBitCount
        return FloatParts(
            sign: sign, exponent: format.minExponent - Int32(shift), significand: kept << UInt64(shift))
    }

    /// Shifts 128 bits right; what falls out sticks to bit 0.
    @inline(__always)
    static func shiftRight(_ high: UInt64, _ low: UInt64, by count: Int) -> (UInt64, UInt64) {
        let n = UInt64(truncatingIfNeeded: count)
        if count == 0 { return (high, low) }
        if count < 64 {
            let sticky: UInt64 = low &<< (64 &- n) != 0 ? 1 : 0
            return (high &>> n, low &>> n | high &<< (64 &- n) | sticky)
        }
        if count == 64 { return (0, high | (low != 0 ? 1 : 0)) }
        if count < 128 {
            let sticky: UInt64 = low != 0 || high &<< (128 &- n) != 0 ? 1 : 0
            return (0, high &>> (n &- 64) | sticky)
        }
        return (0, high | low != 0 ? 1 : 0)
    }

    // MARK: Operations

    @inline(__always)
    private static func noteDenormals(_ a: FloatParts, _ b: FloatParts, _ context: inout FloatContext) {
        if a.isDenormal || b.isDenormal { context.flags |= FloatFlag.denormal }
    }

    static func invalid(_ context: inout FloatContext) -> FloatParts {
        context.flags |= FloatFlag.invalid
        return .indefinite
    }

    /// a + b, or a - b with `b.sign` flipped by the caller.
    static func add(
        _ a: FloatParts, _ b: FloatParts, _ format: FloatFormat, _ context: inout FloatContext
    ) -> FloatParts {
        guard a.isFiniteNumber && b.isFiniteNumber else { return addSpecial(a, b, format, &context) }
        noteDenormals(a, b, &context)
        let aIsLarger = a.exponent > b.exponent || (a.exponent == b.exponent && a.significand >= b.significand)
        let large = aIsLarger ? a : b
        let small = aIsLarger ? b : a
        // One bit of room at the top.
        let (smallHigh, smallLow) = shiftRight(
            small.significand &>> 1, small.significand &<< 63, by: Int(large.exponent &- small.exponent))
        let largeHigh = large.significand &>> 1
        let largeLow = large.significand &<< 63
        if a.sign == b.sign {
            let (low, carry) = largeLow.addingReportingOverflow(smallLow)
            let high = largeHigh &+ smallHigh &+ (carry ? 1 : 0)
            if high >> 63 != 0 {
                return round(sign: a.sign, exponent: large.exponent &+ 1, high: high, low: low, format, &context)
            }
            return round(
                sign: a.sign, exponent: large.exponent, high: high &<< 1 | low &>> 63, low: low &<< 1, format, &context)
        }
        let (low, borrow) = largeLow.subtractingReportingOverflow(smallLow)
        let high = largeHigh &- smallHigh &- (borrow ? 1 : 0)
        if high | low == 0 { return .zero(sign: context.rounding == 1) }
        var exponent = large.exponent &+ 1
        var top = high
        var bottom = low
        if top == 0 {
            top = bottom
            bottom = 0
            exponent &-= 64
        }
        let shift = UInt64(truncatingIfNeeded: top.leadingZeroBitCount)
        if shift != 0 {
            top = top &<< shift | bottom &>> (64 &- shift)
            bottom = bottom &<< shift
        }
        return round(
            sign: large.sign, exponent: exponent &- Int32(truncatingIfNeeded: shift), high: top, low: bottom, format,
            &context)
    }

    @inline(never)
    private static func addSpecial(
        _ a: FloatParts, _ b: FloatParts, _ format: FloatFormat, _ context: inout FloatContext
    ) -> FloatParts {
        if a.isInfinite && b.isInfinite && a.sign != b.sign { return invalid(&context) }
        noteDenormals(a, b, &context)
        if a.isInfinite { return a }
        if b.isInfinite { return b }
        if a.isZero && b.isZero { return .zero(sign: a.sign == b.sign ? a.sign : context.rounding == 1) }
        return renormalize(a.isZero ? b : a, format, &context)
    }

    /// Rounds one finite number to a format; zeros and infinities pass.
    static func renormalize(
        _ value: FloatParts, _ format: FloatFormat, _ context: inout FloatContext
    ) -> FloatParts {
        guard value.isFiniteNumber else { return value }
        return round(
            sign: value.sign, exponent: value.exponent, high: value.significand, low: 0, format, &context)
    }

    static func multiply(
        _ a: FloatParts, _ b: FloatParts, _ format: FloatFormat, _ context: inout FloatContext
    ) -> FloatParts {
        let sign = a.sign != b.sign
        guard a.isFiniteNumber && b.isFiniteNumber else {
            if (a.isZero && b.isInfinite) || (a.isInfinite && b.isZero) { return invalid(&context) }
            noteDenormals(a, b, &context)
            return a.isInfinite || b.isInfinite ? .infinity(sign: sign) : .zero(sign: sign)
        }
        noteDenormals(a, b, &context)
        let product = a.significand.multipliedFullWidth(by: b.significand)
        let exponent = a.exponent &+ b.exponent
        if product.high >> 63 != 0 {
            return round(
                sign: sign, exponent: exponent &+ 1, high: product.high, low: product.low, format, &context)
        }
        return round(
            sign: sign, exponent: exponent, high: product.high &<< 1 | product.low &>> 63, low: product.low &<< 1,
            format, &context)
    }

    static func divide(
        _ a: FloatParts, _ b: FloatParts, _ format: FloatFormat, _ context: inout FloatContext
    ) -> FloatParts {
        let sign = a.sign != b.sign
        guard a.isFiniteNumber && b.isFiniteNumber else {
            if (a.isZero && b.isZero) || (a.isInfinite && b.isInfinite) { return invalid(&context) }
            if b.isZero && a.isFiniteNumber {
                // Found before the denormal, which then is not reported.
                context.flags |= FloatFlag.zeroDivide
                return .infinity(sign: sign)
            }
            noteDenormals(a, b, &context)
            return a.isInfinite ? .infinity(sign: sign) : .zero(sign: sign)
        }
        noteDenormals(a, b, &context)
        var exponent = a.exponent &- b.exponent
        let (quotient, remainder): (UInt64, UInt64)
        if a.significand < b.significand {
            exponent &-= 1
            (quotient, remainder) = b.significand.dividingFullWidth((a.significand, 0))
        } else {
            (quotient, remainder) = b.significand.dividingFullWidth((a.significand &>> 1, a.significand &<< 63))
        }
        return round(
            sign: sign, exponent: exponent, high: quotient, low: tail(remainder, of: b.significand), format, &context)
    }

    /// A remainder as a fraction: 0, below, at or above one half of the divisor.
    @inline(__always)
    private static func tail(_ remainder: UInt64, of divisor: UInt64) -> UInt64 {
        if remainder == 0 { return 0 }
        let rest = divisor &- remainder
        return remainder < rest ? 1 : remainder == rest ? 1 << 63 : 1 << 63 | 1
    }

    static func squareRoot(
        _ a: FloatParts, _ format: FloatFormat, _ context: inout FloatContext
    ) -> FloatParts {
        if a.isZero { return a }
        if a.sign { return invalid(&context) }
        if a.isInfinite { return a }
        if a.isDenormal { context.flags |= FloatFlag.denormal }
        // Radicand of 127 or 128 bits with an even exponent, so that the root has 64 bits.
        let isOdd = a.exponent & 1 != 0
        let high = isOdd ? a.significand : a.significand &>> 1
        let low = isOdd ? 0 : a.significand &<< 63
        let radicand = UInt128(high) << 64 | UInt128(low)
        var root = rootEstimate(high, low)
        var square = UInt128(root) * UInt128(root)
        while square > radicand {
            square -= UInt128(root) * 2 - 1
            root &-= 1
        }
        while radicand - square > UInt128(root) * 2 {
            root &+= 1
            square = UInt128(root) * UInt128(root)
        }
        let remainder = radicand - square
        // (root + 1/2)^2 = square + root + 1/4: an exact half cannot be.
        let fraction: UInt64 = remainder == 0 ? 0 : remainder > UInt128(root) ? 1 << 63 | 1 : 1
        return round(
            sign: false, exponent: (isOdd ? a.exponent &- 1 : a.exponent) / 2, high: root, low: fraction, format,
            &context)
    }

    /// The square root of 128 bits, off by a few units at most.
    @inline(__always)
    private static func rootEstimate(_ high: UInt64, _ low: UInt64) -> UInt64 {
        let approximate = Double(high).squareRoot() * 4294967296.0
        let first = approximate >= 18446744073709549568.0 ? UInt64.max : UInt64(approximate)
        if first <= high { return UInt64.max }
        // One step of Newton: (x + r/x) / 2.
        let quotient = first.dividingFullWidth((high, low)).quotient
        let (sum, carry) = first.addingReportingOverflow(quotient)
        return sum >> 1 | (carry ? 1 << 63 : 0)
    }

    // MARK: Comparison

    /// -1, 0 or 1 for numbers that are not NaN.
    @inline(__always)
    static func compare(_ a: FloatParts, _ b: FloatParts) -> Int {
        if a.isZero && b.isZero { return 0 }
        if a.isZero { return b.sign ? 1 : -1 }
        if b.isZero { return a.sign ? -1 : 1 }
        if a.sign != b.sign { return a.sign ? -1 : 1 }
        let larger = a.sign ? -1 : 1
        if a.isInfinite || b.isInfinite {
            return a.isInfinite && b.isInfinite ? 0 : a.isInfinite ? larger : -larger
        }
        if a.exponent != b.exponent { return a.exponent > b.exponent ? larger : -larger }
        if a.significand != b.significand { return a.significand > b.significand ? larger : -larger }
        return 0
    }

    // MARK: Integers

    /// An integer taken apart.
    @inline(__always)
    static func fromInteger(_ value: Int64) -> FloatParts {
        if value == 0 { return .zero(sign: false) }
        let magnitude = value.magnitude
        let shift = magnitude.leadingZeroBitCount
        return FloatParts(
            sign: value < 0, exponent: Int32(63 - shift), significand: magnitude &<< UInt64(shift))
    }

    /// Rounds to an integer of `bits` bits, two's complement; nil when it does not fit (or is no number): the caller
    /// makes that invalid. Inexact is noted.
    static func toInteger(_ value: FloatParts, bits: Int, _ context: inout FloatContext) -> Int64? {
        if value.isZero { return 0 }
        guard value.isFiniteNumber, value.exponent < 64 else { return nil }
        let (high, low) = shiftRight(value.significand, 0, by: Int(63 - value.exponent))
        var magnitude = high
        let up = low != 0 && context.roundsUp(sign: value.sign, fraction: low, odd: high & 1 != 0)
        if up {
            let (sum, carry) = magnitude.addingReportingOverflow(1)
            if carry { return nil }
            magnitude = sum
        }
        let limit: UInt64 = 1 << UInt64(bits - 1)
        if magnitude > (value.sign ? limit : limit - 1) { return nil }
        if low != 0 {
            context.flags |= FloatFlag.inexact
            context.roundedUp = up
        }
        return Int64(truncatingIfNeeded: value.sign ? 0 &- magnitude : magnitude)
    }

    /// Rounds to an integral value of the same format.
    static func roundToIntegral(_ value: FloatParts, _ context: inout FloatContext) -> FloatParts {
        guard value.isFiniteNumber, value.exponent < 63 else { return value }
        let (high, low) = shiftRight(value.significand, 0, by: Int(63 - value.exponent))
        if low == 0 { return value }
        context.flags |= FloatFlag.inexact
        var magnitude = high
        if context.roundsUp(sign: value.sign, fraction: low, odd: high & 1 != 0) {
            context.roundedUp = true
            magnitude += 1
        }
        if magnitude == 0 { return .zero(sign: value.sign) }
        let shift = magnitude.leadingZeroBitCount
        return FloatParts(
            sign: value.sign, exponent: Int32(63 - shift), significand: magnitude << UInt64(shift))
    }
}
