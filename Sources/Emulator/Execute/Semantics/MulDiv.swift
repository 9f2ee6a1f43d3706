/// MUL, IMUL, DIV, IDIV (SDM vol. 2). Flags that the manual leaves undefined: SF, ZF and PF follow the low half of a product.
extension CPUPointer {
    /// Two- and three-operand IMUL: CF = OF = the product does not fit.
    @inline(__always) func imul<T: Word>(_ a: T, _ b: T) -> T {
        let x = Int64(bitPattern: signExtended(a)), y = Int64(bitPattern: signExtended(b))
        let (product, overflow) = x.multipliedReportingOverflow(by: y)
        let result = T(truncatingIfNeeded: product)
        let lost = overflow || Int64(bitPattern: signExtended(result)) != product
        setFlags(result, cf: lost, of: lost)
        return result
    }

    @inline(__always) func imulRR<T: Word>(_: T.Type, _ op: Op) {
        setRegister(op.pointee.reg, imul(register(op.pointee.reg, as: T.self), register(op.pointee.rm, as: T.self)))
    }
    @inline(__always) func imulRM<T: Word>(_: T.Type, _ op: Op) -> Bool {
        guard let value = load(op, as: T.self) else { return false }
        setRegister(op.pointee.reg, imul(register(op.pointee.reg, as: T.self), value))
        return true
    }
    @inline(__always) func imulRRI<T: Word>(_: T.Type, _ op: Op) {
        let immediate = T(truncatingIfNeeded: op.pointee.immediate)
        setRegister(op.pointee.reg, imul(register(op.pointee.rm, as: T.self), immediate))
    }
    @inline(__always) func imulRMI<T: Word>(_: T.Type, _ op: Op) -> Bool {
        guard let value = load(op, as: T.self) else { return false }
        setRegister(op.pointee.reg, imul(value, T(truncatingIfNeeded: op.pointee.immediate)))
        return true
    }
}

extension CPU {
    /// The one-operand forms: rDX:rAX (or AX) and an operand.
    enum WideOperation { case mul, imul, div, idiv }

    @inline(never) func wide(_ operation: WideOperation, _ op: Op) -> Outcome {
        switch op.pointee.size {
        case 0: return wide(operation, op, as: UInt8.self)
        case 1: return wide(operation, op, as: UInt16.self)
        case 2: return wide(operation, op, as: UInt32.self)
        default: return wide(operation, op, as: UInt64.self)
        }
    }

    private func wide<T: Word>(_ operation: WideOperation, _ op: Op, as: T.Type) -> Outcome
    where T.Magnitude == T {
        let operand: T
        if op.pointee.prefixes.contains(.memory) {
            guard let value = state.load(op, as: T.self) else { return .fault }
            operand = value
        } else {
            operand = state.register(op.pointee.rm, as: T.self)
        }
        // Halves: AL and AH for bytes, rAX and rDX otherwise.
        let lowRegister: UInt8 = 0
        let highRegister: UInt8 = T.bitWidth == 8 ? 1 : UInt8(Register.rdx)
        let low = state.register(lowRegister, as: T.self), high = state.register(highRegister, as: T.self)
        let newLow: T, newHigh: T
        switch operation {
        case .mul:
            let product = low.multipliedFullWidth(by: operand)
            (newLow, newHigh) = (product.low, product.high)
            state.setFlags(newLow, cf: newHigh != 0, of: newHigh != 0)
        case .imul:
            let product = signedProduct(low, operand)
            (newLow, newHigh) = (product.low, product.high)
            let fits = newHigh == (newLow.leadingZeroBitCount == 0 ? T.max : T(0))
            state.setFlags(newLow, cf: !fits, of: !fits)
        case .div:
            // A quotient that does not fit is #DE: exactly when high >= divisor.
            guard operand != 0, high < operand else { return raise(Vector.de) }
            let result = operand.dividingFullWidth((high, low))
            (newLow, newHigh) = (result.quotient, result.remainder)
        case .idiv:
            guard let result = signedQuotient(high, low, operand) else { return raise(Vector.de) }
            (newLow, newHigh) = (result.quotient, result.remainder)
        }
        state.setRegister(lowRegister, newLow)
        state.setRegister(highRegister, newHigh)
        return .next
    }

    /// Signed full product from the unsigned one: subtract each operand where the other is negative.
    private func signedProduct<T: Word>(_ a: T, _ b: T) -> (low: T, high: T) where T.Magnitude == T {
        let product = a.multipliedFullWidth(by: b)
        var high = product.high
        if a.leadingZeroBitCount == 0 { high = high &- b }
        if b.leadingZeroBitCount == 0 { high = high &- a }
        return (product.low, high)
    }

    /// Signed division by magnitudes; nil where the quotient does not fit.
    private func signedQuotient<T: Word>(_ high: T, _ low: T, _ divisor: T) -> (quotient: T, remainder: T)?
    where T.Magnitude == T {
        if divisor == 0 { return nil }
        let isNegative = high.leadingZeroBitCount == 0, divisorNegative = divisor.leadingZeroBitCount == 0
        var h = high, l = low
        if isNegative {
            l = 0 &- l
            h = ~h &+ (l == 0 ? 1 : 0)
        }
        let d = divisorNegative ? 0 &- divisor : divisor
        guard h < d else { return nil }
        let result = d.dividingFullWidth((h, l))
        let quotientNegative = isNegative != divisorNegative
        let limit: T = 1 << T(T.bitWidth - 1)
        if quotientNegative ? result.quotient > limit : result.quotient >= limit { return nil }
        return (
            quotientNegative ? 0 &- result.quotient : result.quotient,
            isNegative ? 0 &- result.remainder : result.remainder
        )
    }
}
