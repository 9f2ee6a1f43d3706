/// Picks the `OpCode` of a general-purpose instruction from its operation, operand form, width and mode, and puts the
/// operands where that case expects them.
struct Lowering {
    var op: DecodedOp
    let row: UnsafePointer<OpcodeRow>
    let mode: Decoder.Mode
    let isMemory: Bool
    /// log2 of bytes.
    let addressSize: UInt8

    private var firstMethod: Operand.Method? { row.pointee.operandCount > 0 ? row.pointee.slots[0].method : nil }

    mutating func lower(_ mnemonic: Mnemonic) {
        if isByteOperation { op.size = 0 }
        let code = mnemonic.rawValue
        switch mnemonic {
        case .add, .or, .adc, .sbb, .and, .sub, .xor, .cmp:
            op.code = .arithmetic(code - Mnemonic.add.rawValue, placeBinary(), size: op.size)
        case .test:
            op.code = .test(placeBinary(), size: op.size)
        case .mov, .movnti:
            let form = placeBinary()
            op.code = .move(form, size: op.size)
        case .inc, .dec, .not, .neg:
            placeSingle()
            op.code = .unary(code - Mnemonic.inc.rawValue, memory: isMemory, size: op.size)
        case .rol, .ror, .rcl, .rcr, .shl, .shr, .salAlias, .sar:
            lowerShift(kind: code - Mnemonic.rol.rawValue)
        case .shld, .shrd:
            op.sub = mnemonic == .shld ? 0 : 1
            op.code = .doubleShift
            // `rm` is the destination here as in ModRM; CL counts are marked by -1.
            op.immediate = row.pointee.lastOperand.method == .countCL ? -1 : op.immediate
        case .movzx: extend(memory8: .movzxM8x16, memory16: .movzxM16x32, signed: false)
        case .movsx: extend(memory8: .movsxM8x16, memory16: .movsxM16x32, signed: true)
        case .movsxd:
            switch (op.size, isMemory) {
            case (3, false): op.code = .movsxR32x64
            case (3, true): op.code = .movsxM32x64
            default: op.code = .move(isMemory ? .rm : .rr, size: op.size)
            }
        case .lea: op.code = .at(.lea16, UInt16(op.size) - 1)
        case .xchg:
            op.code = placeBinary() == .rr ? .at(.xchgRR8, UInt16(op.size)) : .at(.xchgMR8, UInt16(op.size))
            // 90h is NOP; 87 C0 is not: it clears the upper half.
            if row.pointee.slots[0].method == .opcodeRegister, op.reg == 0, op.size >= 1 { op.code = .nop }
        case .bswap:
            placeSingle()
            op.code = op.size == 3 ? .bswap64 : .bswap32
            // Undefined for 16 bits (SDM vol. 2, BSWAP); processors clear them.
            if op.size == 1 { op.code = .movRI16 }
        case .mul, .imul, .div, .idiv: lowerMultiply(mnemonic)
        case .bt, .bts, .btr, .btc: lowerBitTest(kind: code - Mnemonic.bt.rawValue)
        case .bsf, .bsr, .popcnt:
            op.sub = code - Mnemonic.bsf.rawValue
            op.code = .bitScan
        case .lzcnt, .tzcnt, .adcx, .adox, .andn, .bextr, .blsr, .blsmsk, .blsi, .bzhi, .pdep, .pext, .mulx, .rorx,
            .sarx,
            .shlx, .shrx:
            op.sub = code - Mnemonic.lzcnt.rawValue
            op.code = .bitManipulation
        case .push, .pop, .pusha, .popa, .enter, .leave: lowerStack(mnemonic)
        case .call, .jmp, .ret, .loop, .loope, .loopne, .jcxz: lowerBranch(mnemonic)
        case .cmpxchg: op.code = .cmpxchg
        case .xadd: op.code = .xadd
        case .cmpxchg8b: op.code = .cmpxchg8b
        case .movbe:
            op.sub = firstMethod == .register ? 0 : 1
            op.code = .movbe
        case .movs, .cmps, .stos, .lods, .scas, .ins, .outs:
            op.sub = code - Mnemonic.movs.rawValue
            op.code = .string
        case .cbw: op.code = op.size == 1 ? .cbw : op.size == 2 ? .cwde : .cdqe
        case .cwd: op.code = op.size == 1 ? .cwd : op.size == 2 ? .cdq : .cqo
        case .sahf: op.code = .sahf
        case .lahf: op.code = .lahf
        case .clc: op.code = .clc
        case .stc: op.code = .stc
        case .cmc: op.code = .cmc
        case .cld: op.code = .cld
        case .std: op.code = .std
        case .salc: op.code = .salc
        case .xlat: op.code = .xlat
        case .daa, .das, .aaa, .aas, .aam, .aad:
            op.sub = code - Mnemonic.daa.rawValue
            op.code = .decimal
        case .nop: op.code = .nop
        case .pause: op.code = .pause
        case .jo, .jno, .jb, .jae, .je, .jne, .jbe, .ja, .js, .jns, .jp, .jnp, .jl, .jge, .jle, .jg:
            op.code = .at(.jo, code - Mnemonic.jo.rawValue)
            setBranchWidth()
        case .seto, .setno, .setb, .setae, .sete, .setne, .setbe, .seta, .sets, .setns, .setp, .setnp, .setl, .setge,
            .setle, .setg:
            placeSingle()
            op.sub = code - Mnemonic.seto.rawValue
            op.code = isMemory ? .setccM : .setccR
        case .cmovo, .cmovno, .cmovb, .cmovae, .cmove, .cmovne, .cmovbe, .cmova, .cmovs, .cmovns, .cmovp, .cmovnp,
            .cmovl, .cmovge, .cmovle, .cmovg:
            op.sub = code - Mnemonic.cmovo.rawValue
            op.code = .at(isMemory ? .cmovM16 : .cmovR16, UInt16(op.size) - 1)
        }
    }

    /// True when the destination, or a string operand, is a byte.
    private var isByteOperation: Bool {
        guard row.pointee.operandCount > 0 else { return false }
        let first = row.pointee.slots[0], last = row.pointee.lastOperand
        let isOperand = first.method != .immediate && first.method != .immediateSigned && first.method != .branch
        return first.size == .b && isOperand || last.method == .source && last.size == .b
    }

    // MARK: Operand placement

    /// Puts the operands of a two-operand instruction where `OpCode`'s forms expect them.
    private mutating func placeBinary() -> OpCode.Form {
        let first = row.pointee.slots[0].method, second = row.pointee.slots[1].method
        switch first {
        case .general, .memory:
            let isImmediate = second == .immediate || second == .immediateSigned
            if isMemory { return isImmediate ? .mi : .mr }
            if isImmediate {
                op.reg = op.rm
                return .ri
            }
            swap(&op.reg, &op.rm)
            return .rr
        case .offset:
            op.reg = 0
            return .mr
        case .accumulator:
            op.reg = 0
            return second == .offset ? .rm : .ri
        case .opcodeRegister:
            op.reg = op.rm
            op.rm = 0
            return second == .accumulator ? .rr : .ri
        default:
            return isMemory ? .rm : .rr
        }
    }

    /// A single register operand moves to `reg`.
    private mutating func placeSingle() {
        if !isMemory { op.reg = op.rm }
    }

    // MARK: Families

    private mutating func lowerShift(kind: UInt16) {
        let isCL = row.pointee.slots[1].method == .countCL
        placeSingle()
        // The count is masked to 5 bits, 6 for 64-bit operands (SDM vol. 2, SHL); -1 stands for CL.
        op.immediate = isCL ? -1 : op.immediate & (op.size == 3 ? 63 : 31)
        op.sub = kind
        if !isMemory, op.size >= 2, isCL || op.immediate != 0, kind == 4 || kind == 5 || kind == 7 {
            let first: OpCode = kind == 4 ? .shlRI32 : kind == 5 ? .shrRI32 : .sarRI32
            op.code = .at(first, (isCL ? 2 : 0) + UInt16(op.size) - 2)
        } else {
            op.code = .at(isMemory ? .shiftM8 : .shiftR8, UInt16(op.size))
        }
    }

    /// MOVZX and MOVSX: the source is a byte or a word, the destination `op.size`.
    private mutating func extend(memory8: OpCode, memory16: OpCode, signed: Bool) {
        let isByte = row.pointee.slots[1].size == .b
        if signed {
            let first: OpCode = isMemory ? .movsxM8x16 : .movsxR8x16
            if !isByte && op.size == 1 {
                op.code = .move(isMemory ? .rm : .rr, size: 1)
            } else {
                op.code = .at(first, isByte ? UInt16(op.size) - 1 : 3 + UInt16(op.size) - 2)
            }
        } else {
            let first: OpCode = isMemory ? .movzxM8x16 : .movzxR8x16
            if isByte {
                op.code = .at(first, op.size == 1 ? 0 : 1)
            } else {
                op.code = op.size == 1 ? .move(isMemory ? .rm : .rr, size: 1) : .at(first, 2)
            }
        }
    }

    private mutating func lowerMultiply(_ mnemonic: Mnemonic) {
        switch (mnemonic, row.pointee.operandCount) {
        case (.imul, 2): op.code = .at(isMemory ? .imulRM16 : .imulRR16, UInt16(op.size) - 1)
        case (.imul, 3): op.code = .at(isMemory ? .imulRMI16 : .imulRRI16, UInt16(op.size) - 1)
        case (.mul, _): op.code = .mulWide
        case (.imul, _): op.code = .imulWide
        case (.div, _): op.code = .divide
        default: op.code = .idivide
        }
    }

    private mutating func lowerBitTest(kind: UInt16) {
        op.sub = kind
        let isImmediate = row.pointee.slots[1].method == .immediate
        if isImmediate { op.immediate &= op.size == 3 ? 63 : op.size == 2 ? 31 : 15 }
        guard !isMemory, op.size >= 2 else {
            op.code = .bitTestGeneral
            // A register bit offset is marked by -1.
            if !isImmediate { op.immediate = -1 }
            return
        }
        op.code = .at(isImmediate ? .bitTestRI32 : .bitTestRR32, UInt16(op.size) - 2)
    }

    private mutating func lowerStack(_ mnemonic: Mnemonic) {
        let isFlat32 = mode.isFlat && mode.isStack32 && !mode.is64 && op.size == 2
        let is64 = mode.is64 && op.size == 3
        let operand = firstMethod
        switch mnemonic {
        case .push:
            let isImmediate = operand == .immediate || operand == .immediateSigned
            if !isImmediate { placeSingle() }
            if is64 && !isMemory {
                op.code = isImmediate ? .pushI64 : .pushR64
            } else if isFlat32 && !isMemory {
                op.code = isImmediate ? .pushI32 : .pushR32
            } else {
                op.sub = isImmediate ? 1 : 0
                op.code = .pushGeneral
            }
        case .pop:
            placeSingle()
            op.code = isMemory ? .popGeneral : is64 ? .popR64 : isFlat32 ? .popR32 : .popGeneral
        case .pusha: op.code = .pushAll
        case .popa: op.code = .popAll
        case .enter: op.code = .enter
        default: op.code = is64 ? .leave64 : .leaveGeneral
        }
    }

    /// Direct near branches keep the width of the instruction pointer in `addressShift`; indirect ones, whose
    /// `addressShift` belongs to the memory operand, derive it from `size`.
    private mutating func setBranchWidth() {
        op.addressShift = UInt8(64 - (8 << Int(op.size)))
    }

    private mutating func lowerBranch(_ mnemonic: Mnemonic) {
        let isRelative = firstMethod == .branch
        switch mnemonic {
        case .jmp:
            if isRelative {
                op.code = .jmpRelative
                setBranchWidth()
            } else {
                placeSingle()
                op.code = isMemory ? .jmpM : .jmpR
            }
        case .call:
            let is64 = op.size == 3
            if isRelative {
                op.code = is64 ? .callRelative64 : .callRelativeGeneral
                setBranchWidth()
            } else {
                placeSingle()
                op.code = is64 ? (isMemory ? .callM64 : .callR64) : .callIndirectGeneral
            }
        case .ret:
            op.code = op.size == 3 ? .ret64 : .retGeneral
        default:
            op.sub = mnemonic.rawValue - Mnemonic.loop.rawValue
            op.code = .loopFamily
            setBranchWidth()
            // The counter's width is the address size.
            op.scale = UInt8(64 - (8 << Int(addressSize)))
        }
    }
}
