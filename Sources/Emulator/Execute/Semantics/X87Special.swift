/// Remainders, scaling, decimal numbers and the shapes of transcendental instructions.
extension CPU {
    // MARK: FPREM, FPREM1

    func remainder(nearest: Bool) -> Outcome {
        if isEmpty(0) || isEmpty(1) {
            state.pointee.fpu.status &= ~X87Status.c2
            if stackFault(overflow: false) { setST(0, .indefinite) }
            return .next
        }
        var context = x87Context
        let a = st(0), b = st(1)
        var bits: UInt16 = 0
        let result: FloatParts
        let limit = FloatParts.Category.infinity.rawValue
        if a.category.rawValue > limit || b.category.rawValue > limit {
            result = Self.propagate(a, b, &context)
        } else if a.isInfinite || b.isZero {
            result = FloatArithmetic.invalid(&context)
        } else {
            if a.isDenormal || b.isDenormal { context.flags |= FloatFlag.denormal }
            if a.isZero || b.isInfinite {
                result = a
            } else {
                result = reduce(a, b, nearest: nearest, &bits, &context)
            }
        }
        note(context)
        // A NaN has no quotient, and one that is not delivered is not told: C0 and C3 stay.
        let hasQuotient = !result.isNaN && !isSuppressed(context)
        state.pointee.fpu.status &= ~(hasQuotient ? X87Status.c0 | X87Status.c2 | X87Status.c3 : X87Status.c2)
        if isSuppressed(context) { return .next }
        state.pointee.fpu.status = state.pointee.fpu.status & ~X87Status.c1 | bits
        setST(0, result)
        return .next
    }

    /// One step: exponents at most 63 apart are brought down completely, others by 32 to 63 bits (C2 is set).
    private func reduce(
        _ a: FloatParts, _ b: FloatParts, nearest: Bool, _ bits: inout UInt16, _ context: inout FloatContext
    ) -> FloatParts {
        let distance = a.exponent - b.exponent
        if distance < (nearest ? -1 : 0) { return FloatArithmetic.renormalize(a, .extended, &context) }
        if distance >= 64 {
            let step = UInt64(32 + distance % 32)
            let rest = (UInt128(a.significand) << step) % UInt128(b.significand)
            bits = X87Status.c2
            return normal(a.sign, UInt64(rest), b.exponent + distance - Int32(step), &context)
        }
        // The dividend as an integer multiple of 2^(exponent of b - 63), doubled where b is the larger by one power.
        let isBelow = distance < 0
        let dividend = isBelow ? UInt128(a.significand) : UInt128(a.significand) << UInt128(distance)
        let divisor = isBelow ? UInt128(b.significand) << 1 : UInt128(b.significand)
        var quotient = UInt64(truncatingIfNeeded: dividend / divisor)
        var rest = dividend % divisor
        var sign = a.sign
        if nearest && (rest << 1 > divisor || (rest << 1 == divisor && quotient & 1 != 0)) {
            quotient &+= 1
            rest = divisor - rest
            sign.toggle()
        }
        if quotient & 1 != 0 { bits |= X87Status.c1 }
        if quotient & 2 != 0 { bits |= X87Status.c3 }
        if quotient & 4 != 0 { bits |= X87Status.c0 }
        let exponent = isBelow ? b.exponent - 1 : b.exponent
        if rest == 0 { return .zero(sign: a.sign) }
        return normal(sign, UInt64(truncatingIfNeeded: rest), exponent, &context)
    }

    private func normal(
        _ sign: Bool, _ significand: UInt64, _ exponent: Int32, _ context: inout FloatContext
    ) -> FloatParts {
        if significand == 0 { return .zero(sign: sign) }
        let shift = significand.leadingZeroBitCount
        return FloatArithmetic.round(
            sign: sign, exponent: exponent - Int32(shift), high: significand << UInt64(shift), low: 0, .extended,
            &context)
    }

    // MARK: FSCALE, FXTRACT

    func scale() -> Outcome {
        binary(pop: false) { a, b, context in
            if a.isDenormal || b.isDenormal { context.flags |= FloatFlag.denormal }
            if b.isInfinite {
                if b.sign ? a.isInfinite : a.isZero { return FloatArithmetic.invalid(&context) }
                return b.sign ? .zero(sign: a.sign) : .infinity(sign: a.sign)
            }
            guard a.isFiniteNumber, b.isFiniteNumber else { return a }
            var count: Int32 = 0
            if b.exponent > 20 {
                count = 1 << 20
            } else if b.exponent >= 0 {
                count = Int32(b.significand >> UInt64(63 - b.exponent))
            }
            if b.sign { count = -count }
            return FloatArithmetic.round(
                sign: a.sign, exponent: a.exponent + count, high: a.significand, low: 0, .extended, &context)
        }
    }

    func extract() -> Outcome {
        if isEmpty(0) || !isEmpty(7) {
            if stackFault(overflow: !isEmpty(0)) {
                setST(0, .indefinite)
                pushX87(raw: FloatParts.indefinite.extended)
            }
            return .next
        }
        var context = x87Context
        let a = st(0)
        var exponent: FloatParts, significand = a
        switch a.category {
        case .zero:
            context.flags |= FloatFlag.zeroDivide
            exponent = .infinity(sign: true)
        case .infinity: exponent = .infinity(sign: false)
        case .finite:
            if a.isDenormal { context.flags |= FloatFlag.denormal }
            exponent = FloatArithmetic.fromInteger(Int64(a.exponent))
            significand = FloatParts(sign: a.sign, exponent: 0, significand: a.significand)
        case .quietNaN, .signalingNaN, .unsupported:
            significand = Self.propagate(a, a, &context)
            exponent = significand
        }
        note(context)
        if isSuppressed(context) { return .next }
        setST(0, exponent)
        pushX87(raw: significand.extended)
        return .next
    }

    // MARK: Transcendental instructions

    /// ST(1) ← f(ST(1), ST(0)) and pop, or ST(0) ← f(ST(0), ST(1)).
    func binary(
        pop: Bool, _ body: (FloatParts, FloatParts, inout FloatContext) -> FloatParts
    ) -> Outcome {
        let destination: UInt8 = pop ? 1 : 0
        if isEmpty(0) || isEmpty(1) {
            if stackFault(overflow: false) {
                setST(destination, .indefinite)
                if pop { popX87() }
            }
            return .next
        }
        var context = x87Context
        let a = st(destination), b = st(1 - destination)
        let limit = FloatParts.Category.infinity.rawValue
        let result =
            a.category.rawValue > limit || b.category.rawValue > limit
            ? Self.propagate(a, b, &context) : body(a, b, &context)
        note(context)
        if isSuppressed(context) { return .next }
        setST(destination, result)
        if pop { popX87() }
        return .next
    }

    /// FSIN, FCOS, FSINCOS, FPTAN: C2 tells that the operand is out of range.
    func trigonometric(_ code: X87Code) -> Outcome {
        let pushes = code == .fsincos || code == .fptan
        if isEmpty(0) || pushes && !isEmpty(7) {
            if stackFault(overflow: !isEmpty(0)) {
                setST(0, .indefinite)
                if pushes { pushX87(raw: FloatParts.indefinite.extended) }
            }
            return .next
        }
        var context = x87Context
        let a = st(0)
        var first: FloatParts, second: FloatParts
        state.pointee.fpu.status &= ~X87Status.c2
        if a.category.rawValue >= FloatParts.Category.infinity.rawValue {
            first = a.isInfinite ? FloatArithmetic.invalid(&context) : Self.propagate(a, a, &context)
            second = first
        } else if a.isFiniteNumber && a.exponent >= 63 {
            state.pointee.fpu.status = state.pointee.fpu.status & ~X87Status.c1 | X87Status.c2
            return .next
        } else {
            if a.isDenormal { context.flags |= FloatFlag.denormal }
            let one = FloatParts(sign: false, exponent: 0, significand: 1 << 63)
            switch code {
            case .fsin:
                first = Transcendental.sine(a, &context)
                second = first
            case .fcos:
                first = Transcendental.cosine(a, &context)
                second = first
            case .fptan:
                first = Transcendental.tangent(a, &context)
                second = one
            default:
                first = Transcendental.sine(a, &context)
                second = Transcendental.cosine(a, &context)
            }
        }
        note(context)
        if isSuppressed(context) { return .next }
        setST(0, first)
        if pushes { pushX87(raw: second.extended) }
        return .next
    }

    // MARK: Packed decimal: 18 digits, two a byte, sign in bit 79

    func loadDecimal(_ op: Op) -> Outcome {
        guard let bytes = load80(op) else { return .fault }
        var value: UInt64 = 0
        for digit in stride(from: 4, through: 0, by: -4) {
            value = value &* 10 &+ UInt64(bytes.signExponent >> UInt16(digit) & 15)
        }
        for digit in stride(from: 60, through: 0, by: -4) {
            value = value &* 10 &+ (bytes.significand >> UInt64(digit) & 15)
        }
        var parts = FloatArithmetic.fromInteger(Int64(truncatingIfNeeded: value))
        parts.sign = bytes.signExponent >> 15 != 0
        return push(raw: parts.extended)
    }

    func storeDecimal(_ op: Op) -> Outcome {
        var context = x87Context
        var result = X87Register(significand: 0xC000_0000_0000_0000, signExponent: 0xFFFF)
        let isFault = isEmpty(0)
        if isFault {
            if !context.isMasked(FloatFlag.invalid) {
                _ = stackFault(overflow: false)
                return .next
            }
        } else {
            let source = st(0)
            if let integer = FloatArithmetic.toInteger(source, bits: 64, &context),
                integer.magnitude < 1_000_000_000_000_000_000
            {
                var rest = integer.magnitude
                result = X87Register(significand: 0, signExponent: source.sign ? 0x8000 : 0)
                for digit in 0..<18 {
                    let value = rest % 10
                    rest /= 10
                    if digit < 16 {
                        result.significand |= value << UInt64(digit * 4)
                    } else {
                        result.signExponent |= UInt16(value) << UInt16((digit - 16) * 4)
                    }
                }
            } else {
                context.flags = FloatFlag.invalid
                context.roundedUp = false
            }
            if isSuppressed(context) {
                note(context)
                return .next
            }
        }
        guard store80(op, result) else { return .fault }
        if isFault { _ = stackFault(overflow: false) } else { note(context) }
        popX87()
        return .next
    }
}
