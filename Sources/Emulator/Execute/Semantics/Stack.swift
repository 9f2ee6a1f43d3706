/// PUSH, POP, PUSHA, POPA, ENTER, LEAVE.
extension CPUPointer {
    // MARK: 64-bit mode

    @inline(__always) func push64(_ value: UInt64) -> Bool {
        let pointer = gpr64(UInt8(Register.rsp)) &- 8
        guard store(pointer, value) else {
            cpu.stackAccessFaulted()
            return false
        }
        setGPR64(UInt8(Register.rsp), pointer)
        return true
    }

    @inline(__always) func pop64() -> UInt64? {
        let pointer = gpr64(UInt8(Register.rsp))
        guard let value = load(pointer, as: UInt64.self) else {
            cpu.stackAccessFaulted()
            return nil
        }
        setGPR64(UInt8(Register.rsp), pointer &+ 8)
        return value
    }

    // MARK: Flat 32-bit

    @inline(__always) func push32(_ value: UInt32) -> Bool {
        let pointer = UInt32(truncatingIfNeeded: gpr64(UInt8(Register.rsp))) &- 4
        guard store(UInt64(pointer), value) else { return false }
        setGPR64(UInt8(Register.rsp), UInt64(pointer))
        return true
    }

    @inline(__always) func pop32() -> UInt32? {
        let pointer = UInt32(truncatingIfNeeded: gpr64(UInt8(Register.rsp)))
        guard let value = load(UInt64(pointer), as: UInt32.self) else { return nil }
        setGPR64(UInt8(Register.rsp), UInt64(pointer &+ 4))
        return value
    }

    /// LEAVE in 64-bit mode.
    @inline(__always) func leave64() -> Bool {
        let frame = gpr64(UInt8(Register.rbp))
        guard let value = load(frame, as: UInt64.self) else {
            cpu.stackAccessFaulted()
            return false
        }
        setGPR64(UInt8(Register.rsp), frame &+ 8)
        setGPR64(UInt8(Register.rbp), value)
        return true
    }
}

extension CPU {
    /// Bits of the stack pointer that take part: 64-bit mode all, else by SS.B (SDM vol. 3, 5.2.2).
    var stackMask: UInt64 {
        if state.pointee.is64Bit { return ~0 }
        return state.pointee.segments[SegmentIndex.ss].isBig ? 0xFFFF_FFFF : 0xFFFF
    }

    /// Linear address of a place on the stack; nil: #SS is pending.
    func stackLinear(_ pointer: UInt64, size: UInt64, write: Bool) -> UInt64? {
        guard state.pointee.is64Bit else { return segmented(SegmentIndex.ss, pointer, size: size, write: write) }
        if isCanonical(pointer), isCanonical(pointer &+ (size &- 1)) { return pointer }
        raise(Vector.ss, errorCode: 0)
        return nil
    }

    private var stackPointer: UInt64 { state.gpr64(UInt8(Register.rsp)) & stackMask }

    func setStackPointer(_ value: UInt64) {
        let mask = stackMask
        let old = state.gpr64(UInt8(Register.rsp))
        state.setGPR64(UInt8(Register.rsp), mask == 0xFFFF ? old & ~mask | value & mask : value & mask)
    }

    /// Pushes `size` bytes in any mode.
    func push(_ value: UInt64, size: Int) -> Bool {
        let pointer = (stackPointer &- UInt64(size)) & stackMask
        guard let address = stackLinear(pointer, size: UInt64(size), write: true),
            storeSized(address, value, size: size)
        else { return false }
        setStackPointer(pointer)
        return true
    }

    /// Reads `size` bytes at an offset from the top of the stack without moving it.
    func peek(_ offset: UInt64, size: Int) -> UInt64? {
        let pointer = (stackPointer &+ offset) & stackMask
        guard let address = stackLinear(pointer, size: UInt64(size), write: false) else { return nil }
        return loadSized(address, size: size)
    }

    func pop(size: Int) -> UInt64? {
        guard let value = peek(0, size: size) else { return nil }
        setStackPointer(stackPointer &+ UInt64(size))
        return value
    }

    /// A load of a size known only at run time, through the TLB.
    func loadSized(_ linear: UInt64, size: Int) -> UInt64? {
        switch size {
        case 1: return state.load(linear, as: UInt8.self).map { UInt64($0) }
        case 2: return state.load(linear, as: UInt16.self).map { UInt64($0) }
        case 4: return state.load(linear, as: UInt32.self).map { UInt64($0) }
        default: return state.load(linear, as: UInt64.self)
        }
    }

    func storeSized(_ linear: UInt64, _ value: UInt64, size: Int) -> Bool {
        switch size {
        case 1: return state.store(linear, UInt8(truncatingIfNeeded: value))
        case 2: return state.store(linear, UInt16(truncatingIfNeeded: value))
        case 4: return state.store(linear, UInt32(truncatingIfNeeded: value))
        default: return state.store(linear, value)
        }
    }

    /// A register or memory operand of `DecodedOp.size`, zero-extended; register in `register`.
    func loadOperand(_ op: Op, register: UInt8) -> UInt64? {
        let size = 1 << Int(op.pointee.size)
        if op.pointee.prefixes.contains(.memory) {
            guard let address = state.linear(op, size: UInt64(size), write: false) else { return nil }
            return loadSized(address, size: size)
        }
        switch size {
        case 1: return UInt64(state.register(register, as: UInt8.self))
        case 2: return UInt64(state.register(register, as: UInt16.self))
        case 4: return UInt64(state.register(register, as: UInt32.self))
        default: return state.gpr64(register)
        }
    }

    @inline(never) func pushGeneral(_ op: Op) -> Outcome {
        let value: UInt64
        if op.pointee.sub == 1 {
            value = UInt64(bitPattern: op.pointee.immediate)
        } else {
            guard let loaded = loadOperand(op, register: op.pointee.reg) else { return .fault }
            value = loaded
        }
        return push(value, size: 1 << Int(op.pointee.size)) ? .next : .fault
    }

    /// POP to memory computes its address after rSP moved (SDM vol. 2, POP), and gives rSP back when the store faults.
    @inline(never) func popGeneral(_ op: Op) -> Outcome {
        let size = 1 << Int(op.pointee.size)
        let old = state.gpr64(UInt8(Register.rsp))
        guard let value = pop(size: size) else { return .fault }
        if op.pointee.prefixes.contains(.memory) {
            guard let address = state.linear(op, size: UInt64(size), write: true),
                storeSized(address, value, size: size)
            else {
                state.setGPR64(UInt8(Register.rsp), old)
                return .fault
            }
        } else if size == 2 {
            state.setRegister(op.pointee.reg, UInt16(truncatingIfNeeded: value))
        } else {
            state.setGPR64(op.pointee.reg, value)
        }
        return .next
    }

    @inline(never) func pushAll(_ op: Op) -> Outcome {
        let size = 1 << Int(op.pointee.size)
        let old = state.gpr64(UInt8(Register.rsp))
        for index in 0..<8 {
            let value = index == Register.rsp ? old : state.gpr64(UInt8(index))
            guard push(value, size: size) else {
                state.setGPR64(UInt8(Register.rsp), old)
                return .fault
            }
        }
        return .next
    }

    @inline(never) func popAll(_ op: Op) -> Outcome {
        let size = 1 << Int(op.pointee.size)
        var values = InlineArray<8, UInt64>(repeating: 0)
        for index in 0..<8 {
            guard let value = peek(UInt64((7 - index) * size), size: size) else { return .fault }
            values[index] = value
        }
        for index in 0..<8 where index != Register.rsp {
            if size == 2 {
                state.setRegister(UInt8(index), UInt16(truncatingIfNeeded: values[index]))
            } else {
                state.setGPR64(UInt8(index), values[index])
            }
        }
        setStackPointer(stackPointer &+ UInt64(8 * size))
        return .next
    }

    /// ENTER: frame size in bits 0–15 of the immediate, nesting level modulo 32 from bit 16.
    @inline(never) func enter(_ op: Op) -> Outcome {
        let size = 1 << Int(op.pointee.size)
        let frameBytes = UInt64(op.pointee.immediate & 0xFFFF)
        let level = Int(op.pointee.immediate >> 16 & 31)
        let oldSP = state.gpr64(UInt8(Register.rsp))
        func fail() -> Outcome {
            state.setGPR64(UInt8(Register.rsp), oldSP)
            return .fault
        }
        let frame = state.gpr64(UInt8(Register.rbp))
        guard push(frame, size: size) else { return fail() }
        // The whole register: on a 16-bit stack a 32-bit ENTER keeps the upper half of ESP in EBP.
        let newFrame = state.gpr64(UInt8(Register.rsp))
        if level > 0 {
            var link = frame
            for _ in 1..<max(level, 1) {
                link = (link &- UInt64(size)) & stackMask
                guard let address = stackLinear(link, size: UInt64(size), write: false),
                    let value = loadSized(address, size: size), push(value, size: size)
                else { return fail() }
            }
            guard push(newFrame, size: size) else { return fail() }
        }
        let top = (stackPointer &- frameBytes) & stackMask
        // The new top must be writable, as a later push would find (SDM vol. 2, ENTER).
        guard let address = stackLinear(top, size: UInt64(size), write: true),
            loadForStore(address, size: size) != nil
        else { return fail() }
        setStackPointer(top)
        if size == 2 {
            state.setRegister(UInt8(Register.rbp), UInt16(truncatingIfNeeded: newFrame))
        } else {
            state.setGPR64(UInt8(Register.rbp), newFrame)
        }
        return .next
    }

    @inline(never) func leaveGeneral(_ op: Op) -> Outcome {
        let size = 1 << Int(op.pointee.size)
        let frame = state.gpr64(UInt8(Register.rbp)) & stackMask
        guard let address = stackLinear(frame, size: UInt64(size), write: false),
            let value = loadSized(address, size: size)
        else { return .fault }
        setStackPointer(frame &+ UInt64(size))
        if size == 2 {
            state.setRegister(UInt8(Register.rbp), UInt16(truncatingIfNeeded: value))
        } else {
            state.setGPR64(UInt8(Register.rbp), value)
        }
        return .next
    }
}
