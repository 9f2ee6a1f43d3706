/// One decoded instruction, 32 bytes, ready to execute.
///
/// What a field holds depends on the operation; the names fit most. Sizes are log2 of bytes (0: 8 bits … 3: 64 bits).
struct DecodedOp {
    var code: OpCode
    /// Second-level operation of the x87, SSE and system families: the raw value of `X87Code`, `SSECode`, `SystemCode`.
    var sub: UInt16 = 0
    /// Register operand of ModRM.reg (or the destination). GPR index; for 8-bit operands the byte offset into
    /// `CPUState.gpr` (AH is 1, BPL is 40). XMM, segment, control and debug registers by their number.
    var reg: UInt8 = 0
    /// Register operand of ModRM.rm when it is a register, as `reg`.
    var rm: UInt8 = 0
    /// Memory operand: `((gpr[base] + (gpr[index] << scale) + displacement) << addressShift) >> addressShift`.
    var base: UInt8 = UInt8(Register.zero)
    var index: UInt8 = UInt8(Register.zero)
    var scale: UInt8 = 0
    /// 64 minus the address size in bits. Near branches: 64 minus the width of the instruction pointer.
    var addressShift: UInt8 = 0
    /// Segment of the memory operand; `SegmentIndex.flat` where its base is 0 and it has no limit.
    var segment: UInt8 = SegmentIndex.flat
    /// Bytes of the instruction.
    var length: UInt8 = 0
    /// Where the instruction starts, in bytes from the start of its block.
    var offset: UInt16 = 0
    var prefixes: Prefixes = []
    /// Operand size, log2 of bytes.
    var size: UInt8 = 0
    var displacement: Int64 = 0
    /// Immediate, sign-extended; far pointers: selector << 32 | offset; near branches: target minus the block's start.
    var immediate: Int64 = 0

    init(_ code: OpCode) { self.code = code }

    struct Prefixes: OptionSet {
        let rawValue: UInt8
        static let rep = Prefixes(rawValue: 1)  // F3
        static let repne = Prefixes(rawValue: 2)  // F2
        static let lock = Prefixes(rawValue: 4)
        /// ModRM.rm is memory.
        static let memory = Prefixes(rawValue: 8)
        static let operandSize = Prefixes(rawValue: 16)  // 66
        static let rexW = Prefixes(rawValue: 32)
        static let addressSize = Prefixes(rawValue: 64)  // 67
        /// The memory operand's segment is SS (explicitly or by its base): faults are #SS, not #GP.
        static let stackSegment = Prefixes(rawValue: 128)
    }
}

/// What a VEX prefix adds stands above the immediate byte.
extension DecodedOp {
    var vexImmediate: UInt8 { UInt8(truncatingIfNeeded: immediate) }
    /// VEX.vvvv.
    var vexRegister: UInt8 { UInt8(truncatingIfNeeded: immediate >> 8) & 15 }

    mutating func setVEX(register: UInt8) { immediate = immediate & 0xFF | Int64(register) << 8 }
}
