/// What the interpreter dispatches on: an operation with its operand form and width.
///
/// Forms: `RR` register ← register, `RM` register ← memory, `MR` memory ← register, `RI` register ← immediate,
/// `MI` memory ← immediate, `R` and `M` for one operand. In all of them `DecodedOp.reg` is the register operand
/// (the destination where it is written) and `DecodedOp.rm` the second register. Families stand in a fixed order, so that the decoder
/// computes a case from its parts (`OpCode.arithmetic` and its kin).
enum OpCode: UInt16 {
    // MARK: Block control
    /// Fell off the end of a block.
    case endOfBlock
    /// The block was thrown away while it ran or was linked to: look it up again at this instruction.
    case stale
    /// Raises #UD and logs the bytes.
    case undefined

    // MARK: Arithmetic group: operation × form × width
    case addRR8, addRR16, addRR32, addRR64
    case addRM8, addRM16, addRM32, addRM64
    case addMR8, addMR16, addMR32, addMR64
    case addRI8, addRI16, addRI32, addRI64
    case addMI8, addMI16, addMI32, addMI64
    case orRR8, orRR16, orRR32, orRR64
    case orRM8, orRM16, orRM32, orRM64
    case orMR8, orMR16, orMR32, orMR64
    case orRI8, orRI16, orRI32, orRI64
    case orMI8, orMI16, orMI32, orMI64
    case adcRR8, adcRR16, adcRR32, adcRR64
    case adcRM8, adcRM16, adcRM32, adcRM64
    case adcMR8, adcMR16, adcMR32, adcMR64
    case adcRI8, adcRI16, adcRI32, adcRI64
    case adcMI8, adcMI16, adcMI32, adcMI64
    case sbbRR8, sbbRR16, sbbRR32, sbbRR64
    case sbbRM8, sbbRM16, sbbRM32, sbbRM64
    case sbbMR8, sbbMR16, sbbMR32, sbbMR64
    case sbbRI8, sbbRI16, sbbRI32, sbbRI64
    case sbbMI8, sbbMI16, sbbMI32, sbbMI64
    case andRR8, andRR16, andRR32, andRR64
    case andRM8, andRM16, andRM32, andRM64
    case andMR8, andMR16, andMR32, andMR64
    case andRI8, andRI16, andRI32, andRI64
    case andMI8, andMI16, andMI32, andMI64
    case subRR8, subRR16, subRR32, subRR64
    case subRM8, subRM16, subRM32, subRM64
    case subMR8, subMR16, subMR32, subMR64
    case subRI8, subRI16, subRI32, subRI64
    case subMI8, subMI16, subMI32, subMI64
    case xorRR8, xorRR16, xorRR32, xorRR64
    case xorRM8, xorRM16, xorRM32, xorRM64
    case xorMR8, xorMR16, xorMR32, xorMR64
    case xorRI8, xorRI16, xorRI32, xorRI64
    case xorMI8, xorMI16, xorMI32, xorMI64
    case cmpRR8, cmpRR16, cmpRR32, cmpRR64
    case cmpRM8, cmpRM16, cmpRM32, cmpRM64
    case cmpMR8, cmpMR16, cmpMR32, cmpMR64
    case cmpRI8, cmpRI16, cmpRI32, cmpRI64
    case cmpMI8, cmpMI16, cmpMI32, cmpMI64
    case testRR8, testRR16, testRR32, testRR64
    case testMR8, testMR16, testMR32, testMR64
    case testRI8, testRI16, testRI32, testRI64
    case testMI8, testMI16, testMI32, testMI64

    // MARK: Moves
    case movRR8, movRR16, movRR32, movRR64
    case movRM8, movRM16, movRM32, movRM64
    case movMR8, movMR16, movMR32, movMR64
    case movRI8, movRI16, movRI32, movRI64
    case movMI8, movMI16, movMI32, movMI64
    case movzxR8x16, movzxR8x32, movzxR16x32, movzxM8x16, movzxM8x32, movzxM16x32
    case movsxR8x16, movsxR8x32, movsxR8x64, movsxR16x32, movsxR16x64, movsxR32x64
    case movsxM8x16, movsxM8x32, movsxM8x64, movsxM16x32, movsxM16x64, movsxM32x64
    case lea16, lea32, lea64
    case xchgRR8, xchgRR16, xchgRR32, xchgRR64
    case xchgMR8, xchgMR16, xchgMR32, xchgMR64
    case cmovR16, cmovR32, cmovR64
    case cmovM16, cmovM32, cmovM64
    case setccR, setccM
    case bswap32, bswap64

    // MARK: One operand: inc, dec, not, neg × form × width
    case incR8, incR16, incR32, incR64
    case incM8, incM16, incM32, incM64
    case decR8, decR16, decR32, decR64
    case decM8, decM16, decM32, decM64
    case notR8, notR16, notR32, notR64
    case notM8, notM16, notM32, notM64
    case negR8, negR16, negR32, negR64
    case negM8, negM16, negM32, negM64

    // MARK: Shifts and rotates: the common ones by name, the rest through `shift`, kind in `sub`
    case shlRI32, shlRI64, shlRC32, shlRC64
    case shrRI32, shrRI64, shrRC32, shrRC64
    case sarRI32, sarRI64, sarRC32, sarRC64
    case shiftR8, shiftR16, shiftR32, shiftR64
    case shiftM8, shiftM16, shiftM32, shiftM64
    case doubleShift

    // MARK: Multiplication and division
    case imulRR16, imulRR32, imulRR64
    case imulRM16, imulRM32, imulRM64
    case imulRRI16, imulRRI32, imulRRI64
    case imulRMI16, imulRMI32, imulRMI64
    case mulWide, imulWide, divide, idivide

    // MARK: Stack: 64-bit mode, flat 32-bit, and the general form for every other combination
    case pushR64, pushI64, pushR32, pushI32, popR64, popR32
    case pushGeneral, popGeneral, pushAll, popAll, enter, leave64, leaveGeneral

    // MARK: Near control flow: `immediate` is the target relative to the start of the block
    case jo, jno, jb, jae, je, jne, jbe, ja, js, jns, jp, jnp, jl, jge, jle, jg
    case jmpRelative, jmpR, jmpM, callRelative64, callR64, callM64, ret64
    case callRelativeGeneral, callIndirectGeneral, retGeneral, loopFamily

    // MARK: Bits
    case bitTestRR32, bitTestRR64, bitTestRI32, bitTestRI64, bitTestGeneral, bitScan, bitManipulation

    // MARK: Rarer
    case cmpxchg, xadd, cmpxchg8b, movbe, string, xlat, decimal
    case cbw, cwde, cdqe, cwd, cdq, cqo, sahf, lahf, clc, stc, cmc, cld, std, salc, nop, pause

    // MARK: Families with a second level: the case is in `sub`
    case x87, sse, system
}

extension OpCode {
    /// Operand forms in the order in which families list them.
    enum Form: UInt16 { case rr, rm, mr, ri, mi }

    /// - Parameters: `operation` 0–7 as in ModRM.reg of opcode 80h, `size` log2 of bytes.
    static func arithmetic(_ operation: UInt16, _ form: Form, size: UInt8) -> OpCode {
        at(.addRR8, operation * 20 + form.rawValue * 4 + UInt16(size))
    }

    static func move(_ form: Form, size: UInt8) -> OpCode { at(.movRR8, form.rawValue * 4 + UInt16(size)) }

    /// TEST has no register-from-memory form: it is symmetric.
    static func test(_ form: Form, size: UInt8) -> OpCode {
        let row: UInt16 = form == .rr ? 0 : form == .mr || form == .rm ? 1 : form == .ri ? 2 : 3
        return at(.testRR8, row * 4 + UInt16(size))
    }

    /// - Parameter operation: 0 inc, 1 dec, 2 not, 3 neg.
    static func unary(_ operation: UInt16, memory: Bool, size: UInt8) -> OpCode {
        at(.incR8, operation * 8 + (memory ? 4 : 0) + UInt16(size))
    }

    /// The case `distance` places after `first`.
    static func at(_ first: OpCode, _ distance: UInt16) -> OpCode {
        OpCode(rawValue: first.rawValue + distance) ?? .undefined
    }
}
