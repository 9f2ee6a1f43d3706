/// Turns instruction bytes into a `DecodedOp` (SDM vol. 2, chapter 2), driven by `OpcodeTable`.
struct Decoder {
    enum Result {
        case decoded
        /// More bytes are needed than there are: the instruction goes on in the next page.
        case truncated
        /// Longer than 15 bytes: #GP(0).
        case tooLong
    }

    /// What the mode decides about decoding.
    struct Mode {
        /// log2 of default operand and address size in bytes outside 64-bit mode: 1 or 2.
        var codeSize: UInt8
        var is64: Bool
        /// Segments ES, CS, SS, DS have base 0 and no limit.
        var isFlat: Bool
        /// SS.B or 64-bit mode.
        var isStack32: Bool
        /// What the processor offers: rows of other features do not exist.
        var features: CPUFeatureSet

        init(key: UInt32, features: CPUFeatureSet = .all) {
            self.features = features
            codeSize = key & ModeKey.code32 != 0 ? 2 : 1
            is64 = key & ModeKey.code64 != 0
            isStack32 = key & ModeKey.stack32 != 0
            isFlat = key & ModeKey.flat != 0
        }
    }

    /// The parts of an instruction as its bytes have them (SDM vol. 2, 2.1).
    struct Encoding {
        var map = OpcodeRow.Map.one
        var opcode: UInt8 = 0
        var modRM: UInt8 = 0
        /// 0 where there is none.
        var rex: UInt8 = 0
        var hasREX = false
        var has66 = false
        /// F2, F3 or 0.
        var repeatPrefix: UInt8 = 0
        /// Offset of the opcode byte (behind the map's escape bytes), of what follows ModRM, SIB and displacement.
        var opcodeOffset = 0
        var immediateOffset = 0

        var reg: UInt8 { modRM >> 3 & 7 | (rex & 4) << 1 }
        var rm: UInt8 { modRM & 7 | (rex & 1) << 3 }
        var isWide: Bool { rex & 8 != 0 }
    }

    private let bytes: UnsafePointer<UInt8>
    private let available: Int
    private let mode: Mode
    private var position = 0
    private var isTruncated = false

    // Prefixes
    private var rex: UInt8 = 0
    private(set) var hasREX = false
    private var has66 = false
    private var has67 = false
    private var hasLock = false
    /// The last of F2 and F3, or 0.
    private var repeatPrefix: UInt8 = 0
    private(set) var segmentOverride: UInt8?
    private var vex = VEXPrefix()

    // ModRM
    private var modRM: UInt8 = 0
    private var isMemory = false

    /// The row that matched; nil for an undefined opcode. Rows live as long as the program.
    private(set) var row: UnsafePointer<OpcodeRow>?
    /// Where opcode and immediate stand in the bytes: for whoever writes the instruction again.
    private(set) var encoding = Encoding()
    private(set) var op = DecodedOp(.undefined)
    /// The operands as encoded, before they moved to where the operation wants them: for the disassembler.
    private(set) var encoded = DecodedOp(.undefined)

    init(bytes: UnsafePointer<UInt8>, available: Int, mode: Mode) {
        self.bytes = bytes
        self.available = available
        self.mode = mode
    }

    /// Decodes one instruction. `op.offset` is the caller's business; branch targets in `op.immediate` are relative to
    /// the end of the instruction until `BlockCache` rebases them.
    mutating func decode() -> Result {
        decodeBody()
        if position > 15 { return .tooLong }
        if isTruncated { return available >= 15 ? .tooLong : .truncated }
        op.length = UInt8(position)
        return .decoded
    }

    // MARK: Bytes

    private mutating func next8() -> UInt8 {
        guard position < available else {
            isTruncated = true
            return 0
        }
        // SAFETY: position is below the number of bytes the caller vouches for.
        let byte = bytes[position]
        position += 1
        return byte
    }

    /// Reads 1, 2, 4 or 8 bytes, little-endian, sign-extended.
    private mutating func nextSigned(log2: UInt8) -> Int64 {
        var value: UInt64 = 0
        let count = 1 << Int(log2)
        for i in 0..<count { value |= UInt64(next8()) << UInt64(8 * i) }
        let shift = Int64(64 - 8 * count)
        return (Int64(bitPattern: value) << shift) >> shift
    }

    private mutating func nextUnsigned(log2: UInt8) -> Int64 {
        let signed = nextSigned(log2: log2)
        return log2 == 3 ? signed : signed & ((1 << Int64(8 << Int64(log2))) - 1)
    }

    // MARK: The instruction

    private mutating func decodeBody() {
        var opcode = readPrefixes()
        var map = OpcodeRow.Map.one
        if opcode == 0x0F {
            opcode = next8()
            map = .two
            if opcode == 0x38 || opcode == 0x3A {
                map = opcode == 0x38 ? .three38 : .three3A
                opcode = next8()
            }
        }
        // C4h and C5h of the other maps are PINSRW and PEXTRW.
        if map == .one, hasVEXPrefix(opcode) {
            guard let known = readVEX(opcode) else {
                op = DecodedOp(.undefined)
                return
            }
            map = known
            opcode = next8()
        }
        if isTruncated { return }
        let opcodeOffset = position - 1
        guard let found = findRow(map, opcode) else {
            // The length of an undefined instruction does not matter: it faults at its start.
            op = DecodedOp(.undefined)
            return
        }
        row = found
        op = DecodedOp(.undefined)
        setPrefixBits()
        op.size = operandSize(found)
        if found.pointee.attributes.contains(.hasModRM) { readModRM(found) }
        encoding = Encoding(
            map: map, opcode: opcode, modRM: modRM, rex: rex, hasREX: hasREX, has66: has66,
            repeatPrefix: repeatPrefix, opcodeOffset: opcodeOffset, immediateOffset: position)
        for i in 0..<found.pointee.operandCount { readOperand(found.pointee.slots[i], isSecond: i > 0, opcode) }
        if isTruncated { return }
        if vex.isPresent {
            op.setVEX(register: vex.register)
            if !usesVEXRegister(found), vex.register != 0 {
                op = DecodedOp(.undefined)
                return
            }
        }
        encoded = op
        if hasLock, !found.pointee.attributes.contains(.lock) || !isMemory { return }
        lower(found)
    }

    private mutating func readPrefixes() -> UInt8 {
        while !isTruncated {
            let byte = next8()
            switch byte {
            case 0x26: segmentOverride = UInt8(SegmentIndex.es)
            case 0x2E: segmentOverride = UInt8(SegmentIndex.cs)
            case 0x36: segmentOverride = UInt8(SegmentIndex.ss)
            case 0x3E: segmentOverride = UInt8(SegmentIndex.ds)
            case 0x64: segmentOverride = UInt8(SegmentIndex.fs)
            case 0x65: segmentOverride = UInt8(SegmentIndex.gs)
            case 0x66: has66 = true
            case 0x67: has67 = true
            case 0xF0: hasLock = true
            case 0xF2, 0xF3: repeatPrefix = byte
            case 0x40...0x4F where mode.is64:
                // A REX prefix counts only right before the opcode.
                rex = byte
                hasREX = true
                continue
            default:
                return byte
            }
            rex = 0
            hasREX = false
        }
        return 0
    }

    // MARK: VEX

    private mutating func hasVEXPrefix(_ byte: UInt8) -> Bool {
        guard byte == 0xC4 || byte == 0xC5 else { return false }
        if mode.is64 { return true }
        guard position < available else {
            isTruncated = true
            return false
        }
        return bytes[position] >= 0xC0
    }

    /// Nil: undefined, as with prefixes that the VEX prefix stands for itself.
    private mutating func readVEX(_ byte: UInt8) -> OpcodeRow.Map? {
        let isRefused = hasLock || has66 || repeatPrefix != 0 || hasREX
        guard let (prefix, map) = VEXPrefix.read(byte, is64: mode.is64, { next8() }), !isRefused else { return nil }
        vex = prefix
        rex = prefix.rex
        return map
    }

    private func usesVEXRegister(_ row: UnsafePointer<OpcodeRow>) -> Bool {
        for i in 0..<row.pointee.operandCount where row.pointee.slots[i].method == .vexGeneral { return true }
        return false
    }

    private mutating func findRow(_ map: OpcodeRow.Map, _ opcode: UInt8) -> UnsafePointer<OpcodeRow>? {
        let candidates = OpcodeTable.shared.candidates(map, opcode)
        guard let first = candidates.baseAddress else { return nil }
        for number in 0..<candidates.count {
            let place = first + number
            // SAFETY: rows are never freed or written.
            let form = place.pointee.form
            let attributes = place.pointee.attributes
            if mode.is64 ? attributes.contains(.invalidIn64) : attributes.contains(.onlyIn64) { continue }
            if let feature = place.pointee.feature, !mode.features[feature] { continue }
            if vex.isPresent {
                if place.pointee.prefix != vex.prefix { continue }
                if let w = place.pointee.vexW, w != (rex & 8 != 0) { continue }
                if let l = place.pointee.vexL, l != vex.isLong { continue }
            }
            switch place.pointee.prefix {
            case _ where vex.isPresent: break
            case .any: break
            case .none: if has66 || repeatPrefix != 0 { continue }
            case .p66: if !has66 || repeatPrefix != 0 { continue }
            case .pF3: if repeatPrefix != 0xF3 { continue }
            case .pF2: if repeatPrefix != 0xF2 { continue }
            }
            if attributes.contains(.hasModRM) {
                guard position < available else {
                    isTruncated = true
                    return nil
                }
                let modRM = bytes[position]
                if let exact = place.pointee.exactModRM, exact != modRM { continue }
                if let selector = place.pointee.extension_, selector != modRM >> 3 & 7 { continue }
                if form == .memory, modRM >= 0xC0 { continue }
                if form == .register, modRM < 0xC0 { continue }
            }
            return place
        }
        return nil
    }

    private mutating func setPrefixBits() {
        if repeatPrefix == 0xF3 { op.prefixes.insert(.rep) }
        if repeatPrefix == 0xF2 { op.prefixes.insert(.repne) }
        if hasLock { op.prefixes.insert(.lock) }
        if has66 { op.prefixes.insert(.operandSize) }
        if has67 { op.prefixes.insert(.addressSize) }
        if rex & 8 != 0 { op.prefixes.insert(.rexW) }
    }

    /// log2 of the operand size in bytes (SDM vol. 1, 3.6.1).
    private func operandSize(_ row: UnsafePointer<OpcodeRow>) -> UInt8 {
        if vex.isPresent { return mode.is64 && rex & 8 != 0 ? 3 : 2 }
        let attributes = row.pointee.attributes
        let prefixIsSize = has66 && (row.pointee.prefix != .p66 || attributes.contains(.operandSizePrefix))
        if mode.is64 {
            if attributes.contains(.forced64) || rex & 8 != 0 { return 3 }
            if attributes.contains(.default64) { return prefixIsSize ? 1 : 3 }
            return prefixIsSize ? 1 : 2
        }
        return prefixIsSize ? 3 - mode.codeSize : mode.codeSize
    }

    /// log2 of the address size in bytes.
    var addressSize: UInt8 {
        if mode.is64 { return has67 ? 2 : 3 }
        return has67 ? 3 - mode.codeSize : mode.codeSize
    }

    private func addressShift(_ log2: UInt8) -> UInt8 { UInt8(64 - (8 << Int(log2))) }

    // MARK: ModRM and memory operands (SDM vol. 2, 2.1.5)

    private mutating func readModRM(_ row: UnsafePointer<OpcodeRow>) {
        modRM = next8()
        // MOV to and from control and debug registers ignores mod.
        let first = row.pointee.slots[0].method, second = row.pointee.slots[1].method
        let alwaysRegister = row.pointee.form != .memory && (first == .generalOnlyRM || second == .generalOnlyRM)
        isMemory = modRM < 0xC0 && !alwaysRegister
        op.reg = modRM >> 3 & 7 | (rex & 4) << 1
        op.rm = modRM & 7 | (rex & 1) << 3
        if isMemory {
            op.prefixes.insert(.memory)
            if addressSize == 1 { readAddress16() } else { readAddress32() }
        }
    }

    private mutating func readAddress16() {
        // Base and index by r/m: BX+SI BX+DI BP+SI BP+DI SI DI BP BX.
        let bases: InlineArray<8, Int> = [
            Register.rbx, Register.rbx, Register.rbp, Register.rbp,
            Register.rsi, Register.rdi, Register.rbp, Register.rbx,
        ]
        let indices: InlineArray<8, Int> = [
            Register.rsi, Register.rdi, Register.rsi, Register.rdi,
            Register.zero, Register.zero, Register.zero, Register.zero,
        ]
        let rm = Int(modRM & 7), mod = modRM >> 6
        if mod == 0 && rm == 6 {
            op.displacement = nextSigned(log2: 1)
            setAddress(base: Register.zero, index: Register.zero, usesStack: false)
            return
        }
        if mod != 0 { op.displacement = nextSigned(log2: mod == 1 ? 0 : 1) }
        setAddress(base: bases[rm], index: indices[rm], usesStack: bases[rm] == Register.rbp)
    }

    private mutating func readAddress32() {
        let mod = modRM >> 6
        var base = Int(modRM & 7), index = Register.zero
        if base == 4 {
            let sib = next8()
            op.scale = sib >> 6
            index = Int(sib >> 3 & 7 | (rex & 2) << 2)
            if index == 4 { index = Register.zero }
            base = Int(sib & 7)
            if base == 5 && mod == 0 {
                op.displacement = nextSigned(log2: 2)
                setAddress(base: Register.zero, index: index, usesStack: false)
                return
            }
        } else if base == 5 && mod == 0 {
            op.displacement = nextSigned(log2: 2)
            // RIP-relative: from the end of the instruction; BlockCache adds where that is.
            setAddress(base: mode.is64 ? Register.blockIP : Register.zero, index: index, usesStack: false)
            return
        }
        base |= Int(rex & 1) << 3
        if mod != 0 { op.displacement = nextSigned(log2: mod == 1 ? 0 : 2) }
        setAddress(base: base, index: index, usesStack: base == Register.rsp || base == Register.rbp)
    }

    private mutating func setAddress(base: Int, index: Int, usesStack: Bool) {
        op.base = UInt8(base)
        op.index = UInt8(index)
        op.addressShift = addressShift(addressSize)
        setSegment(usesStack: usesStack)
    }

    /// Resolves the segment of a memory operand: override, else SS for rSP and rBP bases, else DS.
    /// 64-bit mode ignores all overrides but FS and GS (SDM vol. 2, 2.2.1.3).
    private mutating func setSegment(usesStack: Bool) {
        var segment = UInt8(usesStack ? SegmentIndex.ss : SegmentIndex.ds)
        if let override = segmentOverride, !mode.is64 || override >= SegmentIndex.fs { segment = override }
        if segment == SegmentIndex.ss { op.prefixes.insert(.stackSegment) }
        op.segment = resolved(segment)
    }

    private func resolved(_ segment: UInt8) -> UInt8 {
        let isFSOrGS = segment >= SegmentIndex.fs
        if mode.is64 {
            return isFSOrGS ? segment | SegmentIndex.baseOnly : SegmentIndex.flat
        }
        // Code is never written to: CS keeps its checks.
        return mode.isFlat && !isFSOrGS && segment != SegmentIndex.cs ? SegmentIndex.flat : segment
    }

    // MARK: Operands

    /// log2 of an operand's bytes.
    func log2(_ operand: Operand) -> UInt8 {
        switch operand.size {
        case .b: return 0
        case .w: return 1
        case .d: return 2
        case .q: return 3
        case .v: return op.size
        case .y: return mode.is64 && rex & 8 != 0 ? 3 : 2
        case .z: return min(op.size, 2)
        default: return op.size
        }
    }

    /// `CPUState.gpr` operand of a register number: 8-bit ones are byte offsets (AH–BH without REX).
    private func general(_ number: UInt8, log2: UInt8) -> UInt8 {
        if log2 != 0 { return number }
        return !hasREX && number & 0xC == 4 ? (number & 3) * 8 + 1 : number * 8
    }

    private mutating func readOperand(_ operand: Operand, isSecond: Bool, _ opcode: UInt8) {
        switch operand.method {
        case .general, .generalOnlyRM:
            if !isMemory { op.rm = general(op.rm, log2: log2(operand)) }
        case .register:
            op.reg = general(op.reg, log2: log2(operand))
        case .opcodeRegister:
            op.rm = general(opcode & 7 | (rex & 1) << 3, log2: log2(operand))
        case .mmxRM, .mmxOnlyRM, .stackIndex:
            op.rm &= 7
        case .mmxRegister, .segment:
            op.reg &= 7
        case .immediate:
            let size = log2(operand)
            let value = size == 0 || operand.size == .w ? nextUnsigned(log2: size) : nextSigned(log2: size)
            // ENTER alone has two: size in bits 0–15, level from bit 16.
            op.immediate |= isSecond && row?.pointee.slots[0].method == .immediate ? value << 16 : value
        case .immediateSigned:
            op.immediate = nextSigned(log2: 0)
        case .branch:
            op.immediate = nextSigned(log2: operand.size == .b ? 0 : min(op.size, 2))
        case .far:
            let offset = nextUnsigned(log2: min(op.size, 2))
            op.immediate = nextUnsigned(log2: 1) << 32 | offset
        case .offset:
            op.displacement = nextUnsigned(log2: addressSize)
            isMemory = true
            op.prefixes.insert(.memory)
            setAddress(base: Register.zero, index: Register.zero, usesStack: false)
        case .source, .maskedDestination, .translationTable, .monitored:
            op.addressShift = addressShift(addressSize)
            setSegment(usesStack: false)
        case .destination:
            op.addressShift = addressShift(addressSize)
        case .one:
            op.immediate = 1
        case .vexGeneral, .control, .debug, .memory, .xmmOnlyRM, .xmmRegister, .xmmRM, .accumulator, .countCL, .portDX,
            .stackTop,
            .segmentName:
            break
        }
    }

    // MARK: Lowering

    private mutating func lower(_ row: UnsafePointer<OpcodeRow>) {
        op.sub = row.pointee.code
        switch row.pointee.family {
        case .x87: op.code = .x87
        case .sse: op.code = .sse
        case .system: op.code = .system
        case .integer:
            guard let mnemonic = Mnemonic(rawValue: row.pointee.code) else { return }
            var lowering = Lowering(op: op, row: row, mode: mode, isMemory: isMemory, addressSize: addressSize)
            lowering.lower(mnemonic)
            op = lowering.op
        }
    }
}
