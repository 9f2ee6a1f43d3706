/// One row of the opcode tables: how an encoding is recognised, what its operands are, what it does to flags.
///
/// The tables are text, a row a line, and are parsed once (a few hundred microseconds). Columns:
///
///     [prefix] bytes [ext]   mnemonic   operands   attributes
///
/// - `VEX.p.MAP[.W0|.W1][.L0|.L1]` in front: a VEX prefix with that mandatory prefix (NP, 66, F3, F2), map, W and L (SDM vol. 2, 2.3).
/// - prefix: `NP`, `66`, `F3`, `F2`: a mandatory prefix (SDM vol. 2, 2.1.2). Absent: any.
/// - bytes: `00`, `0F A2`, `0F 38 17`, `0F 3A 0F`; `50+r`: the low three bits of the last byte are a register.
/// - ext: `/r` ModRM follows, `/0`–`/7` ModRM.reg selects; suffix `m` or `r`: memory or register form only; `=F8`: exactly that ModRM.
/// - operands: SDM vol. 2, A.2.1; `-` for none.
/// - attributes: `lock` may be locked, `priv` CPL 0, `end` ends a block, `i64` invalid in 64-bit mode, `o64` only there,
///   `d64` 64-bit operands by default there, `f64` always there, `osize` a mandatory 66 that also means 16-bit operands,
///   `ro` the first operand is only read, `una` 16 bytes of memory need no alignment, `mb` `mw` `mq` memory is a byte, word or
///   quadword whatever the column says, `call` the translator calls the interpreter for it,
///   `r:` `w:` `c:` `u:` flags read, written, written on a condition (a count of 0 writes none), undefined, `f:` the CPUID
///   feature that it comes with (`CPUFeature.names`), and the family: `x87`, `sse`, `sys`.
struct OpcodeRow {
    /// Opcode maps; behind a VEX prefix they are maps of their own.
    enum Map: Int, CaseIterable { case one = 0, two, three38, three3A, vex0F, vex38, vex3A }
    enum MandatoryPrefix: UInt8 { case any, none, p66, pF3, pF2 }
    enum Form: UInt8 { case any, memory, register }
    enum Family: UInt8 { case integer, x87, sse, system }

    struct Attributes: OptionSet {
        let rawValue: UInt32
        static let lock = Attributes(rawValue: 1)
        static let privileged = Attributes(rawValue: 2)
        static let endsBlock = Attributes(rawValue: 4)
        static let invalidIn64 = Attributes(rawValue: 8)
        static let onlyIn64 = Attributes(rawValue: 16)
        static let default64 = Attributes(rawValue: 32)
        static let forced64 = Attributes(rawValue: 64)
        static let operandSizePrefix = Attributes(rawValue: 128)
        static let hasModRM = Attributes(rawValue: 256)
        static let plusRegister = Attributes(rawValue: 512)
        /// The first operand is a source although it stands where destinations do: CMP, TEST, PUSH, DIV.
        static let readsFirst = Attributes(rawValue: 1024)
        /// Not to be copied into translated code: host and guest would differ, or it is not worth it.
        static let called = Attributes(rawValue: 2048)
        /// A 16-byte memory operand may lie anywhere; the others must be aligned.
        static let unaligned = Attributes(rawValue: 4096)
        /// The memory operand is smaller than the register of the same column.
        static let memoryByte = Attributes(rawValue: 8192)
        static let memoryWord = Attributes(rawValue: 16384)
        static let memoryQuad = Attributes(rawValue: 32768)
    }

    var map = Map.one
    var opcode: UInt8 = 0
    var prefix = MandatoryPrefix.any
    var form = Form.any
    /// ModRM.reg that selects the row, or nil.
    var extension_: UInt8?
    /// The whole ModRM byte that selects the row, or nil.
    var exactModRM: UInt8?
    /// VEX.W and VEX.L that select the row, or nil.
    var vexW: Bool?
    var vexL: Bool?
    var mnemonic = ""
    /// The operands in place, so that reading them counts no references; `operands` is the list of those that there are.
    private(set) var slots = InlineArray<3, Operand>(repeating: Operand(method: .one, size: .none))
    private(set) var operandCount = 0
    var attributes: Attributes = []
    /// RFLAGS bits read, written for certain, written if the count is not 0, and left undefined.
    var flagsRead: UInt32 = 0
    var flagsWritten: UInt32 = 0
    var flagsConditional: UInt32 = 0
    var flagsUndefined: UInt32 = 0
    var family = Family.integer
    /// What CPUID must offer; otherwise the row does not exist. Nil: every processor has it.
    var feature: CPUFeature?
    /// Raw value in the family's enum: `Mnemonic`, `X87Code`, `SSECode` or `SystemCode`.
    var code: UInt16 = 0

    var isVEX: Bool { map.rawValue >= Map.vex0F.rawValue }
    var operands: [Operand] { (0..<operandCount).map { slots[$0] } }
    /// The last operand; the first slot's filler where there is none.
    var lastOperand: Operand { slots[max(operandCount - 1, 0)] }

    /// False when there is no room.
    fileprivate mutating func add(_ operand: Operand) -> Bool {
        guard operandCount < 3 else { return false }
        slots[operandCount] = operand
        operandCount += 1
        return true
    }
}

/// Size letters of SDM vol. 2, A.2.2, as far as the tables use them.
enum OperandSize: UInt8 {
    case none
    /// Byte, word, doubleword, quadword, double quadword.
    case b, w, d, q, dq
    /// By operand size: 16/32/64 bits; 32/64 bits; 16/32 bits.
    case v, y, z
    /// Far pointer, pair for BOUND, pseudo-descriptor, 80-bit real.
    case p, a, s, t
    /// Packed and scalar floating point; `x` any 128 bits.
    case ps, pd, ss, sd, x

    static let names: [String: OperandSize] = [
        "": .none, "b": .b, "w": .w, "d": .d, "q": .q, "dq": .dq, "v": .v, "y": .y, "z": .z, "p": .p, "a": .a, "s": .s,
        "t": .t, "ps": .ps, "pd": .pd, "ss": .ss, "sd": .sd, "x": .x,
    ]
}

/// An operand as the tables write it: addressing method and size letter.
struct Operand: Equatable {
    /// SDM vol. 2, A.2.1, plus `Z` (register in the opcode byte) and fixed operands.
    enum Method: UInt8 {
        case far  // A: far pointer in the instruction
        case control, debug  // C, D
        case general, register  // E: ModRM.rm GPR or memory; G: ModRM.reg GPR
        case immediate, immediateSigned  // I; Ibs
        case branch  // J
        case memory  // M
        case offset  // O: address without ModRM
        case mmxRM, mmxRegister, mmxOnlyRM  // Q, P, N
        case generalOnlyRM  // R: ModRM.rm GPR only
        case segment  // S
        case xmmOnlyRM, xmmRegister, xmmRM  // U, V, W
        case source, destination  // X: DS:rSI, Y: ES:rDI
        // DI: DS:rDI of MASKMOVQ, BX: DS:rBX of XLAT, AX: DS:rAX of MONITOR
        case maskedDestination, translationTable, monitored
        case opcodeRegister  // Z
        case accumulator  // AL, eAX
        case countCL, portDX, one
        case stackTop, stackIndex  // ST, STi
        case vexGeneral  // B: VEX.vvvv GPR
        case segmentName  // ES, CS, SS, DS, FS, GS in the opcode
    }
    var method: Method
    var size: OperandSize
    /// `SegmentIndex` of a `segmentName`.
    var segment: UInt8 = 0
}

enum OpcodeTableError: Error { case row(String, String) }

extension OpcodeRow {
    /// Parses one line of a table.
    init(line: Substring, codes: (Family, String) -> UInt16?) throws(OpcodeTableError) {
        var words = line.split(separator: " ").map(String.init)[...]
        func fail(_ why: String) -> OpcodeTableError { .row(String(line), why) }
        func hex(_ text: some StringProtocol) -> UInt8? { UInt8(text, radix: 16) }

        var vexMap: Map?
        if let word = words.first, word.hasPrefix("VEX.") {
            for part in word.split(separator: ".").dropFirst() {
                switch part {
                case "NP": prefix = .none
                case "66": prefix = .p66
                case "F3": prefix = .pF3
                case "F2": prefix = .pF2
                case "0F": vexMap = .vex0F
                case "0F38": vexMap = .vex38
                case "0F3A": vexMap = .vex3A
                case "W0", "W1": vexW = part == "W1"
                case "L0", "L1": vexL = part == "L1"
                default: throw fail("VEX column")
                }
            }
            words.removeFirst()
            guard vexMap != nil, prefix != .any else { throw fail("VEX column") }
        }
        switch words.first {
        case _ where vexMap != nil: break
        case "NP": prefix = .none
        case "66": prefix = .p66
        case "F3": prefix = .pF3
        case "F2": prefix = .pF2
        default: break
        }
        // A lone F2, F3 or 66 never is an opcode, so a prefix word is always followed by bytes.
        if prefix != .any, vexMap == nil { words.removeFirst() }

        var bytes: [UInt8] = []
        while let word = words.first {
            if word.hasSuffix("+r"), let byte = hex(word.dropLast(2)) {
                bytes.append(byte)
                attributes.insert(.plusRegister)
            } else if word.count == 2, word.allSatisfy({ $0.isHexDigit && !$0.isLowercase }), let byte = hex(word) {
                bytes.append(byte)
            } else {
                break
            }
            words.removeFirst()
        }
        switch (bytes.count, bytes.first) {
        case (1, _): map = vexMap ?? .one
        case (2, 0x0F): map = .two
        case (3, 0x0F) where bytes[1] == 0x38: map = .three38
        case (3, 0x0F) where bytes[1] == 0x3A: map = .three3A
        default: throw fail("opcode bytes")
        }
        opcode = bytes[bytes.count - 1]

        if let word = words.first, word.hasPrefix("/") || word.hasPrefix("=") {
            attributes.insert(.hasModRM)
            if word.hasPrefix("=") {
                guard let byte = hex(word.dropFirst()) else { throw fail("exact ModRM") }
                exactModRM = byte
            } else {
                var spec = word.dropFirst()
                if spec.first == "r" {
                    spec = spec.dropFirst()
                } else if let digit = spec.first?.wholeNumberValue, digit < 8 {
                    extension_ = UInt8(digit)
                    spec = spec.dropFirst()
                }
                if spec == "m" {
                    form = .memory
                } else if spec == "r" {
                    form = .register
                } else if spec != "" {
                    throw fail("ModRM column")
                }
            }
            words.removeFirst()
        }

        guard let name = words.popFirst() else { throw fail("mnemonic missing") }
        mnemonic = name
        if let list = words.popFirst(), list != "-" {
            for text in list.split(separator: ",") {
                guard let operand = Operand(text: String(text)) else { throw fail("operand \(text)") }
                guard add(operand) else { throw fail("more than three operands") }
            }
        }
        for word in words { try addAttribute(word, fail) }
        if family == .x87, feature == nil { feature = .fpu }
        guard let found = codes(family, mnemonic) else { throw fail("no operation of that name in its family") }
        code = found
    }

    private mutating func addAttribute(
        _ word: String, _ fail: (String) -> OpcodeTableError
    ) throws(OpcodeTableError) {
        switch word {
        case "lock": attributes.insert(.lock)
        case "priv": attributes.insert(.privileged)
        case "end": attributes.insert(.endsBlock)
        case "i64": attributes.insert(.invalidIn64)
        case "o64": attributes.insert(.onlyIn64)
        case "d64": attributes.insert(.default64)
        case "f64": attributes.insert(.forced64)
        case "osize": attributes.insert(.operandSizePrefix)
        case "ro": attributes.insert(.readsFirst)
        case "call": attributes.insert(.called)
        case "una": attributes.insert(.unaligned)
        case "mb": attributes.insert(.memoryByte)
        case "mw": attributes.insert(.memoryWord)
        case "mq": attributes.insert(.memoryQuad)
        case "x87": family = .x87
        case "sse": family = .sse
        case "sys": family = .system
        case _ where word.hasPrefix("f:"):
            guard let named = CPUFeature.names.first(where: { $0.name == word.dropFirst(2) }) else {
                throw fail("feature \(word)")
            }
            feature = named.feature
        default:
            let kind = word.prefix(2)
            var mask: UInt32 = 0
            for letter in word.dropFirst(2) {
                switch letter {
                case "o": mask |= RFLAGS.of
                case "s": mask |= RFLAGS.sf
                case "z": mask |= RFLAGS.zf
                case "a": mask |= RFLAGS.af
                case "p": mask |= RFLAGS.pf
                case "c": mask |= RFLAGS.cf
                default: throw fail("flag \(letter)")
                }
            }
            switch kind {
            case "r:": flagsRead = mask
            case "w:": flagsWritten = mask
            case "c:": flagsConditional = mask
            case "u:": flagsUndefined = mask
            default: throw fail("attribute \(word)")
            }
        }
    }
}

extension Operand {
    /// Reads one operand of a row; nil when the tables' notation has no such operand.
    init?(text: String) {
        switch text {
        case "AL", "eAX": self.init(method: .accumulator, size: text == "AL" ? .b : .v)
        case "CL": self.init(method: .countCL, size: .b)
        case "DX": self.init(method: .portDX, size: .w)
        case "BX": self.init(method: .translationTable, size: .b)
        case "AX": self.init(method: .monitored, size: .b)
        case "DI": self.init(method: .maskedDestination, size: .none)
        case "1": self.init(method: .one, size: .b)
        case "ST", "ST0": self.init(method: .stackTop, size: .t)
        case "STi": self.init(method: .stackIndex, size: .t)
        case "Ibs": self.init(method: .immediateSigned, size: .b)
        default:
            if let index = ["ES", "CS", "SS", "DS", "FS", "GS"].firstIndex(of: text) {
                self.init(method: .segmentName, size: .w, segment: UInt8(index))
                return
            }
            let methods: [Character: Method] = [
                "A": .far, "B": .vexGeneral, "C": .control, "D": .debug, "E": .general, "G": .register, "I": .immediate,
                "J": .branch,
                "M": .memory, "O": .offset, "Q": .mmxRM, "P": .mmxRegister, "N": .mmxOnlyRM, "R": .generalOnlyRM,
                "S": .segment, "U": .xmmOnlyRM, "V": .xmmRegister, "W": .xmmRM, "X": .source, "Y": .destination,
                "Z": .opcodeRegister,
            ]
            guard let letter = text.first, let method = methods[letter],
                let size = OperandSize.names[String(text.dropFirst())]
            else { return nil }
            self.init(method: method, size: size)
        }
    }
}
