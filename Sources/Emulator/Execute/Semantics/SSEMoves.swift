/// SSE and MMX moves between registers, memory and general registers, and MXCSR.
extension CPU {
    /// Whether MMX and SSE instructions may run at all (SDM vol. 3, 2.5 and table 12-1). False: a fault is pending.
    @inline(never) func mayExecute(_ code: SSECode) -> Bool {
        let s = state.pointee
        if code.rawValue >= SSECode.lfence.rawValue { return true }
        let isState = code == .fxsave || code == .fxrstor
        if isState {
            if s.cr0 & (CR0.em | CR0.ts) != 0 {
                raise(Vector.nm)
                return false
            }
            return true
        }
        let isMMX = code.rawValue < SSECode.movups.rawValue
        if s.cr0 & CR0.em != 0 || !isMMX && s.cr4 & CR4.osfxsr == 0 {
            raise(Vector.ud)
            return false
        }
        if s.cr0 & CR0.ts != 0 {
            raise(Vector.nm)
            return false
        }
        return isMMX ? checkPendingX87() : true
    }

    /// MOVSS and MOVSD: a load clears the rest of the register, a move between registers keeps it.
    @inline(__always) func moveScalar(_ op: Op, single: Bool) -> Outcome {
        let destination = state.xmm + Int(op.pointee.reg)
        if op.pointee.prefixes.contains(.memory) {
            guard
                let value = single
                    ? state.load(op, as: UInt32.self).map(UInt64.init) : state.load(op, as: UInt64.self)
            else { return .fault }
            destination.pointee = V128(low: value, high: 0)
            return .next
        }
        let mask: UInt64 = single ? 0xFFFF_FFFF : ~0
        destination.pointee.q[0] = destination.pointee.low & ~mask | state.xmm[Int(op.pointee.rm)].low & mask
        return .next
    }

    @inline(__always) func storeScalar(_ op: Op, single: Bool) -> Outcome {
        let value = state.xmm[Int(op.pointee.reg)].low
        if op.pointee.prefixes.contains(.memory) {
            let done = single ? state.store(op, UInt32(truncatingIfNeeded: value)) : state.store(op, value)
            return done ? .next : .fault
        }
        let mask: UInt64 = single ? 0xFFFF_FFFF : ~0
        let destination = state.xmm + Int(op.pointee.rm)
        destination.pointee.q[0] = destination.pointee.low & ~mask | value & mask
        return .next
    }

    /// MOVQ xmm/m64, xmm.
    @inline(__always) func storeQuad(_ op: Op) -> Outcome {
        let value = state.xmm[Int(op.pointee.reg)].low
        if op.pointee.prefixes.contains(.memory) { return state.store(op, value) ? .next : .fault }
        state.xmm[Int(op.pointee.rm)] = V128(low: value, high: 0)
        return .next
    }

    /// General register ← bits of both halves of ModRM.rm.
    @inline(__always) func signMask(_ op: Op, _ body: (UInt64, UInt64) -> UInt64) -> Outcome {
        let source = state.xmm[Int(op.pointee.rm)]
        state.setRegister(op.pointee.reg, UInt32(truncatingIfNeeded: body(source.low, source.high)))
        return .next
    }

    /// A 32- or (REX.W) 64-bit general register or memory operand.
    @inline(__always) private func generalSource(_ op: Op) -> UInt64? {
        let isMemory = op.pointee.prefixes.contains(.memory)
        if op.pointee.prefixes.contains(.rexW) {
            return isMemory ? state.load(op, as: UInt64.self) : state.register(op.pointee.rm, as: UInt64.self)
        }
        return (isMemory ? state.load(op, as: UInt32.self) : state.register(op.pointee.rm, as: UInt32.self))
            .map(UInt64.init)
    }

    @inline(__always) func moveFromGeneral(_ op: Op) -> Outcome {
        guard let value = generalSource(op) else { return .fault }
        state.xmm[Int(op.pointee.reg)] = V128(low: value, high: 0)
        return .next
    }

    @inline(__always) func moveFromGeneralMMX(_ op: Op) -> Outcome {
        guard let value = generalSource(op) else { return .fault }
        setMMX(op.pointee.reg, value)
        return .next
    }

    @inline(__always) func moveToGeneral(_ op: Op, _ value: UInt64) -> Outcome {
        let isMemory = op.pointee.prefixes.contains(.memory)
        if op.pointee.prefixes.contains(.rexW) {
            if isMemory { return state.store(op, value) ? .next : .fault }
            state.setRegister(op.pointee.rm, value)
        } else {
            let low = UInt32(truncatingIfNeeded: value)
            if isMemory { return state.store(op, low) ? .next : .fault }
            state.setRegister(op.pointee.rm, low)
        }
        return .next
    }

    func storeMMX(_ op: Op) -> Outcome {
        let value = state.pointee.fpu.registers[Int(op.pointee.reg)].significand
        if op.pointee.prefixes.contains(.memory) {
            guard state.store(op, value) else { return .fault }
            enterMMX()
        } else {
            setMMX(op.pointee.rm, value)
        }
        return .next
    }

    func storeMaskedMMX(_ op: Op) -> Outcome {
        let value = state.pointee.fpu.registers[Int(op.pointee.reg)].significand
        let mask = state.pointee.fpu.registers[Int(op.pointee.rm)].significand
        let outcome = storeMasked(op, V128(low: value, high: 0), V128(low: mask, high: 0), count: 8)
        if outcome == .next { enterMMX() }
        return outcome
    }

    /// PUNPCKLxx on MMX reads only 32 bits of memory.
    @inline(__always) func mmxLow(_ op: Op, _ body: (UInt64, UInt64) -> UInt64) -> Outcome {
        let source =
            op.pointee.prefixes.contains(.memory)
            ? state.load(op, as: UInt32.self).map(UInt64.init)
            : state.pointee.fpu.registers[Int(op.pointee.rm)].significand
        guard let source else { return .fault }
        setMMX(op.pointee.reg, body(state.pointee.fpu.registers[Int(op.pointee.reg)].significand, source))
        return .next
    }

    func loadMXCSR(_ op: Op) -> Outcome {
        guard let value = state.load(op, as: UInt32.self) else { return .fault }
        if value & ~MXCSR.writable != 0 { return generalProtection() }
        state.pointee.fpu.mxcsr = value
        return .next
    }

    // MARK: Blends and lanes

    /// Blend by a mask made from XMM0.
    @inline(__always) func blend(_ a: V128, _ b: V128, _ mask: (V128) -> V128) -> V128 {
        let m = mask(state.xmm[0])
        return V128(a.q & ~m.q | b.q & m.q)
    }

    /// Takes lanes of `width` bytes from `b` where a bit is set.
    @inline(__always) static func select(_ a: V128, _ b: V128, lanes: UInt64, width: UInt64) -> V128 {
        func half(_ bits: UInt64) -> UInt64 {
            let lane: UInt64 = width == 8 ? ~0 : 1 &<< (width &* 8) &- 1
            var mask: UInt64 = 0
            for i in 0..<(8 / width) where bits >> i & 1 != 0 { mask |= lane &<< (i &* width &* 8) }
            return mask
        }
        let low = half(lanes), high = half(lanes >> (8 / width))
        return V128(low: a.low & ~low | b.low & low, high: a.high & ~high | b.high & high)
    }

    /// PTEST.
    func testBits(_ op: Op) -> Outcome {
        guard let b = state.source128(op)?.loadUnaligned(as: V128.self) else { return .fault }
        let a = state.xmm[Int(op.pointee.reg)]
        let isZero = (a.low & b.low) | (a.high & b.high) == 0
        let isCovered = (~a.low & b.low) | (~a.high & b.high) == 0
        state.setArithmeticFlags((isZero ? RFLAGS.zf : 0) | (isCovered ? RFLAGS.cf : 0))
        return .next
    }

    private func wordSource(_ op: Op) -> UInt16? {
        op.pointee.prefixes.contains(.memory)
            ? state.load(op, as: UInt16.self) : state.register(op.pointee.rm, as: UInt16.self)
    }

    func insertWord(_ op: Op) -> Outcome {
        guard let value = wordSource(op) else { return .fault }
        var words = state.xmm[Int(op.pointee.reg)].u16
        words[Int(op.pointee.immediate & 7)] = value
        state.xmm[Int(op.pointee.reg)] = V128(words)
        return .next
    }

    func insertWordMMX(_ op: Op) -> Outcome {
        guard let value = wordSource(op) else { return .fault }
        var words = V128(low: state.pointee.fpu.registers[Int(op.pointee.reg)].significand, high: 0).u16
        words[Int(op.pointee.immediate & 3)] = value
        setMMX(op.pointee.reg, V128(words).low)
        return .next
    }

    func insertByte(_ op: Op) -> Outcome {
        let source =
            op.pointee.prefixes.contains(.memory)
            ? state.load(op, as: UInt8.self)
            : UInt8(truncatingIfNeeded: state.register(op.pointee.rm, as: UInt32.self))
        guard let source else { return .fault }
        var bytes = state.xmm[Int(op.pointee.reg)].u8
        bytes[Int(op.pointee.immediate & 15)] = source
        state.xmm[Int(op.pointee.reg)] = V128(bytes)
        return .next
    }

    /// PINSRD, PINSRQ.
    func insertDoubleword(_ op: Op) -> Outcome {
        guard let value = generalSource(op) else { return .fault }
        let register = state.xmm + Int(op.pointee.reg)
        if op.pointee.prefixes.contains(.rexW) {
            register.pointee.q[Int(op.pointee.immediate & 1)] = value
        } else {
            var lanes = register.pointee.u32
            lanes[Int(op.pointee.immediate & 3)] = UInt32(truncatingIfNeeded: value)
            register.pointee = V128(lanes)
        }
        return .next
    }

    /// PEXTRW to a general register.
    func extractWord(_ op: Op, _ source: V128, mask: Int64 = 7) -> Outcome {
        if mask == 3 { enterMMX() }
        state.setRegister(op.pointee.reg, UInt32(source.u16[Int(op.pointee.immediate & mask)]))
        return .next
    }

    /// PEXTRB, PEXTRW, PEXTRD/Q and EXTRACTPS to a general register or memory.
    func extract(_ op: Op, _ code: SSECode) -> Outcome {
        let source = state.xmm[Int(op.pointee.reg)]
        let at = Int(op.pointee.immediate)
        let isMemory = op.pointee.prefixes.contains(.memory)
        if code == .pextrb {
            let value = source.u8[at & 15]
            if isMemory { return state.store(op, value) ? .next : .fault }
            state.setRegister(op.pointee.rm, UInt32(value))
        } else if code == .pextrw_store {
            let value = source.u16[at & 7]
            if isMemory { return state.store(op, value) ? .next : .fault }
            state.setRegister(op.pointee.rm, UInt32(value))
        } else if code == .pextrd && op.pointee.prefixes.contains(.rexW) {
            return moveToGeneral(op, source.q[at & 1])
        } else {
            let value = source.u32[at & 3]
            if isMemory { return state.store(op, value) ? .next : .fault }
            state.setRegister(op.pointee.rm, value)
        }
        return .next
    }

    /// INSERTPS: control bits 6–7 source lane, 4–5 destination lane, 0–3 lanes to clear.
    func insertSingle(_ op: Op) -> Outcome {
        let control = Int(op.pointee.immediate)
        let value: UInt32
        if op.pointee.prefixes.contains(.memory) {
            guard let loaded = state.load(op, as: UInt32.self) else { return .fault }
            value = loaded
        } else {
            value = state.xmm[Int(op.pointee.rm)].u32[control >> 6 & 3]
        }
        var lanes = state.xmm[Int(op.pointee.reg)].u32
        lanes[control >> 4 & 3] = value
        for i in 0..<4 where control >> i & 1 != 0 { lanes[i] = 0 }
        state.xmm[Int(op.pointee.reg)] = V128(lanes)
        return .next
    }

    /// PMOVSXBQ, PMOVZXBQ.
    func widenBytesToQuads(_ op: Op, signed: Bool) -> Outcome {
        let source =
            op.pointee.prefixes.contains(.memory)
            ? state.load(op, as: UInt16.self)
            : UInt16(truncatingIfNeeded: state.xmm[Int(op.pointee.rm)].low)
        guard let source else { return .fault }
        let low = UInt8(truncatingIfNeeded: source), high = UInt8(truncatingIfNeeded: source >> 8)
        state.xmm[Int(op.pointee.reg)] =
            signed ? V128(low: signExtended(low), high: signExtended(high)) : V128(low: UInt64(low), high: UInt64(high))
        return .next
    }

    // MARK: Add and subtract by turns

    func addSubtractSingle(_ op: Op) -> Outcome {
        wholeFloat(op) { c, a, b in
            var r = SIMD4<UInt32>()
            for i in 0..<4 { r[i] = c.single(i & 1 == 0 ? .subtract : .add, a.u32[i], b.u32[i]) }
            return V128(r)
        }
    }
    func addSubtractDouble(_ op: Op) -> Outcome {
        wholeFloat(op) { c, a, b in
            V128(low: c.double(.subtract, a.low, b.low), high: c.double(.add, a.high, b.high))
        }
    }

    // MARK: Conversions to and from MMX

    /// MMX conversions are MMX instructions too, except CVTPI2PD from memory.
    private func mmxReady() -> Bool {
        guard checkPendingX87() else { return false }
        return true
    }

    func mmxToSingle(_ op: Op) -> Outcome {
        guard mmxReady(), let source = mmxSource(op) else { return .fault }
        var c = SSEContext(state.pointee.fpu.mxcsr)
        let low = c.single(integer: Int64(Int32(truncatingIfNeeded: source)))
        let high = c.single(integer: Int64(Int32(truncatingIfNeeded: source >> 32)))
        guard commit(c) else { return .fault }
        enterMMX()
        state.xmm[Int(op.pointee.reg)].q[0] = Self.pair(low, high)
        return .next
    }

    func mmxToDouble(_ op: Op) -> Outcome {
        let isMemory = op.pointee.prefixes.contains(.memory)
        guard isMemory || mmxReady(), let source = mmxSource(op) else { return .fault }
        if !isMemory { enterMMX() }
        state.xmm[Int(op.pointee.reg)] = V128(
            low: Double(Int32(truncatingIfNeeded: source)).bitPattern,
            high: Double(Int32(truncatingIfNeeded: source >> 32)).bitPattern)
        return .next
    }

    func singleToMMX(_ op: Op, truncate: Bool) -> Outcome {
        guard mmxReady(), let source = state.source64(op) else { return .fault }
        var c = SSEContext(state.pointee.fpu.mxcsr)
        let low = c.toInteger(single: UInt32(truncatingIfNeeded: source), width: 32, truncate: truncate)
        let high = c.toInteger(single: UInt32(truncatingIfNeeded: source >> 32), width: 32, truncate: truncate)
        guard commit(c) else { return .fault }
        setMMX(op.pointee.reg, Self.pair(low, high))
        return .next
    }

    func doubleToMMX(_ op: Op, truncate: Bool) -> Outcome {
        guard mmxReady(), let source = state.source128(op)?.loadUnaligned(as: V128.self) else { return .fault }
        var c = SSEContext(state.pointee.fpu.mxcsr)
        let low = c.toInteger(double: source.low, width: 32, truncate: truncate)
        let high = c.toInteger(double: source.high, width: 32, truncate: truncate)
        guard commit(c) else { return .fault }
        setMMX(op.pointee.reg, Self.pair(low, high))
        return .next
    }
}

extension SSEContext {
    /// CMPxx: all ones where the predicate holds.
    @inline(__always) mutating func predicate(_ control: UInt8, _ a: UInt64, _ b: UInt64) -> UInt64 {
        Self.holds(control, compare(a, b, signalsQuiet: Self.signals(control))) ? ~0 : 0
    }
    @inline(__always) mutating func predicate(_ control: UInt8, _ a: UInt32, _ b: UInt32) -> UInt32 {
        Self.holds(control, compare(a, b, signalsQuiet: Self.signals(control))) ? ~0 : 0
    }
}
