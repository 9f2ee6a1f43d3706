/// Instructions as text, Intel syntax, from the same rows and the same decoder that execute them.
struct Disassembler {
    let mode: Decoder.Mode

    struct Line {
        var text: String
        /// Bytes taken; 1 for what does not decode.
        var length: Int
    }

    /// - Parameters:
    ///   - bytes: at least one byte.
    ///   - address: offset of the first byte in its code segment, for branch targets.
    func line(_ bytes: UnsafeBufferPointer<UInt8>, at address: UInt64) -> Line {
        guard let base = bytes.baseAddress else { return Line(text: "(nothing)", length: 0) }
        var decoder = Decoder(bytes: base, available: bytes.count, mode: mode)
        guard case .decoded = decoder.decode(), decoder.op.code != .undefined, let row = decoder.row?.pointee
        else {
            return Line(text: "(bad) " + hex(base[0], 2), length: 1)
        }
        let op = decoder.encoded
        let length = Int(decoder.op.length)
        var text = ""
        if op.prefixes.contains(.lock) { text += "lock " }
        if Self.isString(row) {
            if op.prefixes.contains(.rep) { text += ["cmps", "scas"].contains(row.mnemonic) ? "repe " : "rep " }
            if op.prefixes.contains(.repne) { text += "repne " }
        }
        let end = address &+ UInt64(length)
        var operands = row.operands.map { self.text($0, op, decoder, row, end: end) }.filter { !$0.isEmpty }
        var name = row.mnemonic
        if Self.isString(row) {
            name += Self.suffix(decoder.op.size)
            operands = []
        }
        name = Self.sized(name, decoder.op.size)
        text += name
        if !operands.isEmpty { text += " " + operands.joined(separator: ", ") }
        return Line(text: text, length: length)
    }

    private static func isString(_ row: OpcodeRow) -> Bool {
        row.operands.contains { $0.method == .source || $0.method == .destination }
    }

    private static func suffix(_ size: UInt8) -> String { ["b", "w", "d", "q"][Int(size & 3)] }

    /// Mnemonics that the manual names by operand size.
    private static func sized(_ name: String, _ size: UInt8) -> String {
        switch name {
        case "cbw": ["cbw", "cbw", "cwde", "cdqe"][Int(size & 3)]
        case "cwd": ["cwd", "cwd", "cdq", "cqo"][Int(size & 3)]
        case "cmpxchg8b": size == 3 ? "cmpxchg16b" : name
        default: name
        }
    }

    // MARK: Operands

    private func text(
        _ operand: Operand, _ op: DecodedOp, _ decoder: Decoder, _ row: OpcodeRow, end: UInt64
    ) -> String {
        let size = operand.size == .b ? 0 : decoder.log2(operand)
        switch operand.method {
        case .general, .generalOnlyRM, .mmxRM, .xmmRM, .memory, .xmmOnlyRM, .mmxOnlyRM:
            if op.prefixes.contains(.memory) { return memory(op, decoder, size: operand, row: row) }
            switch operand.method {
            case .mmxRM, .mmxOnlyRM: return "mm\(op.rm & 7)"
            case .xmmRM, .xmmOnlyRM: return "xmm\(op.rm)"
            default: return Self.general(op.rm, size)
            }
        case .register: return Self.general(op.reg, size)
        case .vexGeneral: return Self.general(op.vexRegister, size)
        case .opcodeRegister: return Self.general(op.rm, size)
        case .mmxRegister: return "mm\(op.reg & 7)"
        case .xmmRegister: return "xmm\(op.reg)"
        case .accumulator: return Self.general(0, size)
        case .countCL: return "cl"
        case .portDX: return "dx"
        case .one: return "1"
        case .stackTop: return "st0"
        case .stackIndex: return "st\(op.rm & 7)"
        case .segment: return Self.segmentNames[Int(op.reg & 7) % 6]
        case .segmentName: return Self.segmentNames[Int(operand.segment)]
        case .control: return "cr\(op.reg)"
        case .debug: return "dr\(op.reg)"
        case .immediate, .immediateSigned:
            if row.operands.count == 2, row.operands.first?.method == .immediate {
                return number(operand.size == .b ? op.immediate >> 16 : op.immediate & 0xFFFF)
            }
            let bits =
                operand.size == .w ? 16 : operand.size == .b && operand.method == .immediate ? 8 : 8 << Int(op.size)
            let value = bits == 64 ? op.immediate : op.immediate & ((1 << Int64(bits)) - 1)
            return "0x" + hex(UInt64(bitPattern: value), 1)
        case .branch:
            let width = UInt64(8 << Int(op.size))
            let target = end &+ UInt64(bitPattern: op.immediate)
            return "0x" + hex(width == 64 ? target : target & ((1 << width) - 1), 1)
        case .far: return "0x" + hex(op.immediate >> 32, 1) + ":0x" + hex(op.immediate & 0xFFFF_FFFF, 1)
        case .offset: return memory(op, decoder, size: operand, row: row)
        case .source, .destination, .maskedDestination, .translationTable, .monitored: return ""
        }
    }

    private func number(_ value: Int64) -> String {
        value < 0 ? "-0x" + hex(value.magnitude, 1) : "0x" + hex(value, 1)
    }

    private static let segmentNames = ["es", "cs", "ss", "ds", "fs", "gs"]

    private static let byteNames = ["al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"]
    private static let wordNames = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"]

    /// A general register as `DecodedOp` numbers it.
    static func general(_ operand: UInt8, _ size: UInt8) -> String {
        if size == 0 {
            if operand & 7 == 1 { return ["ah", "ch", "dh", "bh"][Int(operand >> 3) & 3] }
            let index = Int(operand >> 3)
            return index < 8 ? byteNames[index] : "r\(index)b"
        }
        let index = Int(operand)
        switch size {
        case 1: return index < 8 ? wordNames[index] : "r\(index)w"
        case 2: return index < 8 ? "e" + wordNames[index] : "r\(index)d"
        default: return index < 8 ? "r" + wordNames[index] : "r\(index)"
        }
    }

    private func memory(_ op: DecodedOp, _ decoder: Decoder, size: Operand, row: OpcodeRow) -> String {
        let address = decoder.addressSize
        var parts: [String] = []
        if op.base == UInt8(Register.blockIP) {
            parts.append(address == 3 ? "rip" : "eip")
        } else if op.base != UInt8(Register.zero) {
            parts.append(Self.general(op.base, address))
        }
        if op.index != UInt8(Register.zero) {
            let name = Self.general(op.index, address)
            parts.append(address == 1 || op.scale == 0 ? name : "\(name)*\(1 << Int(op.scale))")
        }
        var inside = parts.joined(separator: "+")
        if parts.isEmpty {
            let mask: UInt64 = address == 3 ? ~0 : (1 << UInt64(8 << Int(address))) - 1
            inside = "0x" + hex(UInt64(bitPattern: op.displacement) & mask, 1)
        } else if op.displacement != 0 {
            inside += op.displacement < 0 ? number(op.displacement) : "+" + number(op.displacement)
        }
        let segment = decoder.segmentOverride.map { Self.segmentNames[Int($0)] + ":" } ?? ""
        return Self.keyword(size, decoder, row) + segment + "[" + inside + "]"
    }

    /// `dword ptr` where no register operand tells the size.
    private static func keyword(_ operand: Operand, _ decoder: Decoder, _ row: OpcodeRow) -> String {
        let isTold = row.operands.contains {
            ($0.method == .register || $0.method == .accumulator || $0.method == .xmmRegister) && row.family == .integer
                && $0.size == operand.size
        }
        if isTold || row.mnemonic == "lea" || row.family != .integer { return "" }
        return ["byte ptr ", "word ptr ", "dword ptr ", "qword ptr "][Int(decoder.log2(operand) & 3)]
    }
}
