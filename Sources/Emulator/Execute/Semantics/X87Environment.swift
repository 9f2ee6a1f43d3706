/// FSTENV, FLDENV, FSAVE, FRSTOR and FXSAVE, FXRSTOR images (SDM vol. 1, 8.1.10 and 10.5.1).
///
/// Environment, 28 bytes with 32-bit operands, 14 with 16-bit ones (fields of 2 bytes at half the offset):
///
/// | offset | field |
/// | --- | --- |
/// | 0 | control word |
/// | 4 | status word |
/// | 8 | tag word: two bits a register, 0 valid, 1 zero, 2 special, 3 empty |
/// | 12 | instruction pointer, low bits |
/// | 16 | protected mode: CS, opcode << 16; real mode: pointer bits 16–31 << 12, opcode |
/// | 20 | operand pointer, low bits |
/// | 24 | protected mode: DS; real mode: pointer bits 16–31 << 12 |
///
/// FXSAVE, 512 bytes: 0 control, 2 status, 4 tag byte (set: in use), 6 opcode, 8 instruction pointer, 16 operand
/// pointer, 24 MXCSR, 28 its mask, 32 ST(0)–ST(7) in 16 bytes each, 160 XMM0–XMM15.
extension CPU {
    var statusWord: UInt16 {
        state.pointee.fpu.status | UInt16(state.pointee.fpu.top & 7) << 11
    }

    func setStatusWord(_ word: UInt16) {
        state.pointee.fpu.status = word & ~0x3800
        state.pointee.fpu.top = UInt8(word >> 11 & 7)
    }

    /// Two bits for each physical register, made from what it holds.
    private var tagWord: UInt16 {
        var word: UInt16 = 0
        for i in 0..<8 {
            var tag: UInt16 = 3
            if state.pointee.fpu.emptyMask >> UInt8(i) & 1 == 0 {
                let value = state.pointee.fpu.registers[i]
                let exponent = value.signExponent & 0x7FFF
                if exponent == 0 && value.significand == 0 {
                    tag = 1
                } else {
                    tag = exponent == 0 || exponent == 0x7FFF || value.significand >> 63 == 0 ? 2 : 0
                }
            }
            word |= tag << UInt16(2 * i)
        }
        return word
    }

    func initializeX87() {
        state.pointee.fpu.control = 0x037F
        state.pointee.fpu.status = 0
        state.pointee.fpu.top = 0
        state.pointee.fpu.emptyMask = 0xFF
        state.pointee.fpu.lastOpcode = 0
        state.pointee.fpu.lastInstruction = 0
        state.pointee.fpu.lastInstructionSelector = 0
        state.pointee.fpu.lastOperand = 0
        state.pointee.fpu.lastOperandSelector = 0
    }

    // MARK: Memory images

    /// Linear address of an image of `size` bytes all of which may be written (or read); nil: a fault is pending.
    private func image(_ op: Op, size: UInt64, write: Bool) -> UInt64? {
        guard let address = state.linear(op, size: size, write: write) else { return nil }
        let last = address &+ size &- 1
        if write {
            guard loadForStore(address, size: 1) != nil else { return nil }
            if last >> 12 != address >> 12, loadForStore(last, size: 1) == nil { return nil }
        } else {
            guard loadSlow(address, size: 1) != nil else { return nil }
            if last >> 12 != address >> 12, loadSlow(last, size: 1) == nil { return nil }
        }
        return address
    }

    private func environmentSize(_ op: Op) -> UInt64 { op.pointee.size == 1 ? 14 : 28 }

    private func writeEnvironment(_ address: UInt64, wide: Bool) -> Bool {
        let fpu = state.pointee.fpu
        let isProtected = !state.pointee.usesRealSegments
        let fip = fpu.lastInstruction, fdp = fpu.lastOperand
        var fields = InlineArray<7, UInt32>(repeating: 0)
        let fill: UInt32 = wide ? 0xFFFF_0000 : 0
        fields[0] = UInt32(fpu.control) | fill
        fields[1] = UInt32(statusWord) | fill
        fields[2] = UInt32(tagWord) | fill
        if isProtected {
            fields[3] = UInt32(truncatingIfNeeded: fip)
            fields[4] = UInt32(fpu.lastInstructionSelector) | (wide ? UInt32(fpu.lastOpcode & 0x7FF) << 16 : 0)
            fields[5] = UInt32(truncatingIfNeeded: fdp)
            fields[6] = UInt32(fpu.lastOperandSelector) | fill
        } else {
            let instruction = UInt32(truncatingIfNeeded: fip &+ UInt64(fpu.lastInstructionSelector) << 4)
            let operand = UInt32(truncatingIfNeeded: fdp &+ UInt64(fpu.lastOperandSelector) << 4)
            fields[3] = instruction & 0xFFFF
            fields[5] = operand & 0xFFFF
            fields[4] = (wide ? (instruction >> 16) << 12 : instruction >> 4 & 0xF000) | UInt32(fpu.lastOpcode & 0x7FF)
            fields[6] = wide ? (operand >> 16) << 12 : operand >> 4 & 0xF000
        }
        for i in 0..<7 {
            let done =
                wide
                ? state.store(address &+ UInt64(4 * i), fields[i])
                : state.store(address &+ UInt64(2 * i), UInt16(truncatingIfNeeded: fields[i]))
            guard done else { return false }
        }
        return true
    }

    private func readEnvironment(_ address: UInt64, wide: Bool) -> Bool {
        var fields = InlineArray<7, UInt32>(repeating: 0)
        for i in 0..<7 {
            let value =
                wide
                ? state.load(address &+ UInt64(4 * i), as: UInt32.self)
                : state.load(address &+ UInt64(2 * i), as: UInt16.self).map(UInt32.init)
            guard let value else { return false }
            fields[i] = value
        }
        loadControl(UInt16(truncatingIfNeeded: fields[0]))
        setStatusWord(UInt16(truncatingIfNeeded: fields[1]))
        var empty: UInt8 = 0
        for i in 0..<8 where fields[2] >> UInt32(2 * i) & 3 == 3 { empty |= 1 << UInt8(i) }
        state.pointee.fpu.emptyMask = empty
        if !state.pointee.usesRealSegments {
            state.pointee.fpu.lastInstruction = UInt64(fields[3])
            state.pointee.fpu.lastInstructionSelector = UInt16(truncatingIfNeeded: fields[4])
            if wide { state.pointee.fpu.lastOpcode = UInt16(truncatingIfNeeded: fields[4] >> 16 & 0x7FF) }
            state.pointee.fpu.lastOperand = UInt64(fields[5])
            state.pointee.fpu.lastOperandSelector = UInt16(truncatingIfNeeded: fields[6])
        } else {
            let high = { (field: UInt32) in UInt64(wide ? (field >> 12) << 16 : (field & 0xF000) << 4) }
            state.pointee.fpu.lastInstruction = UInt64(fields[3] & 0xFFFF) | high(fields[4])
            state.pointee.fpu.lastOperand = UInt64(fields[5] & 0xFFFF) | high(fields[6])
            state.pointee.fpu.lastInstructionSelector = 0
            state.pointee.fpu.lastOperandSelector = 0
            state.pointee.fpu.lastOpcode = UInt16(truncatingIfNeeded: fields[4] & 0x7FF)
        }
        updateSummary()
        return true
    }

    /// The control word keeps bit 6 set and bits 7 and 13–15 clear.
    func loadControl(_ word: UInt16) { state.pointee.fpu.control = word & 0x1F7F | 0x40 }

    func storeEnvironment(_ op: Op) -> Outcome {
        guard let address = image(op, size: environmentSize(op), write: true),
            writeEnvironment(address, wide: op.pointee.size != 1)
        else { return .fault }
        state.pointee.fpu.control |= 0x3F
        updateSummary()
        return .next
    }

    func loadEnvironment(_ op: Op) -> Outcome {
        guard let address = image(op, size: environmentSize(op), write: false),
            readEnvironment(address, wide: op.pointee.size != 1)
        else { return .fault }
        return .next
    }

    func saveX87(_ op: Op) -> Outcome {
        let header = environmentSize(op)
        guard let address = image(op, size: header + 80, write: true),
            writeEnvironment(address, wide: op.pointee.size != 1)
        else { return .fault }
        for i in 0..<8 {
            let value = state.pointee.fpu.registers[physical(UInt8(i))]
            let at = address &+ header &+ UInt64(10 * i)
            guard state.store(at, value.significand), state.store(at &+ 8, value.signExponent) else { return .fault }
        }
        initializeX87()
        return .next
    }

    func restoreX87(_ op: Op) -> Outcome {
        let header = environmentSize(op)
        guard let address = image(op, size: header + 80, write: false),
            readEnvironment(address, wide: op.pointee.size != 1)
        else { return .fault }
        for i in 0..<8 {
            let at = address &+ header &+ UInt64(10 * i)
            guard let significand = state.load(at, as: UInt64.self), let high = state.load(at &+ 8, as: UInt16.self)
            else { return .fault }
            state.pointee.fpu.registers[physical(UInt8(i))] = X87Register(significand: significand, signExponent: high)
        }
        return .next
    }

    // MARK: FXSAVE

    /// XMM registers of an image: 8–15 only exist in 64-bit mode.
    private var imageXMMCount: Int { state.pointee.is64Bit ? 16 : 8 }

    func fxsave(_ op: Op) -> Outcome {
        guard let address = fxAddress(op, write: true) else { return .fault }
        let fpu = state.pointee.fpu
        let isWide = op.pointee.prefixes.contains(.rexW)
        let selectors =
            isWide
            ? (UInt64(0), UInt64(0))
            : (UInt64(fpu.lastInstructionSelector) << 32, UInt64(fpu.lastOperandSelector) << 32)
        let pointerMask: UInt64 = isWide ? ~0 : 0xFFFF_FFFF
        let head =
            UInt64(fpu.control) | UInt64(statusWord) << 16 | UInt64(~fpu.emptyMask) << 32
            | UInt64(fpu.lastOpcode & 0x7FF) << 48
        guard state.store(address, head), state.store(address &+ 8, fpu.lastInstruction & pointerMask | selectors.0),
            state.store(address &+ 16, fpu.lastOperand & pointerMask | selectors.1),
            state.store(address &+ 24, UInt64(fpu.mxcsr) | UInt64(MXCSR.writable) << 32)
        else { return .fault }
        for i in 0..<8 {
            let value = fpu.registers[physical(UInt8(i))]
            let at = address &+ UInt64(32 + 16 * i)
            guard state.store(at, value.significand), state.store(at &+ 8, UInt64(value.signExponent))
            else { return .fault }
        }
        if state.pointee.cr4 & CR4.osfxsr != 0 {
            for i in 0..<imageXMMCount where !store128(address &+ UInt64(160 + 16 * i), state.xmm[i]) { return .fault }
        }
        return .next
    }

    func fxrstor(_ op: Op) -> Outcome {
        guard let address = fxAddress(op, write: false), let mxcsr = state.load(address &+ 24, as: UInt32.self)
        else { return .fault }
        if mxcsr & ~MXCSR.writable != 0 { return generalProtection() }
        guard let head = state.load(address, as: UInt64.self), let fip = state.load(address &+ 8, as: UInt64.self),
            let fdp = state.load(address &+ 16, as: UInt64.self)
        else { return .fault }
        loadControl(UInt16(truncatingIfNeeded: head))
        setStatusWord(UInt16(truncatingIfNeeded: head >> 16))
        state.pointee.fpu.emptyMask = ~UInt8(truncatingIfNeeded: head >> 32)
        state.pointee.fpu.lastOpcode = UInt16(truncatingIfNeeded: head >> 48 & 0x7FF)
        let isWide = op.pointee.prefixes.contains(.rexW)
        state.pointee.fpu.lastInstruction = isWide ? fip : fip & 0xFFFF_FFFF
        state.pointee.fpu.lastOperand = isWide ? fdp : fdp & 0xFFFF_FFFF
        state.pointee.fpu.lastInstructionSelector = isWide ? 0 : UInt16(truncatingIfNeeded: fip >> 32)
        state.pointee.fpu.lastOperandSelector = isWide ? 0 : UInt16(truncatingIfNeeded: fdp >> 32)
        state.pointee.fpu.mxcsr = mxcsr
        for i in 0..<8 {
            let at = address &+ UInt64(32 + 16 * i)
            guard let significand = state.load(at, as: UInt64.self), let high = state.load(at &+ 8, as: UInt16.self)
            else { return .fault }
            state.pointee.fpu.registers[physical(UInt8(i))] = X87Register(significand: significand, signExponent: high)
        }
        if state.pointee.cr4 & CR4.osfxsr != 0 {
            for i in 0..<imageXMMCount {
                let at = address &+ UInt64(160 + 16 * i)
                guard let low = state.load(at, as: UInt64.self), let high = state.load(at &+ 8, as: UInt64.self)
                else { return .fault }
                state.xmm[i] = V128(low: low, high: high)
            }
        }
        updateSummary()
        return .next
    }

    private func fxAddress(_ op: Op, write: Bool) -> UInt64? {
        guard let address = state.linear(op, size: 512, write: write) else { return nil }
        if address & 15 != 0 {
            generalProtection()
            return nil
        }
        return image(op, size: 512, write: write)
    }
}
