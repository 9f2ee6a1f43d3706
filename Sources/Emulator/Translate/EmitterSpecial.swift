/// Instructions with an emitter of their own: those whose registers stand in the opcode byte, stack operations, division, and the system
/// instructions that kernels run all the time.
extension Emitter {
    func special() {
        switch instruction.op.code {
        case .lea32, .lea64: loadAddress()
        case .xchgRR32, .xchgRR64: exchange()
        case .bswap32, .bswap64: swapBytes()
        case .movRI8: moveByte()
        case .movRI16: helper()
        case .movRI32, .movRI64: moveImmediate()
        case .movRM8, .movRM16, .movRM32, .movRM64, .movMR8, .movMR16, .movMR32, .movMR64: moveOffset()
        case .incR16, .incR32, .decR16, .decR32: increment()
        case .pushR64, .pushI64, .pushR32, .pushI32: push()
        case .pushGeneral: pushMemory()
        case .popR64, .popR32, .leave64, .leaveGeneral: pop()
        case .divide, .idivide: divide()
        case .string: string()
        case .bitTestGeneral: bitTestMemory()
        case .sse: loadMXCSR()
        case .cld: changeFlags(4, Int32(bitPattern: ~RFLAGS.df))
        case .x87: loadX87Control()
        case .std: changeFlags(1, Int32(bitPattern: RFLAGS.df))
        case .system:
            switch SystemCode(rawValue: instruction.op.sub) {
            case .cli: changeFlags(4, Int32(bitPattern: ~RFLAGS.interrupt))
            case .sti: enableInterrupts()
            case .swapgs: swapGS()
            case .pushf: pushFlags()
            case .movFromSegment: moveSelector()
            default: helper()
            }
        default: helper()
        }
    }

    /// The host's register of a guest register, or R11 with the value to be stored by `put`.
    private func home(_ guest: Int) -> Int { HostRegister.of(guest: guest) ?? HostRegister.r11 }
    private func put(_ guest: Int) {
        if HostRegister.of(guest: guest) == nil { asm.store(StateOffset.gpr(guest), HostRegister.r11) }
    }
    /// After an instruction without a memory operand, to which no slow path comes back.
    private func putAndHold(_ guest: Int) {
        put(guest)
        if HostRegister.of(guest: guest) == nil { held.r11 = guest }
    }
    private func get(_ guest: Int, into scratch: Int = HostRegister.r11) -> Int {
        if let host = HostRegister.of(guest: guest) { return host }
        asm.load(scratch, StateOffset.gpr(guest))
        return scratch
    }

    private var wordBytes: Int { is64 ? 8 : 4 }

    // MARK: Moves

    private func loadAddress() {
        var op = instruction.op
        let to = Int(op.reg)
        op.segment = SegmentIndex.flat
        if let known = constantAddress(op) {
            asm.constant(home(to), op.size == 2 ? known & 0xFFFF_FFFF : known)
            return putAndHold(to)
        }
        // A 32-bit result is the low half of the sum; a 32-bit address is extended with zeros either way.
        if op.size == 2 { op.addressShift = 32 }
        let base = Int(op.base), index = Int(op.index)
        let isInPlace =
            (base >= Register.zero || HostRegister.of(guest: base) != nil)
            && (index == Register.zero || HostRegister.of(guest: index) != nil)
        let register = isInPlace ? home(to) : HostRegister.r11
        address(register, op, 0, scratch: HostRegister.r10, withSegment: false)
        if register != home(to) { asm.move(home(to), register) }
        putAndHold(to)
    }

    private func exchange() {
        let op = instruction.op
        let a = get(Int(op.reg), into: HostRegister.r10), b = get(Int(op.rm), into: HostRegister.r11)
        asm.op(0x87, a, .register(b), wide: op.code == .xchgRR64)
        if a == HostRegister.r10 { asm.store(StateOffset.gpr(Int(op.reg)), a) }
        if b == HostRegister.r11 { asm.store(StateOffset.gpr(Int(op.rm)), b) }
    }

    private func swapBytes() {
        let op = instruction.op
        let register = get(Int(op.reg))
        let rex: UInt8 = (op.code == .bswap64 ? 8 : 0) | (register >= 8 ? 1 : 0)
        if rex != 0 { asm.byte(0x40 | rex) }
        asm.bytes(0x0F, 0xC8 | UInt8(register & 7))
        put(Int(op.reg))
    }

    private func moveImmediate() {
        let op = instruction.op
        let value = UInt64(bitPattern: op.immediate)
        asm.constant(home(Int(op.reg)), op.code == .movRI32 ? value & 0xFFFF_FFFF : value)
        putAndHold(Int(op.reg))
    }

    /// B0 to B7. The operand is a byte offset into the registers: AH is 1.
    private func moveByte() {
        let place = Int(instruction.op.reg)
        let value = UInt8(truncatingIfNeeded: instruction.op.immediate)
        let guest = place / 8
        if let host = HostRegister.of(guest: guest) {
            if place & 7 == 1 {
                asm.bytes(0xB4 | UInt8(guest), value)
            } else {
                asm.op(0xC6, 0, .register(host), forceREX: true)
                asm.byte(value)
            }
        } else {
            asm.op(0xC6, 0, .state(place))
            asm.byte(value)
        }
    }

    /// A0 to A3: the accumulator and an address in the instruction.
    private func moveOffset() {
        let op = instruction.op
        let operand = access(
            op, bytes: instruction.memoryBytes, writes: instruction.writesMemory, membership: nil, keepR11: false)
        let opcode: UInt8 = instruction.writesMemory ? 0x88 : 0x8A
        asm.op(opcode | (op.size == 0 ? 0 : 1), HostRegister.rax, operand, wide: op.size == 3, p66: op.size == 1)
    }

    /// 40 to 4F outside of 64-bit mode, whose bytes are REX prefixes there.
    private func increment() {
        needFlags()
        let op = instruction.op
        let isDecrement = op.code == .decR16 || op.code == .decR32
        asm.op(0xFF, isDecrement ? 1 : 0, .register(get(Int(op.reg))), p66: op.size == 1)
        noteFlags()
    }

    // MARK: Stack

    private func push() {
        let op = instruction.op
        let operand = access(
            stackOperand(Register.rsp, -wordBytes), bytes: wordBytes, writes: true,
            membership: block.accesses[index].stack, keepR11: true)
        if op.code == .pushI64 || op.code == .pushI32 {
            asm.op(0xC7, 0, operand, wide: is64)
            asm.int32(Int32(truncatingIfNeeded: op.immediate))
        } else {
            asm.op(0x89, get(Int(op.reg)), operand, wide: is64)
        }
        moveStack(-wordBytes)
    }

    private func pushMemory() {
        let source = access(
            instruction.op, bytes: instruction.memoryBytes, writes: false, membership: block.accesses[index].operand,
            keepR11: false)
        asm.op(0x8B, HostRegister.r11, source, wide: is64)
        asm.store(StateOffset.scratch + 8, HostRegister.r11)
        let operand = access(
            stackOperand(Register.rsp, -wordBytes), bytes: wordBytes, writes: true,
            membership: block.accesses[index].stack, keepR11: true)
        asm.load(HostRegister.r11, StateOffset.scratch + 8)
        asm.op(0x89, HostRegister.r11, operand, wide: is64)
        moveStack(-wordBytes)
    }

    /// POP, and LEAVE, which pops RBP from where RBP points.
    private func pop() {
        let op = instruction.op
        let isLeave = op.code == .leave64 || op.code == .leaveGeneral
        let from = isLeave ? Register.rbp : Register.rsp
        let operand = access(
            stackOperand(from, 0), bytes: wordBytes, writes: false, membership: block.accesses[index].stack,
            keepR11: true)
        asm.op(0x8B, HostRegister.r11, operand, wide: is64)
        asm.lea(HostRegister.stack, base: isLeave ? Register.rbp : HostRegister.stack, Int32(wordBytes), wide: is64)
        let to = isLeave ? Register.rbp : Int(op.reg)
        if let host = HostRegister.of(guest: to) { asm.move(host, HostRegister.r11) } else { put(to) }
    }

    func moveStack(_ bytes: Int) {
        asm.lea(HostRegister.stack, base: HostRegister.stack, Int32(bytes), wide: is64)
    }

    // MARK: Division

    /// The host divides where it cannot fault; else the interpreter raises #DE.
    private func divide() {
        let op = instruction.op
        let wide = op.size == 3
        let r10 = HostRegister.r10, r11 = HostRegister.r11
        if instruction.isMemory {
            let operand = access(
                op, bytes: instruction.memoryBytes, writes: false, membership: block.accesses[index].operand,
                keepR11: false)
            asm.op(0x8B, r11, operand, wide: wide)
        } else {
            guardFlags()
            let guest = Int(instruction.encoding.rm)
            if let host = HostRegister.of(guest: guest) {
                asm.op(0x8B, r11, .register(host), wide: wide)
            } else {
                asm.op(0x8B, r11, .state(StateOffset.gpr(guest)), wide: wide)
            }
        }
        // Followers of a group do not guard flags.
        guardFlags()
        let path = makePath()
        if op.code == .divide {
            // Fits if the upper half is below the divisor.
            asm.op(0x3B, HostRegister.rdx, .register(r11), wide: wide)
            interpretIf(HostCondition.aboveOrEqual, path)
        } else {
            // Fits if the dividend is a sign-extended half, but for division by 0 and by -1.
            asm.op(0x8B, r10, .register(HostRegister.rax), wide: wide)
            asm.op(0xC1, 7, .register(r10), wide: wide)
            asm.byte(wide ? 63 : 31)
            asm.op(0x3B, r10, .register(HostRegister.rdx), wide: wide)
            interpretIf(HostCondition.notEqual, path)
            asm.lea(r10, base: r11, 1, wide: wide)
            asm.arithmetic(7, .register(r10), 1, wide: wide)
            interpretIf(HostCondition.belowOrEqual, path)
        }
        asm.op(0xF7, op.code == .divide ? 6 : 7, .register(r11), wide: wide)
        noteFlags()
    }

    /// FLDCW of a word that masks all exceptions; the interpreter takes the others, after which the x87 is not used natively.
    private func loadX87Control() {
        let operand = access(
            instruction.op, bytes: 2, writes: false, membership: block.accesses[index].operand, keepR11: true)
        guardFlags()
        let path = makePath()
        asm.op(.two, 0xB7, HostRegister.r11, operand)
        asm.arithmetic(4, .register(HostRegister.r11), 0x3F, wide: false)
        asm.arithmetic(7, .register(HostRegister.r11), 0x3F, wide: false)
        interpretIf(HostCondition.notEqual, path)
        asm.op(0xD9, 5, operand)
    }

    /// LDMXCSR of a word that masks all exceptions and has no reserved bit; the interpreter takes the others.
    private func loadMXCSR() {
        let r11 = HostRegister.r11
        let operand = access(
            instruction.op, bytes: 4, writes: false, membership: block.accesses[index].operand, keepR11: true)
        guardFlags()
        let path = makePath()
        asm.op(0x8B, r11, operand)
        asm.arithmetic(4, .register(r11), Int32(bitPattern: 0xFFFF_1F80), wide: false)
        asm.arithmetic(7, .register(r11), 0x1F80, wide: false)
        interpretIf(HostCondition.notEqual, path)
        asm.op(.two, 0xAE, 2, operand)
    }

    // MARK: System

    /// AND (4) or OR (1) on the flags that are not arithmetic.
    private func changeFlags(_ operation: Int, _ value: Int32) {
        guardFlags()
        asm.arithmetic(operation, .state(StateOffset.flagsRest), value, wide: false)
    }

    /// STI with nothing to deliver, where the next instruction follows in the region: nothing can come between them.
    private func enableInterrupts() {
        guard let following = target(block.end), !needsBudget(following) else { return helper() }
        guardFlags()
        let path = makePath()
        asm.compareByte(StateOffset.interruptRequest, 0)
        interpretIf(HostCondition.notEqual, path)
        asm.arithmetic(1, .state(StateOffset.flagsRest), Int32(bitPattern: RFLAGS.interrupt), wide: false)
    }

    /// PUSHF of the native width, outside of virtual-8086 mode.
    private func pushFlags() {
        let r11 = HostRegister.r11
        needFlags()
        asm.byte(0x9C)
        asm.bytes(0x41, 0x5B)  // pop r11
        asm.store(StateOffset.scratch + 8, r11)
        let operand = access(
            stackOperand(Register.rsp, -wordBytes), bytes: wordBytes, writes: true,
            membership: block.accesses[index].stack, keepR11: true)
        guardFlags()
        asm.load(r11, StateOffset.scratch + 8)
        asm.arithmetic(4, .register(r11), Int32(RFLAGS.arithmetic | RFLAGS.fixed1), wide: false)
        asm.op(0x0B, r11, .state(StateOffset.flagsRest))
        // VM and RF are never seen in the image.
        asm.arithmetic(4, .register(r11), 0x00FC_FFFF, wide: false)
        asm.op(0x89, r11, operand, wide: is64)
        moveStack(-wordBytes)
    }

    /// MOV of a segment register to a general one.
    private func moveSelector() {
        let to = Int(instruction.encoding.rm)
        asm.op(.two, 0xB7, home(to), .state(StateOffset.selector(Int(instruction.op.reg))))
        put(to)
    }

    private func swapGS() {
        let base = StateOffset.segmentBase(SegmentIndex.gs)
        asm.load(HostRegister.r10, base)
        asm.load(HostRegister.r11, StateOffset.kernelGSBase)
        asm.store(base, HostRegister.r11)
        asm.store(StateOffset.kernelGSBase, HostRegister.r10)
    }
}
