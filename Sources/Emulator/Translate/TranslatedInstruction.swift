/// One guest instruction as the translator sees it: decoded operation, row of the opcode table, bytes, and what follows from them:
/// how it is written for the host, what it does to flags and memory, which fields name general registers.
struct TranslatedInstruction {
    enum Kind {
        /// The bytes again, register fields mapped, a memory operand checked.
        case copy
        /// The bytes again, without prefixes that only matter to memory.
        case verbatim
        /// An emitter of its own (`Emitter.special`).
        case special
        /// Nothing to do: NOP, fences on one processor.
        case nothing
        /// The interpreter runs it.
        case helper
        /// Ends a block: branches, calls, returns.
        case branch
    }

    /// What an instruction does to a general register that ModRM names. A partial write also reads.
    struct RegisterUse: OptionSet {
        let rawValue: UInt8
        static let reads = RegisterUse(rawValue: 1)
        static let writes = RegisterUse(rawValue: 2)
        static let both: RegisterUse = [.reads, .writes]
    }

    /// In the block: helpers execute it there.
    let place: UnsafePointer<DecodedOp>
    let op: DecodedOp
    let row: UnsafePointer<OpcodeRow>?
    let encoding: Decoder.Encoding
    let bytes: InlineArray<16, UInt8>

    var kind = Kind.helper
    /// Flags needed before, overwritten for certain; whether any may change.
    var reads = FlagMask()
    var kills = FlagMask()
    var touchesFlags = false
    /// Bytes of the memory operand (0: none) and whether it is written.
    var memoryBytes = 0
    var writesMemory = false
    /// 16 bytes that must be aligned.
    var isAligned = false
    /// ModRM.reg and ModRM.rm name general registers; `reg` may be an opcode extension instead.
    var regIsGeneral = false
    var rmIsGeneral = false
    var regIsExtension = false
    var regUse = RegisterUse.both
    var rmUse = RegisterUse.both
    /// A register operand may be read from memory instead: not where the memory form means something else.
    var rmMayBeMemory = true
    /// Byte registers, where AH to BH may be meant.
    var regIsByte = false
    var rmIsByte = false
    var usesXMM = false
    var usesX87 = false
    /// A branch that is written for the host; others are run by the interpreter and looked up again.
    var isNativeBranch = false

    var isMemory: Bool { op.prefixes.contains(.memory) }
    var hasModRM: Bool { row?.pointee.attributes.contains(.hasModRM) ?? false }

    /// - Parameters: `bytes` of the instruction; `mode` key of the block; `features` that the guest is offered.
    init(
        _ place: UnsafePointer<DecodedOp>, bytes: InlineArray<16, UInt8>, mode: UInt32, features: CPUFeatureSet
    ) {
        self.place = place
        self.bytes = bytes
        op = place.pointee
        var decoder: Decoder
        (decoder, row, encoding) = withUnsafePointer(to: bytes) { pointer in
            pointer.withMemoryRebound(to: UInt8.self, capacity: 16) { start in
                var decoder = Decoder(bytes: start, available: 16, mode: Decoder.Mode(key: mode, features: features))
                _ = decoder.decode()
                return (decoder, decoder.row, decoder.encoding)
            }
        }
        guard let row, op.code != .undefined else {
            setHelper(readsAll: true)
            return
        }
        reads = FlagMask(rflags: row.pointee.flagsRead)
        kills = FlagMask(rflags: row.pointee.flagsWritten | row.pointee.flagsUndefined)
        touchesFlags = kills != [] || row.pointee.flagsConditional != 0
        if row.pointee.flagsConditional != 0 { kills = [] }
        switch row.pointee.family {
        case .x87: planX87(row)
        case .sse: planSSE(row, decoder)
        case .system: planSystem(row, mode)
        case .integer: planInteger(row, decoder, mode)
        }
        // Addresses of 16 bits, and segments that are neither flat nor FS or GS, are the interpreter's.
        if kind != .helper, kind != .nothing, isMemory, op.addressShift == 48 || !hasReachableSegment {
            setHelper(readsAll: false)
        }
        // The host may be of another make or older than what the guest is offered.
        if kind != .helper, kind != .nothing, let feature = row.pointee.feature, !HostFeatures.offered[feature] {
            setHelper(readsAll: false)
        }
        if kind == .copy, namesHighByte, !canNameHighByte { setHelper(readsAll: false) }
    }

    // MARK: AH, CH, DH, BH

    /// Whether a register field of a byte operand means one of them.
    func isHighByte(_ field: UInt8, _ isByte: Bool) -> Bool { isByte && !encoding.hasREX && field & 0xC == 4 }

    private var namesHighByte: Bool {
        regIsGeneral && isHighByte(encoding.reg, regIsByte)
            || rmIsGeneral && !isMemory && isHighByte(encoding.rm, rmIsByte)
    }

    /// They cannot be named together with REX, which a memory operand's host address needs: that is done with the halves exchanged
    /// (`Emitter.copy`). Otherwise the other register must be one of the first eight, where it is.
    private var canNameHighByte: Bool {
        // CMPXCHG has AL beside it.
        if isMemory { return Mnemonic(rawValue: row?.pointee.code ?? 0) != .cmpxchg }
        func needsREX(_ field: UInt8, _ isByte: Bool) -> Bool {
            if isHighByte(field, isByte) { return false }
            guard let host = HostRegister.of(guest: Int(field)) else { return true }
            return host >= 8
        }
        if regIsGeneral, needsREX(encoding.reg, regIsByte) { return false }
        return !rmIsGeneral || !needsREX(encoding.rm, rmIsByte)
    }

    private var hasReachableSegment: Bool {
        op.segment == SegmentIndex.flat || op.segment & SegmentIndex.baseOnly != 0 || Int(op.segment) >= SegmentIndex.fs
    }

    /// The interpreter runs it; `readsAll`: it may look at any flag.
    private mutating func setHelper(readsAll: Bool) {
        kind = op.isBlockBranch ? .branch : .helper
        isNativeBranch = false
        if readsAll {
            reads = .all
            touchesFlags = true
            kills = []
        }
        usesXMM = false
        usesX87 = false
        memoryBytes = 0
    }

    /// Whether the interpreter, running it, may look at the x87's state, change it, or let somebody else do so.
    var seesX87: Bool {
        switch op.code {
        case .x87, .sse: return true
        case .system:
            switch SystemCode(rawValue: op.sub) {
            case .syscall, .sysret, .swapgs, .cli, .sti, .pushf, .popf, .hlt, .rdtsc, .cpuid, .rdmsr, .wrmsr, .invlpg,
                .movFromControl, .inByteImmediate, .inWideImmediate, .outByteImmediate, .outWideImmediate, .inByteDX,
                .inWideDX, .outByteDX, .outWideDX:
                return false
            case .movToControl: return op.reg != 3
            case .iret: return op.size != 3
            default: return true
            }
        default: return false
        }
    }

    // MARK: Families

    private mutating func planX87(_ row: UnsafePointer<OpcodeRow>) {
        if row.pointee.code == X87Code.fldcw.rawValue {
            kind = .special
            usesX87 = true
            memoryBytes = 2
            return
        }
        if row.pointee.attributes.contains(.called) { return setHelper(readsAll: false) }
        usesX87 = true
        guard isMemory else {
            kind = .verbatim
            return
        }
        kind = .copy
        regIsExtension = true
        memoryBytes =
            switch row.pointee.slots[0].size {
            case .w: 2
            case .d: 4
            case .q: 8
            default: 10
            }
        writesMemory = !row.pointee.attributes.contains(.readsFirst)
    }

    private mutating func planSSE(_ row: UnsafePointer<OpcodeRow>, _ decoder: Decoder) {
        let attributes = row.pointee.attributes
        switch SSECode(rawValue: row.pointee.code) {
        case .ldmxcsr:
            kind = .special
            usesXMM = true
            memoryBytes = 4
            return
        case .emms:
            kind = .verbatim
            usesX87 = true
            return
        // From memory, Intel's processors make the x87's registers MMX registers; AMD's do not.
        case .cvtpi2ps where isMemory: return setHelper(readsAll: false)
        // Nothing in it depends on the processor.
        case .stmxcsr: usesXMM = true
        default: if attributes.contains(.called) { return setHelper(readsAll: false) }
        }
        if row.pointee.operandCount == 0 {
            kind = .nothing
            return
        }
        for i in 0..<row.pointee.operandCount {
            let operand = row.pointee.slots[i]
            switch operand.method {
            // The x87's registers under another name: they are in the host's when those are.
            case .mmxRM, .mmxRegister, .mmxOnlyRM: usesX87 = true
            case .maskedDestination: return setHelper(readsAll: false)
            case .xmmRM, .xmmOnlyRM, .xmmRegister: usesXMM = true
            case .register:
                regIsGeneral = true
                if i > 0 { regUse = .reads }
            case .general:
                rmIsGeneral = true
                rmIsByte = operand.size == .b
                if i > 0 { rmUse = .reads }
            default: break
            }
            if isMemory, [.xmmRM, .mmxRM, .general, .memory].contains(operand.method) {
                memoryBytes = Self.bytes(operand.size, decoder)
                if attributes.contains(.memoryByte) { memoryBytes = 1 }
                if attributes.contains(.memoryWord) { memoryBytes = 2 }
                if attributes.contains(.memoryQuad) { memoryBytes = 8 }
                writesMemory = i == 0
            }
        }
        kind = .copy
        regIsExtension = row.pointee.extension_ != nil
        isAligned = memoryBytes == 16 && !attributes.contains(.unaligned)
    }

    private static func bytes(_ size: OperandSize, _ decoder: Decoder) -> Int {
        switch size {
        case .b: 1
        case .w: 2
        case .d, .ss: 4
        case .q, .sd: 8
        case .v, .y, .z: 1 << Int(decoder.log2(Operand(method: .general, size: size)))
        default: 16
        }
    }

    private mutating func planSystem(_ row: UnsafePointer<OpcodeRow>, _ mode: UInt32) {
        let isNative = op.size == (mode & ModeKey.code64 != 0 ? 3 : 2)
        switch SystemCode(rawValue: op.sub) {
        case .pushf where isNative:
            kind = .special
            reads = .all
            return
        case .movFromSegment where !isMemory && op.size >= 2 && op.reg < 6:
            kind = .special
            return
        default: break
        }
        guard mode & ModeKey.user == 0 else { return setHelper(readsAll: row.pointee.attributes.contains(.endsBlock)) }
        switch SystemCode(rawValue: op.sub) {
        case .cli, .sti: kind = .special
        case .swapgs where mode & ModeKey.code64 != 0: kind = .special
        default: setHelper(readsAll: row.pointee.attributes.contains(.endsBlock))
        }
    }

    private mutating func planInteger(_ row: UnsafePointer<OpcodeRow>, _ decoder: Decoder, _ mode: UInt32) {
        let attributes = row.pointee.attributes
        guard let mnemonic = Mnemonic(rawValue: row.pointee.code) else { return }
        if op.isBlockBranch { return planBranch(mode) }
        switch mnemonic {
        case .movs, .cmps, .stos, .lods, .scas:
            guard Emitter.isNativeString(op, is64: mode & ModeKey.code64 != 0) else {
                return setHelper(readsAll: false)
            }
            kind = .special
            // Without a repetition that may be none they compare in any case.
            if touchesFlags, op.prefixes.isDisjoint(with: [.rep, .repne]) { kills = .all }
            return
        case .cmpxchg8b:
            kind = .copy
            regIsExtension = true
            memoryBytes = encoding.isWide ? 16 : 8
            writesMemory = true
            isAligned = encoding.isWide
            return
        default: if attributes.contains(.called) { return setHelper(readsAll: false) }
        }
        let isNative = mode & ModeKey.code64 != 0 ? op.size == 3 : op.size == 2
        switch mnemonic {
        case .nop, .pause:
            if op.code == .pause { setHelper(readsAll: false) } else { kind = .nothing }
            return
        case .push, .pop:
            guard isNative, mnemonic == .push || !isMemory else { return setHelper(readsAll: false) }
            kind = .special
            if isMemory { memoryBytes = 1 << Int(op.size) }
            return
        case .leave:
            if isNative { kind = .special } else { setHelper(readsAll: false) }
            return
        case .lea:
            if op.size == 1 { return setHelper(readsAll: false) }
            kind = .special
            return
        case .cld, .std, .bswap:
            if mnemonic == .bswap, op.size == 1 { return setHelper(readsAll: false) }
            kind = .special
            return
        case .div, .idiv:
            if op.size < 2 { return setHelper(readsAll: false) }
            kind = .special
            if isMemory { memoryBytes = 1 << Int(op.size) }
            return
        case .xchg where !attributes.contains(.hasModRM):
            if op.code == .nop {
                kind = .nothing
            } else if op.size >= 2 {
                kind = .special
            } else {
                setHelper(readsAll: false)
            }
            return
        case .bt, .bts, .btr, .btc:
            // A register offset reaches beyond the operand.
            if isMemory, row.pointee.slots[1].method == .register {
                // Its operand is not where its address is.
                if op.size < 2 { return setHelper(readsAll: false) }
                kind = .special
                return
            }
            rmMayBeMemory = false
        case .rol, .ror, .rcl, .rcr, .shl, .shr, .salAlias, .sar, .shld, .shrd:
            // A 16-bit double shift by more than 16 is undefined, and the interpreter has its own mind.
            if op.code == .doubleShift, op.size == 1 { return setHelper(readsAll: true) }
            planShift(row)
        default: break
        }
        guard attributes.contains(.hasModRM) else {
            switch row.pointee.slots[0].method {
            case .opcodeRegister: kind = mnemonic == .mov || mnemonic == .inc || mnemonic == .dec ? .special : .helper
            case .offset: planOffset()
            case .accumulator where row.pointee.operandCount > 1 && row.pointee.slots[1].method == .offset: planOffset()
            // Accumulator forms, CBW to CQO, flag instructions: nothing in them names a register.
            default: kind = .verbatim
            }
            if kind == .helper { setHelper(readsAll: false) }
            return
        }
        kind = .copy
        for i in 0..<row.pointee.operandCount {
            let operand = row.pointee.slots[i]
            let isByte = operand.size == .b
            switch operand.method {
            case .register:
                regIsGeneral = true
                regIsByte = isByte
                regUse = use(of: i, row, mnemonic, decoder)
            case .general, .memory:
                rmIsGeneral = true
                rmIsByte = isByte
                rmUse = use(of: i, row, mnemonic, decoder)
                if isMemory {
                    memoryBytes = Self.bytes(operand.size, decoder)
                    writesMemory = i == 0 && !attributes.contains(.readsFirst)
                }
            default: break
            }
        }
        regIsExtension = row.pointee.extension_ != nil
        // SETcc ignores the field.
        if row.pointee.map == .two, encoding.opcode & 0xF0 == 0x90 { regIsExtension = true }
    }

    private func use(
        of slot: Int, _ row: UnsafePointer<OpcodeRow>, _ mnemonic: Mnemonic, _ decoder: Decoder
    ) -> RegisterUse {
        switch mnemonic {
        case .xchg, .xadd, .cmpxchg: return .both
        case .mov, .movzx, .movsx, .movsxd, .popcnt, .imul:
            let overwrites = mnemonic != .imul || row.pointee.operandCount == 3
            if slot == 0, overwrites, Self.bytes(row.pointee.slots[0].size, decoder) >= 4 { return .writes }
        default: break
        }
        return slot > 0 || row.pointee.attributes.contains(.readsFirst) ? .reads : .both
    }

    /// MOV between the accumulator and an address in the instruction.
    private mutating func planOffset() {
        kind = .special
        memoryBytes = 1 << Int(op.size)
        writesMemory = row?.pointee.slots[0].method == .offset
    }

    /// A constant count decides what a shift does to flags.
    private mutating func planShift(_ row: UnsafePointer<OpcodeRow>) {
        let conditional = FlagMask(rflags: row.pointee.flagsConditional | row.pointee.flagsUndefined)
        guard row.pointee.flagsConditional != 0 else { return }
        if row.pointee.lastOperand.method == .countCL { return }
        let count = Int(op.immediate) & (op.size == 3 ? 63 : 31)
        touchesFlags = count != 0
        // A rotate through carry by the operand's width and one more is one by nothing.
        let isPlain =
            count != 0 && row.pointee.code != Mnemonic.rcl.rawValue && row.pointee.code != Mnemonic.rcr.rawValue
        if isPlain, op.size >= 2 { kills = conditional }
        if count == 0 { reads = [] }
    }

    private mutating func planBranch(_ mode: UInt32) {
        kind = .branch
        let is64 = mode & ModeKey.code64 != 0
        switch op.code {
        case .jo, .jno, .jb, .jae, .je, .jne, .jbe, .ja, .js, .jns, .jp, .jnp, .jl, .jge, .jle, .jg, .jmpRelative:
            isNativeBranch = op.addressShift == (is64 ? 0 : 32)
            if !isNativeBranch { reads = .all }
            return
        case .callRelative64, .callR64, .callM64, .ret64: isNativeBranch = true
        case .jmpR, .jmpM, .callRelativeGeneral, .callIndirectGeneral, .retGeneral:
            isNativeBranch = op.size == (is64 ? 3 : 2)
        default: break
        }
        if isMemory, isNativeBranch { memoryBytes = 1 << Int(op.size) }
        // Of a direct call it may be known what is read where it leads.
        reads = isDirectCall ? [] : .all
    }

    /// A relative branch of 64-bit mode that leaves the canonical addresses faults: the interpreter does that.
    mutating func checkTarget(from blockStart: UInt64) {
        guard isNativeBranch, op.isRelativeBranch else { return }
        if !isCanonicalAddress(blockStart &+ UInt64(bitPattern: op.immediate)), op.addressShift != 32 {
            isNativeBranch = false
            reads = .all
        }
    }
}

extension DecodedOp {
    /// A near branch, call or return.
    var isBlockBranch: Bool {
        code.rawValue >= OpCode.jo.rawValue && code.rawValue <= OpCode.loopFamily.rawValue
    }
    /// `immediate` is its target.
    var isRelativeBranch: Bool { isConditionalJump || code == .jmpRelative || code == .callRelative64 }
    var isConditionalJump: Bool { code.rawValue >= OpCode.jo.rawValue && code.rawValue <= OpCode.jg.rawValue }
    /// Condition of a conditional jump, as in Jcc.
    var condition: Int { Int(code.rawValue - OpCode.jo.rawValue) }
}
