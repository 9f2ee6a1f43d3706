/// Binary floating point in software: numbers taken apart (SDM vol. 1, 4.2.2 and 4.8).
///
/// One form serves single, double and double-extended precision, as the widest significand has 64 bits:
///
/// | format | bits | sign | exponent (bias) | fraction |
/// | --- | --- | --- | --- | --- |
/// | single | 32 | 31 | 23–30 (127) | 0–22, leading 1 implied |
/// | double | 64 | 63 | 52–62 (1023) | 0–51, leading 1 implied |
/// | double extended | 80 | 79 | 64–78 (16383) | 0–63, leading 1 at bit 63 |
struct FloatParts {
    enum Category: UInt8 {
        case zero, finite, infinity, quietNaN, signalingNaN
        /// Extended encodings that no 387 makes: unnormals, pseudo-NaNs, pseudo-infinities. Operands like this are invalid.
        case unsupported
    }

    /// Finite: bit 63 is set, the value is `significand / 2^63 * 2^exponent`. NaN: as in an extended register.
    var significand: UInt64
    var exponent: Int32
    var sign: Bool
    var category: Category
    /// The number came from a denormal encoding.
    var isDenormal = false

    @inline(__always) init(sign: Bool, exponent: Int32, significand: UInt64) {
        self.significand = significand
        self.exponent = exponent
        self.sign = sign
        category = .finite
    }

    @inline(__always) init(sign: Bool, _ category: Category, significand: UInt64 = 0) {
        self.significand = significand
        exponent = 0
        self.sign = sign
        self.category = category
    }

    @inline(__always) static func zero(sign: Bool) -> FloatParts { FloatParts(sign: sign, .zero) }
    @inline(__always) static func infinity(sign: Bool) -> FloatParts {
        FloatParts(sign: sign, .infinity, significand: 1 << 63)
    }
    /// The real indefinite: what a masked invalid operation gives.
    static var indefinite: FloatParts { FloatParts(sign: true, .quietNaN, significand: 3 << 62) }

    @inline(__always) var isNaN: Bool { category == .quietNaN || category == .signalingNaN }
    @inline(__always) var isFiniteNumber: Bool { category == .finite }
    @inline(__always) var isZero: Bool { category == .zero }
    @inline(__always) var isInfinite: Bool { category == .infinity }

    /// The NaN with its quiet bit set.
    @inline(__always) var quieted: FloatParts { FloatParts(sign: sign, .quietNaN, significand: significand | 1 << 62) }
    @inline(__always) var negated: FloatParts {
        var copy = self
        copy.sign.toggle()
        return copy
    }
    @inline(__always) var magnitude: FloatParts {
        var copy = self
        copy.sign = false
        return copy
    }
}

/// Width and range of a destination. `precision` counts the leading 1.
struct FloatFormat {
    var precision: Int32
    var minExponent: Int32
    var maxExponent: Int32

    static var single: FloatFormat { FloatFormat(precision: 24, minExponent: -126, maxExponent: 127) }
    static var double: FloatFormat { FloatFormat(precision: 53, minExponent: -1022, maxExponent: 1023) }
    static var extended: FloatFormat { FloatFormat(precision: 64, minExponent: -16382, maxExponent: 16383) }
}

/// Exception flags, the same bits in the x87 status word and MXCSR.
enum FloatFlag {
    static let invalid: UInt8 = 1, denormal: UInt8 = 2, zeroDivide: UInt8 = 4
    static let overflow: UInt8 = 8, underflow: UInt8 = 0x10, inexact: UInt8 = 0x20
    /// Those found before a result is computed; unmasked, they leave the destination alone.
    static let before: UInt8 = 7
}

/// Rounding and masks for one operation, and the flags that it raised.
struct FloatContext {
    /// RC as in the x87 control word and MXCSR: 0 nearest even, 1 down, 2 up, 3 towards zero.
    var rounding: UInt8
    /// Exception masks, bit set: masked.
    var masks: UInt8
    var flags: UInt8 = 0
    /// The magnitude was rounded up (C1 of the x87).
    var roundedUp = false
    /// MXCSR.FTZ with underflow masked.
    var flushToZero = false
    /// MXCSR.DAZ.
    var denormalsAreZero = false

    @inline(__always) init(rounding: UInt8, masks: UInt8) {
        self.rounding = rounding
        self.masks = masks
    }

    @inline(__always) func isMasked(_ flag: UInt8) -> Bool { masks & flag != 0 }

    /// Whether a discarded fraction (half is 2^63) rounds the magnitude up.
    @inline(__always) func roundsUp(sign: Bool, fraction: UInt64, odd: Bool) -> Bool {
        switch rounding {
        case 0: fraction > 1 << 63 || (fraction == 1 << 63 && odd)
        case 1: sign && fraction != 0
        case 2: !sign && fraction != 0
        default: false
        }
    }
}

// MARK: Encodings

extension FloatParts {
    /// Takes a single apart.
    @inline(__always) init(single bits: UInt32) {
        let sign = bits >> 31 != 0
        let exponent = Int32(bits >> 23 & 0xFF)
        let fraction = UInt64(bits & 0x7F_FFFF) << 40
        self.init(sign: sign, biased: exponent, bias: 127, special: 0xFF, fraction: fraction)
    }

    /// Takes a double apart.
    @inline(__always) init(double bits: UInt64) {
        let sign = bits >> 63 != 0
        let exponent = Int32(bits >> 52 & 0x7FF)
        let fraction = (bits & 0xF_FFFF_FFFF_FFFF) << 11
        self.init(sign: sign, biased: exponent, bias: 1023, special: 0x7FF, fraction: fraction)
    }

    @inline(__always)
    private init(sign: Bool, biased: Int32, bias: Int32, special: Int32, fraction: UInt64) {
        if biased != 0 && biased != special {
            self.init(sign: sign, exponent: biased &- bias, significand: fraction | 1 << 63)
        } else if fraction == 0 {
            self.init(sign: sign, biased == 0 ? .zero : .infinity, significand: biased == 0 ? 0 : 1 << 63)
        } else if biased == 0 {
            let shift = fraction.leadingZeroBitCount
            self.init(sign: sign, exponent: 1 &- bias &- Int32(shift), significand: fraction &<< UInt64(shift))
            isDenormal = true
        } else {
            self.init(
                sign: sign, fraction & 1 << 62 != 0 ? .quietNaN : .signalingNaN, significand: fraction | 1 << 63)
        }
    }

    /// Takes an extended number apart.
    @inline(__always) init(extended register: X87Register) {
        let sign = register.signExponent >> 15 != 0
        let biased = Int32(register.signExponent & 0x7FFF)
        let significand = register.significand
        let hasInteger = significand >> 63 != 0
        if biased != 0 && biased != 0x7FFF {
            self.init(sign: sign, exponent: biased &- 16383, significand: significand)
            if !hasInteger { category = .unsupported }
        } else if biased == 0 {
            if significand == 0 {
                self.init(sign: sign, .zero)
            } else {
                let shift = significand.leadingZeroBitCount
                self.init(
                    sign: sign, exponent: -16382 &- Int32(shift), significand: significand &<< UInt64(shift))
                isDenormal = true
            }
        } else if !hasInteger {
            self.init(sign: sign, .unsupported, significand: significand)
        } else if significand << 1 == 0 {
            self.init(sign: sign, .infinity, significand: significand)
        } else {
            self.init(
                sign: sign, significand & 1 << 62 != 0 ? .quietNaN : .signalingNaN, significand: significand)
        }
    }

    /// The encoding of a number that was rounded to single.
    var single: UInt32 {
        let high: UInt32 = sign ? 1 << 31 : 0
        switch category {
        case .zero: return high
        case .infinity: return high | 0x7F80_0000
        case .finite:
            if exponent < -126 {
                return high | UInt32(truncatingIfNeeded: significand >> UInt64(40 - 126 - Int(exponent)))
            }
            return high | UInt32(exponent &+ 127) << 23 | UInt32(truncatingIfNeeded: significand >> 40) & 0x7F_FFFF
        case .quietNaN, .signalingNaN, .unsupported:
            return high | 0x7F80_0000 | UInt32(truncatingIfNeeded: significand >> 40) & 0x7F_FFFF
        }
    }

    /// The encoding of a number that was rounded to double.
    var double: UInt64 {
        let high: UInt64 = sign ? 1 << 63 : 0
        switch category {
        case .zero: return high
        case .infinity: return high | 0x7FF0_0000_0000_0000
        case .finite:
            if exponent < -1022 { return high | significand >> UInt64(11 - 1022 - Int(exponent)) }
            return high | UInt64(exponent &+ 1023) << 52 | significand >> 11 & 0xF_FFFF_FFFF_FFFF
        case .quietNaN, .signalingNaN, .unsupported:
            return high | 0x7FF0_0000_0000_0000 | significand >> 11 & 0xF_FFFF_FFFF_FFFF
        }
    }

    /// The encoding of a number that was rounded to extended.
    @inline(__always) var extended: X87Register {
        let high: UInt16 = sign ? 0x8000 : 0
        switch category {
        case .zero: return X87Register(significand: 0, signExponent: high)
        case .finite:
            if exponent >= -16382 {
                return X87Register(
                    significand: significand, signExponent: high | UInt16(truncatingIfNeeded: exponent &+ 16383))
            }
            return X87Register(significand: significand >> UInt64(-16382 - Int(exponent)), signExponent: high)
        case .infinity, .quietNaN, .signalingNaN, .unsupported:
            return X87Register(significand: significand, signExponent: high | 0x7FFF)
        }
    }
}
