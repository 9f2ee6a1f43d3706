/// MOVS, STOS and LODS forwards: one element like a load and a store, repeated ones as the host's own repetition inside one page.
///
/// RSI, RDI and RCX are where the host wants them; for a repetition host addresses take the place of guest addresses. What goes
/// backwards, over a page's end or further than a page is interpreted.
extension Emitter {
    /// `DecodedOp.sub` of string operations, in the order of the mnemonics.
    enum StringKind: UInt16 {
        case movs = 0, stos = 2, lods = 3
    }

    /// Those that can be written for the host.
    static func isNativeString(_ op: DecodedOp, is64: Bool) -> Bool {
        guard let kind = StringKind(rawValue: op.sub), op.addressShift == (is64 ? 0 : 32),
            kind == .stos || op.segment == SegmentIndex.flat
        else { return false }
        return kind != .lods || op.prefixes.isDisjoint(with: [.rep, .repne])
    }

    func string() {
        guard let kind = StringKind(rawValue: instruction.op.sub) else { return helper() }
        guardFlags()
        let path = makePath()
        asm.op(0xF7, 0, .state(StateOffset.flagsRest))
        asm.int32(Int32(bitPattern: RFLAGS.df))
        interpretIf(HostCondition.notEqual, path)
        if instruction.op.prefixes.isDisjoint(with: [.rep, .repne]) { element(kind) } else { repeated(kind, path) }
    }

    private var log2: UInt8 { instruction.op.size }
    private var byteCount: Int { 1 << Int(log2) }

    // MARK: One element

    private func element(_ kind: StringKind) {
        let r11 = HostRegister.r11
        if kind != .stos {
            let source = access(
                stackOperand(Register.rsi, 0), bytes: byteCount, writes: false, membership: nil, keepR11: false)
            if kind == .lods {
                asm.op(log2 == 0 ? 0x8A : 0x8B, HostRegister.rax, source, wide: log2 == 3, p66: log2 == 1)
                return advance(HostRegister.rsi)
            }
            load(r11, source)
            asm.store(StateOffset.scratch + 8, r11)
        }
        let destination = access(
            stackOperand(Register.rdi, 0), bytes: byteCount, writes: true, membership: nil, keepR11: true)
        if kind == .movs { asm.load(r11, StateOffset.scratch + 8) }
        asm.op(
            log2 == 0 ? 0x88 : 0x89, kind == .movs ? r11 : HostRegister.rax, destination, wide: log2 == 3,
            p66: log2 == 1)
        advance(HostRegister.rdi)
        if kind == .movs { advance(HostRegister.rsi) }
    }

    /// Zero-extended: a part of R11 would wait for the rest of it.
    private func load(_ to: Int, _ source: HostOperand) {
        if log2 < 2 {
            asm.op(.two, log2 == 0 ? 0xB6 : 0xB7, to, source)
        } else {
            asm.op(0x8B, to, source, wide: log2 == 3)
        }
    }

    private func advance(_ register: Int) { asm.lea(register, base: register, Int32(byteCount), wide: is64) }

    // MARK: Many

    private func repeated(_ kind: StringKind, _ path: Int) {
        let rcx = HostRegister.rcx, r10 = HostRegister.r10, r11 = HostRegister.r11
        asm.op(0x85, rcx, .register(rcx), wide: is64)
        let nothing = asm.jump(HostCondition.equal)
        asm.arithmetic(7, .register(rcx), Int32(4096 / byteCount), wide: is64)
        interpretIf(HostCondition.above, path)
        page(HostRegister.rdi, writes: true, path)
        if kind == .movs {
            loadAddend(writes: true)
            asm.store(StateOffset.scratch + 8, r10)
            page(HostRegister.rsi, writes: false, path)
        }
        // Repetitions are charged as the interpreter does.
        if !translator.isVerifying {
            asm.op(0x8B, r11, .register(rcx))
            asm.op(0xC1, 5, .register(r11))
            asm.byte(4)
            asm.op(0x29, r11, .state(StateOffset.budget), wide: true)
        }
        loadAddend(writes: kind != .movs)
        if kind == .movs {
            asm.load(r11, StateOffset.scratch + 8)
            asm.op(0x01, r10, .register(HostRegister.rsi), wide: true)
            asm.op(0x01, r11, .register(HostRegister.rdi), wide: true)
        } else {
            asm.op(0x01, r10, .register(HostRegister.rdi), wide: true)
        }
        if log2 == 1 { asm.byte(0x66) }
        asm.byte(0xF3)
        if log2 == 3 { asm.byte(0x48) }
        asm.byte((kind == .movs ? 0xA4 : 0xAA) | (log2 == 0 ? 0 : 1))
        if kind == .movs {
            asm.op(0x29, r10, .register(HostRegister.rsi), wide: true)
            asm.op(0x29, r11, .register(HostRegister.rdi), wide: true)
        } else {
            asm.op(0x29, r10, .register(HostRegister.rdi), wide: true)
        }
        asm.bind(nothing)
    }

    /// R10 becomes the TLB index of the page at a register, if all of the elements lie in it and it is known.
    private func page(_ register: Int, writes: Bool, _ path: Int) {
        let r10 = HostRegister.r10, r11 = HostRegister.r11
        asm.move(r10, register)
        asm.op(
            0x8D, r11, .memory(base: register, index: HostRegister.rcx, scale: Int(log2), displacement: -1), wide: true)
        compareTag(writes: writes)
        interpretIf(HostCondition.notEqual, path)
    }
}
