/// Operands of MMX and SSE instructions.
extension CPUPointer {
    /// XMM0–XMM15.
    @inline(__always) var xmm: UnsafeMutablePointer<V128> {
        // SAFETY: `InlineArray` has no header, and both types are 16 plain bytes.
        withUnsafeMutablePointer(to: &pointee.fpu.xmm) {
            UnsafeMutableRawPointer($0).assumingMemoryBound(to: V128.self)
        }
    }

    /// Where a 128-bit source stands: register, or memory that must be 16-byte aligned. Nil: a fault is pending.
    @inline(__always) func source128(_ op: Op) -> UnsafeRawPointer? {
        if op.pointee.prefixes.contains(.memory) { return cpu.memorySource128(op, aligned: true) }
        return UnsafeRawPointer(xmm + Int(op.pointee.rm))
    }

    /// The low 64 or 32 bits of an XMM register, or memory of that size.
    @inline(__always) func source64(_ op: Op) -> UInt64? {
        op.pointee.prefixes.contains(.memory) ? load(op, as: UInt64.self) : xmm[Int(op.pointee.rm)].low
    }
    @inline(__always) func source32(_ op: Op) -> UInt32? {
        op.pointee.prefixes.contains(.memory)
            ? load(op, as: UInt32.self) : UInt32(truncatingIfNeeded: xmm[Int(op.pointee.rm)].low)
    }
}

extension CPU {
    /// A 128-bit memory operand: in place when its page is in the TLB, else copied into the state.
    @inline(never) func memorySource128(_ op: Op, aligned: Bool) -> UnsafeRawPointer? {
        guard let linear = state.linear(op, size: 16, write: false) else { return nil }
        if aligned && linear & 15 != 0 {
            generalProtection()
            return nil
        }
        let entry = state.pointee.readTLB + Int(truncatingIfNeeded: (linear >> 12) & TLBTables.mask)
        if (linear &+ 15) & ~0xFFF == entry.pointee.tag {
            // SAFETY: a TLB hit means that all 16 bytes lie in one host page of guest memory.
            return UnsafeRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend))
        }
        guard let low = state.load(linear, as: UInt64.self), let high = state.load(linear &+ 8, as: UInt64.self)
        else { return nil }
        // SAFETY: the state outlives the instruction.
        return withUnsafeMutablePointer(to: &state.pointee.fpu.operand) {
            $0.pointee = XMMRegister(low: low, high: high)
            return UnsafeRawPointer($0)
        }
    }

    /// Stores 128 bits; nothing is written when any byte may not be.
    @inline(never) func store128(_ op: Op, _ value: V128, aligned: Bool) -> Bool {
        guard let linear = state.linear(op, size: 16, write: true) else { return false }
        if aligned && linear & 15 != 0 {
            generalProtection()
            return false
        }
        return store128(linear, value)
    }

    func store128(_ linear: UInt64, _ value: V128) -> Bool {
        let entry = state.pointee.writeTLB + Int(truncatingIfNeeded: (linear >> 12) & TLBTables.mask)
        if (linear &+ 15) & ~0xFFF == entry.pointee.tag,
            let host = UnsafeMutableRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend))
        {
            // SAFETY: as in `memorySource128`.
            host.storeBytes(of: value, as: V128.self)
            return true
        }
        if (linear &+ 15) >> 12 != linear >> 12 {
            guard loadForStore(linear, size: 1) != nil, loadForStore(linear &+ 15, size: 1) != nil else { return false }
        }
        return state.store(linear, value.low) && state.store(linear &+ 8, value.high)
    }

    // MARK: Shapes of instructions

    /// XMM ← XMM op XMM/m128 (aligned).
    @inline(__always) func packed(_ op: Op, _ body: (V128, V128) -> V128) -> Outcome {
        guard let source = state.source128(op) else { return .fault }
        let destination = state.xmm + Int(op.pointee.reg)
        destination.pointee = body(destination.pointee, source.loadUnaligned(as: V128.self))
        return .next
    }

    /// XMM/m128 ← XMM.
    @inline(__always) func storePacked(_ op: Op, aligned: Bool) -> Outcome {
        let value = state.xmm[Int(op.pointee.reg)]
        if op.pointee.prefixes.contains(.memory) {
            return store128(op, value, aligned: aligned) ? .next : .fault
        }
        state.xmm[Int(op.pointee.rm)] = value
        return .next
    }

    @inline(__always) func loadPackedUnaligned(_ op: Op) -> Outcome {
        guard
            let source = op.pointee.prefixes.contains(.memory)
                ? memorySource128(op, aligned: false) : UnsafeRawPointer(state.xmm + Int(op.pointee.rm))
        else { return .fault }
        state.xmm[Int(op.pointee.reg)] = source.loadUnaligned(as: V128.self)
        return .next
    }

    /// XMM ← f(64 bits of XMM/m64).
    @inline(__always) func widen64(_ op: Op, _ body: (UInt64) -> V128) -> Outcome {
        guard let source = state.source64(op) else { return .fault }
        state.xmm[Int(op.pointee.reg)] = body(source)
        return .next
    }
    @inline(__always) func widen32(_ op: Op, _ body: (UInt32) -> V128) -> Outcome {
        guard let source = state.source32(op) else { return .fault }
        state.xmm[Int(op.pointee.reg)] = body(source)
        return .next
    }

    /// Shift of ModRM.rm by the immediate.
    @inline(__always) func shiftImmediate(_ op: Op, _ body: (V128, UInt64) -> V128) -> Outcome {
        let register = state.xmm + Int(op.pointee.rm)
        register.pointee = body(register.pointee, UInt64(op.pointee.immediate & 0xFF))
        return .next
    }

    /// Low half ← memory, high half kept, and the like.
    @inline(__always) func loadHalf(_ op: Op, high: Bool) -> Outcome {
        guard let value = state.load(op, as: UInt64.self) else { return .fault }
        state.xmm[Int(op.pointee.reg)].q[high ? 1 : 0] = value
        return .next
    }
}
