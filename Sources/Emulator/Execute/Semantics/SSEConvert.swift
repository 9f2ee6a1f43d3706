/// SSE conversions and rounding to integral values, one lane.
extension SSEContext {
    // MARK: To integers

    /// Out of range gives the integer indefinite, the most negative number, and is invalid.
    mutating func toInteger(_ parts: FloatParts, bits: Int, truncate: Bool) -> Int64 {
        var context = soft
        if truncate { context.rounding = 3 }
        guard let value = FloatArithmetic.toInteger(parts, bits: bits, &context) else {
            flags |= FloatFlag.invalid
            return bits == 64 ? Int64.min : Int64(Int32.min)
        }
        flags |= context.flags
        return value
    }

    @inline(__always)
    mutating func toInteger(double bits: UInt64, width: Int, truncate: Bool) -> Int64 {
        let value = Double(bitPattern: bits)
        let limit = width == 32 ? 2147483648.0 : 4611686018427387904.0
        if value > -limit && value < limit {
            let integer = Int64(value)
            if Double(integer) == value { return integer }
            if truncate && !bits.isDenormalDouble {
                flags |= FloatFlag.inexact
                return integer
            }
        }
        return toInteger(parts(double: bits), bits: width, truncate: truncate)
    }

    @inline(__always)
    mutating func toInteger(single bits: UInt32, width: Int, truncate: Bool) -> Int64 {
        // Widening is exact, and a double is denormal only where the single was zero.
        let value = Float(bitPattern: bits)
        if !bits.isSafeSingle { return toInteger(parts(single: bits), bits: width, truncate: truncate) }
        return toInteger(double: Double(value).bitPattern, width: width, truncate: truncate)
    }

    // MARK: From integers

    @inline(__always)
    mutating func double(integer: Int64) -> UInt64 {
        if integer.magnitude < 1 << 53 { return Double(integer).bitPattern }
        return round(FloatArithmetic.fromInteger(integer), .double).double
    }

    @inline(__always)
    mutating func single(integer: Int64) -> UInt32 {
        if integer.magnitude < 1 << 24 { return Float(integer).bitPattern }
        return round(FloatArithmetic.fromInteger(integer), .single).single
    }

    private mutating func round(_ parts: FloatParts, _ format: FloatFormat) -> FloatParts {
        var context = soft
        let result = FloatArithmetic.renormalize(parts, format, &context)
        flags |= context.flags
        return result
    }

    // MARK: Between formats

    @inline(__always)
    mutating func double(single bits: UInt32) -> UInt64 {
        if bits.isSafeSingle { return Double(Float(bitPattern: bits)).bitPattern }
        return softDouble(single: bits)
    }

    @inline(never)
    private mutating func softDouble(single bits: UInt32) -> UInt64 {
        if bits.isNaNSingle { return FloatParts(single: quietSingle(bits, and: bits, bits)).double }
        let parts = parts(single: bits)
        if parts.isDenormal { flags |= FloatFlag.denormal }
        return parts.double
    }

    @inline(__always)
    mutating func single(double bits: UInt64) -> UInt32 {
        if isNearest && knowsInexact && bits.isSafeDouble {
            let result = Float(Double(bitPattern: bits)).bitPattern
            if result.isClearSingle { return result }
        }
        return softSingle(double: bits)
    }

    @inline(never)
    private mutating func softSingle(double bits: UInt64) -> UInt32 {
        if bits.isNaNDouble { return FloatParts(double: quietDouble(bits, and: bits, bits)).single }
        let parts = parts(double: bits)
        if parts.isDenormal { flags |= FloatFlag.denormal }
        return round(parts, .single).single
    }

    // MARK: ROUNDxx

    /// - Parameter control: bits 0–1 rounding, bit 2 take it from MXCSR, bit 3 inexact is not reported.
    mutating func integral(double bits: UInt64, control: UInt8) -> UInt64 {
        if bits.isNaNDouble { return quietDouble(bits, and: bits, bits) }
        return integral(parts(double: bits), control).double
    }
    mutating func integral(single bits: UInt32, control: UInt8) -> UInt32 {
        if bits.isNaNSingle { return quietSingle(bits, and: bits, bits) }
        return integral(parts(single: bits), control).single
    }
    private mutating func integral(_ parts: FloatParts, _ control: UInt8) -> FloatParts {
        var context = soft
        if control & 4 == 0 { context.rounding = control & 3 }
        let result = FloatArithmetic.roundToIntegral(parts, &context)
        if control & 8 == 0 { flags |= context.flags }
        return result
    }

    // MARK: Approximations: no exceptions, denormals are zeros on both sides

    static func reciprocal(_ bits: UInt32) -> UInt32 {
        if bits.isNaNSingle { return bits | 1 << 22 }
        if bits.isDenormalSingle || bits &<< 1 == 0 { return bits & 1 << 31 | 0x7F80_0000 }
        let result = (1 / Float(bitPattern: bits)).bitPattern
        return result.isDenormalSingle ? result & 1 << 31 : result
    }

    static func reciprocalRoot(_ bits: UInt32) -> UInt32 {
        if bits.isNaNSingle { return bits | 1 << 22 }
        if bits.isDenormalSingle || bits &<< 1 == 0 { return bits & 1 << 31 | 0x7F80_0000 }
        if bits >> 31 != 0 { return 0xFFC0_0000 }
        return Float(1 / Double(Float(bitPattern: bits)).squareRoot()).bitPattern
    }
}
