/// Numbers with 128-bit significands, for transcendental functions: truncated, about 126 good bits, no exceptions.
struct WideFloat {
    /// Bit 127 is set, except for zero. The value is `significand / 2^127 * 2^exponent`.
    var significand: UInt128
    var exponent: Int
    var sign: Bool

    static var one: WideFloat { WideFloat(significand: 1 << 127, exponent: 0, sign: false) }
    static var zero: WideFloat { WideFloat(significand: 0, exponent: 0, sign: false) }

    init(significand: UInt128, exponent: Int, sign: Bool) {
        self.significand = significand
        self.exponent = exponent
        self.sign = sign
    }

    init(_ parts: FloatParts) {
        self.init(
            significand: parts.isFiniteNumber ? UInt128(parts.significand) << 64 : 0, exponent: Int(parts.exponent),
            sign: parts.sign)
    }

    init(_ integer: Int) {
        self.init(normalizing: UInt128(integer.magnitude), exponent: 127, sign: integer < 0)
    }

    init(normalizing significand: UInt128, exponent: Int, sign: Bool) {
        let shift = significand == 0 ? 0 : significand.leadingZeroBitCount
        self.init(significand: significand << UInt128(shift), exponent: exponent - shift, sign: sign)
    }

    var isZero: Bool { significand == 0 }
    var negated: WideFloat { WideFloat(significand: significand, exponent: exponent, sign: !sign) }

    static func * (a: WideFloat, b: WideFloat) -> WideFloat {
        if a.isZero || b.isZero { return .zero }
        let high = a.significand.multipliedFullWidth(by: b.significand).high
        let sign = a.sign != b.sign
        return high >> 127 != 0
            ? WideFloat(significand: high, exponent: a.exponent + b.exponent + 1, sign: sign)
            : WideFloat(significand: high << 1, exponent: a.exponent + b.exponent, sign: sign)
    }

    static func / (a: WideFloat, b: WideFloat) -> WideFloat {
        if a.isZero { return .zero }
        let sign = a.sign != b.sign
        // Half the dividend keeps the quotient below 2^128.
        let quotient = b.significand.dividingFullWidth((a.significand >> 1, a.significand << 127)).quotient
        return WideFloat(normalizing: quotient, exponent: a.exponent - b.exponent, sign: sign)
    }

    /// Division by a small integer.
    func divided(by divisor: UInt128) -> WideFloat {
        WideFloat(normalizing: significand / divisor, exponent: exponent, sign: sign)
    }

    static func + (a: WideFloat, b: WideFloat) -> WideFloat {
        if a.isZero { return b }
        if b.isZero { return a }
        let aIsLarger = a.exponent > b.exponent || (a.exponent == b.exponent && a.significand >= b.significand)
        let large = aIsLarger ? a : b, small = aIsLarger ? b : a
        let distance = large.exponent - small.exponent
        if distance > 127 { return large }
        let aligned = small.significand >> UInt128(distance)
        if a.sign != b.sign {
            return WideFloat(
                normalizing: large.significand - aligned, exponent: large.exponent, sign: large.sign)
        }
        let (sum, carry) = large.significand.addingReportingOverflow(aligned)
        if !carry { return WideFloat(significand: sum, exponent: large.exponent, sign: large.sign) }
        return WideFloat(significand: sum >> 1 | 1 << 127, exponent: large.exponent + 1, sign: large.sign)
    }

    static func - (a: WideFloat, b: WideFloat) -> WideFloat { a + b.negated }

    /// Rounded to an extended number. What was truncated counts as inexact.
    func rounded(_ context: inout FloatContext) -> FloatParts {
        if isZero { return .zero(sign: sign) }
        return FloatArithmetic.round(
            sign: sign, exponent: Int32(clamping: exponent), high: UInt64(significand >> 64),
            low: UInt64(truncatingIfNeeded: significand) | 1, .extended, &context)
    }
}
