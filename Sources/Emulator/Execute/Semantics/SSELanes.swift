/// Shapes of SSE floating-point instructions: operands, lanes, exceptions, result.
extension CPU {
    /// Enters the flags that an instruction raised into MXCSR; false: one of them is unmasked and #XM (or #UD without
    /// CR4.OSXMMEXCPT) is pending. Unmasked exceptions found before computing hide those found after (SDM vol. 1, 4.9.2).
    @inline(__always) func commit(_ context: SSEContext) -> Bool {
        if UInt32(context.flags) & ~context.mxcsr == 0 && context.mxcsr & 0x1F80 == 0x1F80 { return true }
        return commitFlags(context)
    }

    @inline(never) private func commitFlags(_ context: SSEContext) -> Bool {
        let unmasked = context.flags & ~UInt8(truncatingIfNeeded: context.mxcsr >> 7)
        let isBefore = unmasked & FloatFlag.before != 0
        state.pointee.fpu.mxcsr |= UInt32(isBefore ? context.flags & FloatFlag.before : context.flags)
        if unmasked == 0 { return true }
        raise(state.pointee.cr4 & CR4.osxmmexcpt != 0 ? Vector.xm : Vector.ud)
        return false
    }

    @inline(__always) private var context: SSEContext { SSEContext(state.pointee.fpu.mxcsr) }

    @inline(__always) func finish(_ op: Op, _ result: V128, _ context: SSEContext) -> Outcome {
        guard commit(context) else { return .fault }
        state.xmm[Int(op.pointee.reg)] = result
        return .next
    }

    /// Two doubles.
    @inline(__always)
    func packedDouble(_ op: Op, _ lane: (inout SSEContext, UInt64, UInt64) -> UInt64) -> Outcome {
        guard let source = state.source128(op)?.loadUnaligned(as: V128.self) else { return .fault }
        let old = state.xmm[Int(op.pointee.reg)]
        var c = context
        return finish(
            op, V128(low: lane(&c, old.low, source.low), high: lane(&c, old.high, source.high)), c)
    }

    /// Four singles.
    @inline(__always)
    func packedSingle(_ op: Op, _ lane: (inout SSEContext, UInt32, UInt32) -> UInt32) -> Outcome {
        guard let source = state.source128(op)?.loadUnaligned(as: V128.self).u32 else { return .fault }
        let old = state.xmm[Int(op.pointee.reg)].u32
        var c = context
        var r = SIMD4<UInt32>()
        for i in 0..<4 { r[i] = lane(&c, old[i], source[i]) }
        return finish(op, V128(r), c)
    }

    /// One double; the high half stays.
    @inline(__always)
    func scalarDouble(_ op: Op, _ lane: (inout SSEContext, UInt64, UInt64) -> UInt64) -> Outcome {
        guard let source = state.source64(op) else { return .fault }
        let register = state.xmm + Int(op.pointee.reg)
        var c = context
        let result = lane(&c, register.pointee.low, source)
        guard commit(c) else { return .fault }
        register.pointee.q[0] = result
        return .next
    }

    /// One single; the rest stays.
    @inline(__always)
    func scalarSingle(_ op: Op, _ lane: (inout SSEContext, UInt32, UInt32) -> UInt32) -> Outcome {
        guard let source = state.source32(op) else { return .fault }
        let register = state.xmm + Int(op.pointee.reg)
        let old = register.pointee.low
        var c = context
        let result = lane(&c, UInt32(truncatingIfNeeded: old), source)
        guard commit(c) else { return .fault }
        register.pointee.q[0] = old & ~0xFFFF_FFFF | UInt64(result)
        return .next
    }

    /// Any function of both operands.
    @inline(__always)
    func wholeFloat(_ op: Op, _ body: (inout SSEContext, V128, V128) -> V128) -> Outcome {
        guard let source = state.source128(op)?.loadUnaligned(as: V128.self) else { return .fault }
        var c = context
        let result = body(&c, state.xmm[Int(op.pointee.reg)], source)
        return finish(op, result, c)
    }

    /// COMISS and its kin: unordered ZF PF CF, less CF, equal ZF.
    @inline(__always)
    func setRelation(_ c: SSEContext, _ relation: SSEContext.Relation) -> Outcome {
        guard commit(c) else { return .fault }
        switch relation {
        case .unordered: state.setArithmeticFlags(RFLAGS.zf | RFLAGS.pf | RFLAGS.cf)
        case .less: state.setArithmeticFlags(RFLAGS.cf)
        case .equal: state.setArithmeticFlags(RFLAGS.zf)
        case .greater: state.setArithmeticFlags(0)
        }
        return .next
    }

    @inline(__always) func compareDouble(_ op: Op, ordered: Bool) -> Outcome {
        guard let source = state.source64(op) else { return .fault }
        var c = context
        let relation = c.compare(state.xmm[Int(op.pointee.reg)].low, source, signalsQuiet: ordered)
        return setRelation(c, relation)
    }
    @inline(__always) func compareSingle(_ op: Op, ordered: Bool) -> Outcome {
        guard let source = state.source32(op) else { return .fault }
        var c = context
        let relation = c.compare(
            UInt32(truncatingIfNeeded: state.xmm[Int(op.pointee.reg)].low), source, signalsQuiet: ordered)
        return setRelation(c, relation)
    }

    // MARK: Conversions

    /// General register ← double or single.
    @inline(__always) func scalarToInteger(_ op: Op, double: Bool, truncate: Bool) -> Outcome {
        let width = op.pointee.prefixes.contains(.rexW) ? 64 : 32
        var c = context
        let value: Int64
        if double {
            guard let source = state.source64(op) else { return .fault }
            value = c.toInteger(double: source, width: width, truncate: truncate)
        } else {
            guard let source = state.source32(op) else { return .fault }
            value = c.toInteger(single: source, width: width, truncate: truncate)
        }
        guard commit(c) else { return .fault }
        if width == 64 {
            state.setRegister(op.pointee.reg, UInt64(bitPattern: value))
        } else {
            state.setRegister(op.pointee.reg, UInt32(truncatingIfNeeded: value))
        }
        return .next
    }

    /// A 32- or 64-bit general register or memory operand, sign-extended.
    @inline(__always) func signedSource(_ op: Op) -> Int64? {
        let isMemory = op.pointee.prefixes.contains(.memory)
        if op.pointee.prefixes.contains(.rexW) {
            guard
                let value = isMemory
                    ? state.load(op, as: UInt64.self) : state.register(op.pointee.rm, as: UInt64.self)
            else { return nil }
            return Int64(bitPattern: value)
        }
        guard let value = isMemory ? state.load(op, as: UInt32.self) : state.register(op.pointee.rm, as: UInt32.self)
        else { return nil }
        return Int64(Int32(bitPattern: value))
    }

    @inline(__always) func integerToDouble(_ op: Op) -> Outcome {
        guard let source = signedSource(op) else { return .fault }
        var c = context
        let result = c.double(integer: source)
        guard commit(c) else { return .fault }
        state.xmm[Int(op.pointee.reg)].q[0] = result
        return .next
    }

    @inline(__always) func integerToSingle(_ op: Op) -> Outcome {
        guard let source = signedSource(op) else { return .fault }
        var c = context
        let result = c.single(integer: source)
        guard commit(c) else { return .fault }
        let register = state.xmm + Int(op.pointee.reg)
        register.pointee.q[0] = register.pointee.low & ~0xFFFF_FFFF | UInt64(result)
        return .next
    }

    func singleToDouble(_ op: Op) -> Outcome {
        guard let source = state.source32(op) else { return .fault }
        var c = context
        let result = c.double(single: source)
        guard commit(c) else { return .fault }
        state.xmm[Int(op.pointee.reg)].q[0] = result
        return .next
    }

    func doubleToSingle(_ op: Op) -> Outcome {
        guard let source = state.source64(op) else { return .fault }
        var c = context
        let result = c.single(double: source)
        guard commit(c) else { return .fault }
        let register = state.xmm + Int(op.pointee.reg)
        register.pointee.q[0] = register.pointee.low & ~0xFFFF_FFFF | UInt64(result)
        return .next
    }

    /// A pair of 32-bit integers.
    @inline(__always) static func pair(_ low: Int64, _ high: Int64) -> UInt64 {
        UInt64(truncatingIfNeeded: low) & 0xFFFF_FFFF | UInt64(truncatingIfNeeded: high) &<< 32
    }
    @inline(__always) static func pair(_ low: UInt32, _ high: UInt32) -> UInt64 { UInt64(low) | UInt64(high) &<< 32 }

    func packedSingleToInteger(_ op: Op, truncate: Bool) -> Outcome {
        wholeFloat(op) { c, _, b in
            var r = SIMD4<Int32>()
            for i in 0..<4 {
                r[i] = Int32(truncatingIfNeeded: c.toInteger(single: b.u32[i], width: 32, truncate: truncate))
            }
            return V128(r)
        }
    }

    func packedDoubleToInteger(_ op: Op, truncate: Bool) -> Outcome {
        wholeFloat(op) { c, _, b in
            V128(
                low: Self.pair(
                    c.toInteger(double: b.low, width: 32, truncate: truncate),
                    c.toInteger(double: b.high, width: 32, truncate: truncate)), high: 0)
        }
    }

    func packedIntegerToSingle(_ op: Op) -> Outcome {
        wholeFloat(op) { c, _, b in
            var r = SIMD4<UInt32>()
            for i in 0..<4 { r[i] = c.single(integer: Int64(b.i32[i])) }
            return V128(r)
        }
    }

    func packedDoubleToSingle(_ op: Op) -> Outcome {
        wholeFloat(op) { c, _, b in V128(low: Self.pair(c.single(double: b.low), c.single(double: b.high)), high: 0) }
    }

    func packedSingleToDouble(_ op: Op) -> Outcome {
        guard let source = state.source64(op) else { return .fault }
        var c = context
        let result = V128(
            low: c.double(single: UInt32(truncatingIfNeeded: source)),
            high: c.double(single: UInt32(truncatingIfNeeded: source >> 32)))
        return finish(op, result, c)
    }

    func packedIntegerToDouble(_ op: Op) -> Outcome {
        widen64(op) {
            V128(
                low: Double(Int32(truncatingIfNeeded: $0)).bitPattern,
                high: Double(Int32(truncatingIfNeeded: $0 >> 32)).bitPattern)
        }
    }

    // MARK: Horizontal

    func horizontalSingle(_ op: Op, _ operation: FloatOperation) -> Outcome {
        wholeFloat(op) { c, a, b in
            let x = a.u32, y = b.u32
            return V128(
                SIMD4(
                    c.single(operation, x[0], x[1]), c.single(operation, x[2], x[3]), c.single(operation, y[0], y[1]),
                    c.single(operation, y[2], y[3])))
        }
    }

    func horizontalDouble(_ op: Op, _ operation: FloatOperation) -> Outcome {
        wholeFloat(op) { c, a, b in
            V128(low: c.double(operation, a.low, a.high), high: c.double(operation, b.low, b.high))
        }
    }

    /// DPPS: products that the control selects, summed in pairs, to the lanes that it selects.
    func dotProductSingle(_ op: Op) -> Outcome {
        let control = UInt8(truncatingIfNeeded: op.pointee.immediate)
        return wholeFloat(op) { c, a, b in
            var products = SIMD4<UInt32>()
            for i in 0..<4 where control >> UInt8(4 + i) & 1 != 0 {
                products[i] = c.single(.multiply, a.u32[i], b.u32[i])
            }
            let sum = c.single(
                .add, c.single(.add, products[0], products[1]), c.single(.add, products[2], products[3]))
            var r = SIMD4<UInt32>()
            for i in 0..<4 where control >> UInt8(i) & 1 != 0 { r[i] = sum }
            return V128(r)
        }
    }

    func dotProductDouble(_ op: Op) -> Outcome {
        let control = UInt8(truncatingIfNeeded: op.pointee.immediate)
        return wholeFloat(op) { c, a, b in
            let low = control & 0x10 != 0 ? c.double(.multiply, a.low, b.low) : 0
            let high = control & 0x20 != 0 ? c.double(.multiply, a.high, b.high) : 0
            let sum = c.double(.add, low, high)
            return V128(low: control & 1 != 0 ? sum : 0, high: control & 2 != 0 ? sum : 0)
        }
    }
}
