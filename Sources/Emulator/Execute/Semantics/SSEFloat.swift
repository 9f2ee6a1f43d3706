/// SSE floating-point lanes: the host's arithmetic where that cannot differ, else soft floats.
///
/// The host's result is taken when rounding is to nearest, operands and result are normal numbers or zeros and the
/// precision exception is masked: then precision is the only flag there can be. Either its sticky flag is set already, or
/// the rounding error is computed exactly to find out. No host flags are read, so runs are the same everywhere.
enum FloatOperation { case add, subtract, multiply, divide, squareRoot }

/// MXCSR bits (SDM vol. 1, 10.2.3).
enum MXCSR {
    static let precisionFlag: UInt32 = 0x20, daz: UInt32 = 0x40, precisionMask: UInt32 = 0x1000
    static let rounding: UInt32 = 0x6000, ftz: UInt32 = 0x8000
    static let writable: UInt32 = 0xFFFF
}

/// MXCSR as one instruction started with it, and the flags that its lanes raised.
struct SSEContext {
    let mxcsr: UInt32
    var flags: UInt8 = 0

    @inline(__always) init(_ mxcsr: UInt32) { self.mxcsr = mxcsr }

    /// Rounding to nearest, precision masked.
    @inline(__always) var isNearest: Bool {
        mxcsr & (MXCSR.rounding | MXCSR.precisionMask) == MXCSR.precisionMask
    }
    /// The precision flag is already set (or must be computed).
    @inline(__always) var knowsInexact: Bool { mxcsr & MXCSR.precisionFlag != 0 }
    @inline(__always) var rounding: UInt8 { UInt8(truncatingIfNeeded: mxcsr >> 13 & 3) }
    @inline(__always) var isDAZ: Bool { mxcsr & MXCSR.daz != 0 }

    var soft: FloatContext {
        var context = FloatContext(rounding: rounding, masks: UInt8(truncatingIfNeeded: mxcsr >> 7 & 0x3F))
        context.flushToZero = mxcsr & MXCSR.ftz != 0 && context.isMasked(FloatFlag.underflow)
        return context
    }
}

extension UInt64 {
    /// A double that is zero or normal.
    @inline(__always) var isSafeDouble: Bool { self &<< 1 == 0 || (self &<< 1) &- (1 << 53) < 2046 << 53 }
    /// A normal double well inside of the range, also for its square, or zero.
    @inline(__always) var isModerateDouble: Bool { self &<< 1 == 0 || (self &<< 1) &- (300 << 53) < 1400 << 53 }
    /// A normal double above the smallest, where tininess cannot be in doubt.
    @inline(__always) var isClearDouble: Bool { (self &<< 1) &- (2 << 53) < 2045 << 53 }
    @inline(__always) var isNaNDouble: Bool { self &<< 1 > 2047 << 53 }
    @inline(__always) var isDenormalDouble: Bool { self &<< 1 != 0 && self &<< 1 < 1 << 53 }
}

extension UInt32 {
    @inline(__always) var isSafeSingle: Bool { self &<< 1 == 0 || (self &<< 1) &- (1 << 24) < 254 << 24 }
    @inline(__always) var isModerateSingle: Bool { self &<< 1 == 0 || (self &<< 1) &- (40 << 24) < 170 << 24 }
    @inline(__always) var isClearSingle: Bool { (self &<< 1) &- (2 << 24) < 253 << 24 }
    @inline(__always) var isNaNSingle: Bool { self &<< 1 > 255 << 24 }
    @inline(__always) var isDenormalSingle: Bool { self &<< 1 != 0 && self &<< 1 < 1 << 24 }
}

extension SSEContext {
    // MARK: Double

    @inline(__always)
    mutating func double(_ operation: FloatOperation, _ a: UInt64, _ b: UInt64) -> UInt64 {
        let x = Double(bitPattern: a), y = Double(bitPattern: b)
        if isNearest && a.isSafeDouble && b.isSafeDouble {
            let value: Double
            switch operation {
            case .add: value = x + y
            case .subtract: value = x - y
            case .multiply: value = x * y
            case .divide: value = x / y
            case .squareRoot: value = y.squareRoot()
            }
            let bits = value.bitPattern
            if bits.isClearDouble {
                if knowsInexact { return bits }
                if a.isModerateDouble && b.isModerateDouble && bits.isModerateDouble {
                    if Self.isInexact(operation, x, y, value) { flags |= FloatFlag.inexact }
                    return bits
                }
            }
        }
        return softDouble(operation, a, b)
    }

    /// Whether a rounded result differs from the exact one; numbers of moderate size.
    @inline(never)
    private static func isInexact(_ operation: FloatOperation, _ x: Double, _ y: Double, _ value: Double) -> Bool {
        switch operation {
        case .add, .subtract:
            let b = operation == .add ? y : -y
            let rest = value - x
            return (x - (value - rest)) + (b - rest) != 0
        case .multiply: return (-value).addingProduct(x, y) != 0
        case .divide: return (-x).addingProduct(value, y) != 0
        case .squareRoot: return (-y).addingProduct(value, value) != 0
        }
    }

    @inline(never)
    mutating func softDouble(_ operation: FloatOperation, _ a: UInt64, _ b: UInt64) -> UInt64 {
        let unary = operation == .squareRoot
        if b.isNaNDouble || !unary && a.isNaNDouble {
            return quietDouble(unary || !a.isNaNDouble ? b : a, and: unary ? b : a, b)
        }
        return soft(operation, parts(double: a), parts(double: b), .double).double
    }

    /// Returns a NaN operand as a quiet NaN; invalid when one of the operands signals.
    @inline(__always)
    mutating func quietDouble(_ nan: UInt64, and a: UInt64, _ b: UInt64) -> UInt64 {
        let quiet: UInt64 = 1 << 51
        if a.isNaNDouble && a & quiet == 0 || b.isNaNDouble && b & quiet == 0 { flags |= FloatFlag.invalid }
        return nan | quiet
    }

    func parts(double bits: UInt64) -> FloatParts {
        let parts = FloatParts(double: bits)
        return parts.isDenormal && isDAZ ? .zero(sign: parts.sign) : parts
    }

    private mutating func soft(
        _ operation: FloatOperation, _ x: FloatParts, _ y: FloatParts, _ format: FloatFormat
    ) -> FloatParts {
        var context = soft
        let result =
            switch operation {
            case .add: FloatArithmetic.add(x, y, format, &context)
            case .subtract: FloatArithmetic.add(x, y.negated, format, &context)
            case .multiply: FloatArithmetic.multiply(x, y, format, &context)
            case .divide: FloatArithmetic.divide(x, y, format, &context)
            case .squareRoot: FloatArithmetic.squareRoot(y, format, &context)
            }
        flags |= context.flags
        return result
    }

    // MARK: Single

    @inline(__always)
    mutating func single(_ operation: FloatOperation, _ a: UInt32, _ b: UInt32) -> UInt32 {
        let x = Float(bitPattern: a), y = Float(bitPattern: b)
        if isNearest && a.isSafeSingle && b.isSafeSingle {
            let value: Float
            switch operation {
            case .add: value = x + y
            case .subtract: value = x - y
            case .multiply: value = x * y
            case .divide: value = x / y
            case .squareRoot: value = y.squareRoot()
            }
            let bits = value.bitPattern
            if bits.isClearSingle {
                if knowsInexact { return bits }
                if a.isModerateSingle && b.isModerateSingle && bits.isModerateSingle {
                    if Self.isInexact(operation, x, y, value) { flags |= FloatFlag.inexact }
                    return bits
                }
            }
        }
        return softSingle(operation, a, b)
    }

    @inline(never)
    private static func isInexact(_ operation: FloatOperation, _ x: Float, _ y: Float, _ value: Float) -> Bool {
        switch operation {
        case .add, .subtract:
            let b = operation == .add ? y : -y
            let rest = value - x
            return (x - (value - rest)) + (b - rest) != 0
        // Products of two singles are exact in double.
        case .multiply: return Double(value) != Double(x) * Double(y)
        case .divide: return Double(value) * Double(y) != Double(x)
        case .squareRoot: return Double(value) * Double(value) != Double(y)
        }
    }

    @inline(never)
    mutating func softSingle(_ operation: FloatOperation, _ a: UInt32, _ b: UInt32) -> UInt32 {
        let unary = operation == .squareRoot
        if b.isNaNSingle || !unary && a.isNaNSingle {
            return quietSingle(unary || !a.isNaNSingle ? b : a, and: unary ? b : a, b)
        }
        return soft(operation, parts(single: a), parts(single: b), .single).single
    }

    @inline(__always)
    mutating func quietSingle(_ nan: UInt32, and a: UInt32, _ b: UInt32) -> UInt32 {
        let quiet: UInt32 = 1 << 22
        if a.isNaNSingle && a & quiet == 0 || b.isNaNSingle && b & quiet == 0 { flags |= FloatFlag.invalid }
        return nan | quiet
    }

    func parts(single bits: UInt32) -> FloatParts {
        let parts = FloatParts(single: bits)
        return parts.isDenormal && isDAZ ? .zero(sign: parts.sign) : parts
    }

    // MARK: Comparison

    enum Relation { case less, equal, greater, unordered }

    /// - Parameter signalsQuiet: a quiet NaN is invalid too (ordered compares, MIN, MAX).
    @inline(__always)
    mutating func compare(_ a: UInt64, _ b: UInt64, signalsQuiet: Bool) -> Relation {
        if a.isNaNDouble || b.isNaNDouble {
            if signalsQuiet { flags |= FloatFlag.invalid } else { _ = quietDouble(a, and: a, b) }
            return .unordered
        }
        var x = Double(bitPattern: a), y = Double(bitPattern: b)
        if a.isDenormalDouble || b.isDenormalDouble {
            if isDAZ {
                if a.isDenormalDouble { x = 0 }
                if b.isDenormalDouble { y = 0 }
            } else {
                flags |= FloatFlag.denormal
            }
        }
        return x < y ? .less : x == y ? .equal : .greater
    }

    @inline(__always)
    mutating func compare(_ a: UInt32, _ b: UInt32, signalsQuiet: Bool) -> Relation {
        if a.isNaNSingle || b.isNaNSingle {
            if signalsQuiet { flags |= FloatFlag.invalid } else { _ = quietSingle(a, and: a, b) }
            return .unordered
        }
        var x = Float(bitPattern: a), y = Float(bitPattern: b)
        if a.isDenormalSingle || b.isDenormalSingle {
            if isDAZ {
                if a.isDenormalSingle { x = 0 }
                if b.isDenormalSingle { y = 0 }
            } else {
                flags |= FloatFlag.denormal
            }
        }
        return x < y ? .less : x == y ? .equal : .greater
    }

    /// MIN and MAX: the second operand unless the first is strictly better.
    @inline(__always)
    mutating func select(_ a: UInt64, _ b: UInt64, wanted: Relation) -> UInt64 {
        let chosen = compare(a, b, signalsQuiet: true) == wanted ? a : b
        return isDAZ && chosen.isDenormalDouble ? chosen & 1 << 63 : chosen
    }
    @inline(__always)
    mutating func select(_ a: UInt32, _ b: UInt32, wanted: Relation) -> UInt32 {
        let chosen = compare(a, b, signalsQuiet: true) == wanted ? a : b
        return isDAZ && chosen.isDenormalSingle ? chosen & 1 << 31 : chosen
    }

    /// CMPPS predicates 0–7: EQ LT LE UNORD, then their negations.
    @inline(__always)
    static func holds(_ predicate: UInt8, _ relation: Relation) -> Bool {
        let positive =
            switch predicate & 3 {
            case 0: relation == .equal
            case 1: relation == .less
            case 2: relation == .less || relation == .equal
            default: relation == .unordered
            }
        return positive != (predicate & 4 != 0)
    }

    /// LT, LE, NLT and NLE signal on quiet NaNs.
    @inline(__always)
    static func signals(_ predicate: UInt8) -> Bool { predicate & 3 == 1 || predicate & 3 == 2 }
}
