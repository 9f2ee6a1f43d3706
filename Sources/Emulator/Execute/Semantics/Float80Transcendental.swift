/// Sine, cosine, tangent, arc tangent, logarithm and exponential of extended numbers, computed with 126 bits and rounded
/// once: within half a unit of the last place but for the rarest cases. Operands are finite, in the instruction's range.
enum Transcendental {
    // π/2, ln 2 and log2 e, 128 bits.
    private static var halfPi: WideFloat {
        WideFloat(significand: 0xC90F_DAA2_2168_C234_C4C6_628B_80DC_1CD1, exponent: 0, sign: false)
    }
    private static var ln2: WideFloat {
        WideFloat(significand: 0xB172_17F7_D1CF_79AB_C9E3_B398_03F2_F6AF, exponent: -1, sign: false)
    }
    private static var log2e: WideFloat {
        WideFloat(significand: 0xB8AA_3B29_5C17_F0BB_BE87_FED0_691D_3E88, exponent: 0, sign: false)
    }

    // MARK: Trigonometry

    /// |x| modulo π/2 and the quadrant. The processor's π has 66 bits (SDM vol. 1, 8.3.8).
    private static func reduce(_ a: FloatParts) -> (rest: WideFloat, quadrant: Int) {
        // In units of 2^-65: π/2 with 66 bits is an integer, and so is every operand from 1/2 up.
        if a.exponent < -1 { return (WideFloat(a.magnitude), 0) }
        let unit = UInt128(0x3_243F_6A88_85A3_08D3)
        let value = UInt128(a.significand) << UInt128(a.exponent + 2)
        let quotient = value / unit
        let rest = WideFloat(normalizing: value % unit, exponent: 62, sign: false)
        return (rest, Int(truncatingIfNeeded: quotient & 3))
    }

    private static func sineSeries(_ x: WideFloat) -> WideFloat {
        let square = x * x
        var sum = WideFloat.one
        for n in stride(from: 17, through: 1, by: -1) {
            sum = .one - (square * sum).divided(by: UInt128(2 * n * (2 * n + 1)))
        }
        return x * sum
    }

    private static func cosineSeries(_ x: WideFloat) -> WideFloat {
        let square = x * x
        var sum = WideFloat.one
        for n in stride(from: 17, through: 1, by: -1) {
            sum = .one - (square * sum).divided(by: UInt128((2 * n - 1) * 2 * n))
        }
        return sum
    }

    private static func sineAndCosine(_ a: FloatParts) -> (WideFloat, WideFloat) {
        let (rest, quadrant) = reduce(a)
        let s = sineSeries(rest), c = cosineSeries(rest)
        switch quadrant {
        case 0: return (s, c)
        case 1: return (c, s.negated)
        case 2: return (s.negated, c.negated)
        default: return (c.negated, s)
        }
    }

    /// Results that differ from the operand by less than the last bit are rounded from just below or above it.
    private static func nearly(_ a: FloatParts, larger: Bool, _ context: inout FloatContext) -> FloatParts {
        if larger {
            return FloatArithmetic.round(
                sign: a.sign, exponent: a.exponent, high: a.significand, low: 1, .extended, &context)
        }
        let high = a.significand &- 1
        if high >> 63 == 0 {
            return FloatArithmetic.round(
                sign: a.sign, exponent: a.exponent - 1, high: .max, low: .max, .extended, &context)
        }
        return FloatArithmetic.round(
            sign: a.sign, exponent: a.exponent, high: high, low: .max, .extended, &context)
    }

    static func sine(_ a: FloatParts, _ context: inout FloatContext) -> FloatParts {
        if a.isZero { return a }
        if a.exponent < -40 { return nearly(a, larger: false, &context) }
        var result = sineAndCosine(a).0
        if a.sign { result.sign.toggle() }
        return result.rounded(&context)
    }

    static func cosine(_ a: FloatParts, _ context: inout FloatContext) -> FloatParts {
        let one = FloatParts(sign: false, exponent: 0, significand: 1 << 63)
        if a.isZero { return one }
        if a.exponent < -40 { return nearly(one, larger: false, &context) }
        return sineAndCosine(a).1.rounded(&context)
    }

    static func tangent(_ a: FloatParts, _ context: inout FloatContext) -> FloatParts {
        if a.isZero { return a }
        if a.exponent < -40 { return nearly(a, larger: true, &context) }
        let (s, c) = sineAndCosine(a)
        var result = s / c
        if a.sign { result.sign.toggle() }
        return result.rounded(&context)
    }

    /// The angle of a ratio of positive numbers, at most 1.
    private static func arcTangentSeries(_ t: WideFloat) -> WideFloat {
        var x = t, offset = WideFloat.zero
        // Above tan(π/8) the angle is taken from π/4.
        if t.exponent > -2 || t.exponent == -2 && t.significand > 0xD413_CCCF_E779_9211 << 64 {
            x = (t - .one) / (t + .one)
            offset = halfPi
            offset.exponent -= 1
        }
        let square = x * x
        var sum = WideFloat.zero
        for n in stride(from: 52, through: 0, by: -1) {
            sum = WideFloat.one.divided(by: UInt128(2 * n + 1)) - square * sum
        }
        return offset + x * sum
    }

    /// The angle of the point (x, y), as FPATAN: y is ST(1), x is ST(0).
    static func arcTangent(y: FloatParts, x: FloatParts, _ context: inout FloatContext) -> FloatParts {
        if y.isDenormal || x.isDenormal { context.flags |= FloatFlag.denormal }
        func angle(_ quarters: Int) -> FloatParts {
            var wide = halfPi * WideFloat(quarters)
            wide.exponent -= 1
            wide.sign = y.sign
            return wide.rounded(&context)
        }
        if y.isInfinite { return angle(x.isInfinite ? (x.sign ? 3 : 1) : 2) }
        if y.isZero || x.isInfinite { return x.sign ? angle(4) : .zero(sign: y.sign) }
        if x.isZero { return angle(2) }
        let up = WideFloat(y.magnitude), right = WideFloat(x.magnitude)
        var wide: WideFloat
        if y.exponent < x.exponent || (y.exponent == x.exponent && y.significand <= x.significand) {
            let ratio = up / right
            wide = ratio.exponent < -64 ? ratio : arcTangentSeries(ratio)
        } else {
            let ratio = right / up
            wide = halfPi - (ratio.exponent < -64 ? ratio : arcTangentSeries(ratio))
        }
        if x.sign {
            var pi = halfPi
            pi.exponent += 1
            wide = pi - wide
        }
        wide.sign = y.sign
        return wide.rounded(&context)
    }

    // MARK: Logarithms

    /// 2 artanh(s) / ln 2, for |s| up to 0.172.
    private static func logarithm(ratio s: WideFloat) -> WideFloat {
        let square = s * s
        var sum = WideFloat.zero
        for n in stride(from: 26, through: 0, by: -1) {
            sum = WideFloat.one.divided(by: UInt128(2 * n + 1)) + square * sum
        }
        var result = s * sum * log2e
        result.exponent += 1
        return result
    }

    /// log2 of a positive finite number.
    private static func log2(_ x: WideFloat) -> WideFloat {
        var mantissa = x, power = x.exponent
        mantissa.exponent = 0
        if mantissa.significand > 0xB504_F333_F9DE_6484 << 64 {
            mantissa.exponent = -1
            power += 1
        }
        return WideFloat(power) + logarithm(ratio: (mantissa - .one) / (mantissa + .one))
    }

    /// y * log2(x), as FYL2X.
    static func yLog2X(y: FloatParts, x: FloatParts, _ context: inout FloatContext) -> FloatParts {
        if x.sign && !x.isZero { return FloatArithmetic.invalid(&context) }
        let isOne = x.isFiniteNumber && x.exponent == 0 && x.significand == 1 << 63
        if x.isZero && y.isZero || x.isInfinite && y.isZero || isOne && y.isInfinite {
            return FloatArithmetic.invalid(&context)
        }
        if y.isDenormal || x.isDenormal { context.flags |= FloatFlag.denormal }
        let isBelowOne = x.isZero || x.isFiniteNumber && x.exponent < 0
        if x.isZero {
            if !y.isInfinite { context.flags |= FloatFlag.zeroDivide }
            return .infinity(sign: !y.sign)
        }
        if x.isInfinite || y.isInfinite { return .infinity(sign: y.sign != isBelowOne) }
        if isOne || y.isZero { return .zero(sign: y.sign != isBelowOne) }
        if x.significand == 1 << 63 {
            // A power of two: its logarithm is an integer, the product exact up to one rounding.
            return FloatArithmetic.multiply(y, FloatArithmetic.fromInteger(Int64(x.exponent)), .extended, &context)
        }
        return (WideFloat(y) * log2(WideFloat(x))).rounded(&context)
    }

    /// y * log2(x + 1), as FYL2XP1.
    static func yLog2XPlus1(y: FloatParts, x: FloatParts, _ context: inout FloatContext) -> FloatParts {
        if x.isZero && y.isInfinite || x.isInfinite && (y.isZero || x.sign) { return FloatArithmetic.invalid(&context) }
        if y.isDenormal || x.isDenormal { context.flags |= FloatFlag.denormal }
        let sign = x.sign != y.sign
        if x.isInfinite || y.isInfinite { return .infinity(sign: sign) }
        if x.isZero || y.isZero { return .zero(sign: sign) }
        let wide = WideFloat(x)
        if x.exponent < -100 { return (WideFloat(y) * wide * log2e).rounded(&context) }
        if x.exponent < -2 {
            return (WideFloat(y) * logarithm(ratio: wide / (wide + WideFloat(2)))).rounded(&context)
        }
        let sum = wide + .one
        if sum.sign || sum.isZero { return FloatArithmetic.invalid(&context) }
        return (WideFloat(y) * log2(sum)).rounded(&context)
    }

    // MARK: Exponential

    /// 2^x - 1 for |x| up to 1, as F2XM1.
    static func exponentialMinus1(_ a: FloatParts, _ context: inout FloatContext) -> FloatParts {
        if a.isZero { return a }
        if a.isInfinite { return a.sign ? FloatParts(sign: true, exponent: 0, significand: 1 << 63) : a }
        if a.isDenormal { context.flags |= FloatFlag.denormal }
        if a.exponent >= 0 {
            if a.exponent == 0 && a.significand == 1 << 63 {
                return FloatParts(sign: a.sign, exponent: a.sign ? -1 : 0, significand: 1 << 63)
            }
            // Undefined outside of the range: the operand, as processors give it.
            return a
        }
        let x = WideFloat(a) * ln2
        if x.exponent < -130 { return x.rounded(&context) }
        // (e^x - 1) / x = 1 + x/2 (1 + x/3 (1 + …
        var sum = WideFloat.one
        for n in stride(from: 36, through: 2, by: -1) {
            sum = .one + (x * sum).divided(by: UInt128(n))
        }
        return (x * sum).rounded(&context)
    }
}
