/// Two-operand x87 arithmetic, comparisons, loads and stores.
enum X87Operation { case add, multiply, subtract, subtractReversed, divide, divideReversed }

extension CPU {
    // MARK: Arithmetic

    /// NaN operands (SDM vol. 1, table 4-7): the quiet one, or the one with the larger significand.
    static func propagate(_ a: FloatParts, _ b: FloatParts, _ context: inout FloatContext) -> FloatParts {
        if a.category == .unsupported || b.category == .unsupported { return FloatArithmetic.invalid(&context) }
        if a.category == .signalingNaN || b.category == .signalingNaN { context.flags |= FloatFlag.invalid }
        if !a.isNaN { return b.quieted }
        if !b.isNaN { return a.quieted }
        if a.category != b.category { return a.category == .quietNaN ? a : b }
        if a.significand != b.significand { return (a.significand > b.significand ? a : b).quieted }
        return (a.sign ? b : a).quieted
    }

    @inline(__always)
    private func compute(
        _ operation: X87Operation, _ a: FloatParts, _ b: FloatParts, _ context: inout FloatContext
    ) -> FloatParts {
        if a.category.rawValue > FloatParts.Category.infinity.rawValue
            || b.category.rawValue > FloatParts.Category.infinity.rawValue
        {
            return Self.propagate(a, b, &context)
        }
        let format = x87Format
        switch operation {
        case .add: return FloatArithmetic.add(a, b, format, &context)
        case .subtract: return FloatArithmetic.add(a, b.negated, format, &context)
        case .subtractReversed: return FloatArithmetic.add(b, a.negated, format, &context)
        case .multiply: return FloatArithmetic.multiply(a, b, format, &context)
        case .divide: return FloatArithmetic.divide(a, b, format, &context)
        case .divideReversed: return FloatArithmetic.divide(b, a, format, &context)
        }
    }

    /// ST(destination) ← ST(destination) op ST(source).
    @inline(__always)
    func arithmetic(_ operation: X87Operation, _ destination: UInt8, _ source: UInt8, pop: Bool = false) -> Outcome {
        if isEmpty(destination) || isEmpty(source) {
            if stackFault(overflow: false) {
                setST(destination, .indefinite)
                if pop { popX87() }
            }
            return .next
        }
        var context = x87Context
        let result = compute(operation, st(destination), st(source), &context)
        note(context)
        if isSuppressed(context) { return .next }
        setST(destination, result)
        if pop { popX87() }
        return .next
    }

    /// ST(0) ← ST(0) op memory operand; nil: the load faulted.
    @inline(__always)
    func arithmetic(_ operation: X87Operation, memory: FloatParts?) -> Outcome {
        guard let memory else { return .fault }
        if isEmpty(0) {
            if stackFault(overflow: false) { setST(0, .indefinite) }
            return .next
        }
        var context = x87Context
        let result = compute(operation, st(0), memory, &context)
        note(context)
        if !isSuppressed(context) { setST(0, result) }
        return .next
    }

    // MARK: Operands in memory

    @inline(__always) func single(_ op: Op) -> FloatParts? {
        state.load(op, as: UInt32.self).map { FloatParts(single: $0) }
    }
    @inline(__always) func double(_ op: Op) -> FloatParts? {
        state.load(op, as: UInt64.self).map { FloatParts(double: $0) }
    }
    @inline(__always) func integer16(_ op: Op) -> FloatParts? {
        state.load(op, as: UInt16.self).map { FloatArithmetic.fromInteger(Int64(Int16(bitPattern: $0))) }
    }
    @inline(__always) func integer32(_ op: Op) -> FloatParts? {
        state.load(op, as: UInt32.self).map { FloatArithmetic.fromInteger(Int64(Int32(bitPattern: $0))) }
    }
    @inline(__always) func integer64(_ op: Op) -> FloatParts? {
        state.load(op, as: UInt64.self).map { FloatArithmetic.fromInteger(Int64(bitPattern: $0)) }
    }

    /// Bytes of an 80-bit operand.
    func load80(_ op: Op) -> X87Register? {
        guard let address = state.linear(op, size: 10, write: false),
            let significand = state.load(address, as: UInt64.self),
            let high = state.load(address &+ 8, as: UInt16.self)
        else { return nil }
        return X87Register(significand: significand, signExponent: high)
    }

    func store80(_ op: Op, _ value: X87Register) -> Bool {
        guard let address = state.linear(op, size: 10, write: true) else { return false }
        if (address &+ 9) >> 12 != address >> 12 {
            guard loadForStore(address, size: 1) != nil, loadForStore(address &+ 9, size: 1) != nil else {
                return false
            }
        }
        return state.store(address, value.significand) && state.store(address &+ 8, value.signExponent)
    }

    // MARK: Loads

    /// Pushes; overflow when the new top is in use.
    @inline(__always) func push(raw: X87Register) -> Outcome {
        if !isEmpty(7) {
            if stackFault(overflow: true) { pushX87(raw: FloatParts.indefinite.extended) }
            return .next
        }
        clearC1()
        pushX87(raw: raw)
        return .next
    }

    /// FLD of a single or double, which can be a denormal or a signalling NaN.
    @inline(__always) func loadFloat(_ value: FloatParts?) -> Outcome {
        guard var value else { return .fault }
        if isEmpty(7) && (value.isDenormal || value.category == .signalingNaN) {
            var context = x87Context
            context.flags = value.isDenormal ? FloatFlag.denormal : FloatFlag.invalid
            note(context)
            // A denormal is pushed even where its exception is not masked.
            if !value.isDenormal {
                if isSuppressed(context) { return .next }
                value = value.quieted
            }
        }
        return push(raw: value.extended)
    }

    /// FLD ST(i).
    func loadRegister(_ i: UInt8) -> Outcome {
        if isEmpty(i) {
            if stackFault(overflow: false) { pushX87(raw: FloatParts.indefinite.extended) }
            return .next
        }
        return push(raw: state.pointee.fpu.registers[physical(i)])
    }

    /// Constants that are not exact follow rounding control; `below` and `above` are the neighbours.
    func loadConstant(_ significand: UInt64, _ exponent: Int32, roundedUp: Bool) -> Outcome {
        var bits = significand
        switch x87Context.rounding {
        case 1, 3: if roundedUp { bits &-= 1 }
        case 2: if !roundedUp { bits &+= 1 }
        default: break
        }
        return push(raw: FloatParts(sign: false, exponent: exponent, significand: bits).extended)
    }

    // MARK: Stores

    /// FST to memory: `encode` makes the bits, `write` stores them.
    @inline(__always)
    func storeFloat(_ format: FloatFormat, pop: Bool, _ write: (FloatParts) -> Bool) -> Outcome {
        var context = x87Context
        let value: FloatParts
        if isEmpty(0) {
            if !context.isMasked(FloatFlag.invalid) {
                _ = stackFault(overflow: false)
                return .next
            }
            guard write(.indefinite) else { return .fault }
            _ = stackFault(overflow: false)
            if pop { popX87() }
            return .next
        }
        let source = st(0)
        if source.category == .unsupported {
            value = FloatArithmetic.invalid(&context)
        } else if source.isNaN {
            if source.category == .signalingNaN { context.flags |= FloatFlag.invalid }
            value = source.quieted
        } else {
            value = FloatArithmetic.renormalize(source, format, &context)
        }
        let forbidding = FloatFlag.overflow | FloatFlag.underflow
        if isSuppressed(context, also: forbidding) {
            note(context, suppressing: forbidding)
            return .next
        }
        guard write(value) else { return .fault }
        note(context)
        if pop { popX87() }
        return .next
    }

    /// FIST, FISTP, FISTTP.
    @inline(__always)
    func storeInteger(_ op: Op, bits: Int, truncate: Bool = false, pop: Bool) -> Outcome {
        var context = x87Context
        if truncate { context.rounding = 3 }
        let isFault = isEmpty(0)
        var value: Int64? = nil
        if isFault {
            if !context.isMasked(FloatFlag.invalid) {
                _ = stackFault(overflow: false)
                return .next
            }
        } else {
            value = FloatArithmetic.toInteger(st(0), bits: bits, &context)
            if value == nil { context.flags |= FloatFlag.invalid }
            if isSuppressed(context) {
                note(context)
                return .next
            }
        }
        let stored = value ?? Int64.min >> Int64(64 - bits)
        let done =
            switch bits {
            case 16: state.store(op, UInt16(truncatingIfNeeded: stored))
            case 32: state.store(op, UInt32(truncatingIfNeeded: stored))
            default: state.store(op, UInt64(bitPattern: stored))
            }
        guard done else { return .fault }
        if isFault { _ = stackFault(overflow: false) } else { note(context) }
        if pop { popX87() }
        return .next
    }

    /// FST ST(i).
    func storeRegister(_ i: UInt8, pop: Bool) -> Outcome {
        if isEmpty(0) {
            if stackFault(overflow: false) {
                setST(i, .indefinite)
                if pop { popX87() }
            }
            return .next
        }
        clearC1()
        setST(i, raw: state.pointee.fpu.registers[physical(0)])
        if pop { popX87() }
        return .next
    }

    // MARK: Comparison

    /// Relation of two operands and its exceptions. `quiet`: FUCOM, where quiet NaNs are no exception.
    private func relation(
        _ a: FloatParts, _ b: FloatParts, quiet: Bool, _ context: inout FloatContext
    ) -> SSEContext.Relation {
        let limit = FloatParts.Category.infinity.rawValue
        if a.category.rawValue > limit || b.category.rawValue > limit {
            let bothQuiet =
                (a.category == .quietNaN || a.category.rawValue <= limit)
                && (b.category == .quietNaN || b.category.rawValue <= limit)
            if !quiet || !bothQuiet { context.flags |= FloatFlag.invalid }
            return .unordered
        }
        if a.isDenormal || b.isDenormal { context.flags |= FloatFlag.denormal }
        let order = FloatArithmetic.compare(a, b)
        return order < 0 ? .less : order == 0 ? .equal : .greater
    }

    /// FCOM and its kin: result in C3, C2, C0, also after an unmasked exception. `other` nil: that operand is an empty register.
    func compare(_ other: FloatParts?, quiet: Bool = false, pops: Int = 0) -> Outcome {
        var relation = SSEContext.Relation.unordered
        var mayPop = true
        if let other, !isEmpty(0) {
            var context = x87Context
            relation = self.relation(st(0), other, quiet: quiet, &context)
            note(context)
            mayPop = !isSuppressed(context)
        } else {
            mayPop = stackFault(overflow: false)
        }
        let bits: UInt16 =
            switch relation {
            case .unordered: X87Status.c3 | X87Status.c2 | X87Status.c0
            case .less: X87Status.c0
            case .equal: X87Status.c3
            case .greater: 0
            }
        state.pointee.fpu.status =
            state.pointee.fpu.status & ~(X87Status.c3 | X87Status.c2 | X87Status.c0) | bits
        if mayPop { for _ in 0..<pops { popX87() } }
        return .next
    }

    func compareMemory(_ other: FloatParts?, pop: Bool) -> Outcome {
        guard let other else { return .fault }
        return compare(other, pops: pop ? 1 : 0)
    }

    func compareRegister(_ i: UInt8, quiet: Bool = false, pops: Int = 0) -> Outcome {
        compare(isEmpty(i) ? nil : st(i), quiet: quiet, pops: pops)
    }

    /// FCOMI and its kin: result in ZF, PF, CF.
    func compareToFlags(_ i: UInt8, quiet: Bool, pop: Bool) -> Outcome {
        var relation = SSEContext.Relation.unordered
        var mayPop = true
        if isEmpty(0) || isEmpty(i) {
            mayPop = stackFault(overflow: false)
        } else {
            var context = x87Context
            relation = self.relation(st(0), st(i), quiet: quiet, &context)
            note(context)
            mayPop = !isSuppressed(context)
        }
        switch relation {
        case .unordered: state.setArithmeticFlags(RFLAGS.zf | RFLAGS.pf | RFLAGS.cf)
        case .less: state.setArithmeticFlags(RFLAGS.cf)
        case .equal: state.setArithmeticFlags(RFLAGS.zf)
        case .greater: state.setArithmeticFlags(0)
        }
        if pop && mayPop { popX87() }
        return .next
    }

    /// FCMOVcc.
    func moveIf(_ condition: Bool, _ i: UInt8) -> Outcome {
        if isEmpty(0) || isEmpty(i) {
            if stackFault(overflow: false) { setST(0, .indefinite) }
            return .next
        }
        if condition { setST(0, raw: state.pointee.fpu.registers[physical(i)]) }
        return .next
    }

    // MARK: One operand

    /// ST(0) ← f(ST(0)) with NaNs and stack faults taken care of.
    @inline(__always)
    func unary(_ body: (FloatParts, inout FloatContext) -> FloatParts) -> Outcome {
        if isEmpty(0) {
            if stackFault(overflow: false) { setST(0, .indefinite) }
            return .next
        }
        var context = x87Context
        let source = st(0)
        let result: FloatParts
        if source.category.rawValue > FloatParts.Category.infinity.rawValue {
            result = Self.propagate(source, source, &context)
        } else {
            result = body(source, &context)
        }
        note(context)
        if !isSuppressed(context) { setST(0, result) }
        return .next
    }

    /// FCHS, FABS: bits only.
    @inline(__always) func changeSign(_ body: (UInt16) -> UInt16) -> Outcome {
        if isEmpty(0) {
            if stackFault(overflow: false) { setST(0, .indefinite) }
            return .next
        }
        clearC1()
        var value = state.pointee.fpu.registers[physical(0)]
        value.signExponent = body(value.signExponent)
        setST(0, raw: value)
        return .next
    }

    func exchange(_ i: UInt8) -> Outcome {
        if isEmpty(0) || isEmpty(i) {
            if !stackFault(overflow: false) { return .next }
            if isEmpty(0) { setST(0, .indefinite) }
            if isEmpty(i) { setST(i, .indefinite) }
        } else {
            clearC1()
        }
        let a = state.pointee.fpu.registers[physical(0)]
        setST(0, raw: state.pointee.fpu.registers[physical(i)])
        setST(i, raw: a)
        return .next
    }

    /// FXAM.
    func examine() -> Outcome {
        let value = st(0)
        var bits: UInt16 =
            switch value.category {
            case .unsupported: 0
            case .quietNaN, .signalingNaN: X87Status.c0
            case .finite: value.isDenormal ? X87Status.c3 | X87Status.c2 : X87Status.c2
            case .infinity: X87Status.c2 | X87Status.c0
            case .zero: X87Status.c3
            }
        if isEmpty(0) { bits = X87Status.c3 | X87Status.c0 }
        if value.sign { bits |= X87Status.c1 }
        state.pointee.fpu.status = state.pointee.fpu.status & ~X87Status.conditions | bits
        return .next
    }
}

extension CPU {
    /// FSTP m80: no conversion, no exception but underflow of the stack.
    func storeExtended(_ op: Op) -> Outcome {
        let isFault = isEmpty(0)
        if isFault && state.pointee.fpu.control & 1 == 0 {
            _ = stackFault(overflow: false)
            return .next
        }
        let value = isFault ? FloatParts.indefinite.extended : state.pointee.fpu.registers[physical(0)]
        guard store80(op, value) else { return .fault }
        if isFault { _ = stackFault(overflow: false) } else { clearC1() }
        popX87()
        return .next
    }
}
