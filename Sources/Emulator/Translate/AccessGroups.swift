/// How an instruction's accesses find their page.
struct AccessPlan {
    /// A member of a group: its number in the block and what the group spans from the base register as it is at this instruction.
    struct Membership {
        var group: Int
        var isLeader: Bool
        /// Bytes from the base register: first byte, and the one behind the last.
        var low: Int64
        var high: Int64
        var writes: Bool
        /// The last instruction of the group, in the block.
        var last: Int
    }
    /// The operand of ModRM, and the stack.
    var operand: Membership?
    var stack: Membership?
}

/// Accesses off one base register that nothing changes but by constants lie close together and mostly in one page: the first checks for
/// all of them, the others use the page that it found.
///
/// When the first cannot find it (a page boundary in between, a device, a fault), the interpreter runs all instructions from
/// the first to the last of the group.
enum AccessGroups {
    /// Groups of a block that are remembered (`NativeState.groups`).
    static let limit = 8
    /// A group spans no more bytes than this: the wider, the more often a page boundary lies inside.
    private static let longestSpan: Int64 = 512

    private struct Open {
        var members: [(instruction: Int, isStack: Bool, offset: Int64, size: Int64)] = []
        var low: Int64 = 0
        var high: Int64 = 0
        var writes = false
        /// The register's value less the one at the leader.
        var delta: Int64 = 0
    }

    static func plan(_ instructions: [TranslatedInstruction], is64: Bool) -> [AccessPlan] {
        var plans = [AccessPlan](repeating: AccessPlan(), count: instructions.count)
        guard instructions.count(where: { $0.memoryBytes > 0 || $0.op.code.mayTouchStack }) > 1 else { return plans }
        var open = [Open?](repeating: nil, count: 16)
        /// Registers with an open group.
        var isOpen: UInt16 = 0
        /// Instructions of the first and the last member.
        var spans: [(first: Int, last: Int)] = []

        func close(_ register: Int) {
            guard let group = open[register] else { return }
            open[register] = nil
            isOpen &= ~(1 << UInt16(register))
            guard group.members.count > 1, spans.count < limit else { return }
            // Offsets are from the register at the leader; each member's own distance is added when it is planned.
            for (number, member) in group.members.enumerated() {
                let membership = AccessPlan.Membership(
                    group: spans.count, isLeader: number == 0, low: group.low, high: group.high, writes: group.writes,
                    last: 0)
                if member.isStack {
                    plans[member.instruction].stack = membership
                } else {
                    plans[member.instruction].operand = membership
                }
            }
            spans.append((group.members[0].instruction, group.members[group.members.count - 1].instruction))
        }

        func access(
            _ register: Int, _ i: Int, isStack: Bool, offset: Int64, size: Int, writes: Bool, mayLead: Bool = true
        ) {
            var group = open[register] ?? Open()
            var from = group.delta + offset
            if group.members.isEmpty {
                (group.low, group.high) = (from, from + Int64(size))
            } else if max(group.high, from + Int64(size)) - min(group.low, from) > longestSpan {
                close(register)
                group = Open()
                from = offset
                (group.low, group.high) = (from, from + Int64(size))
            }
            if group.members.isEmpty, !mayLead { return }
            group.low = min(group.low, from)
            group.high = max(group.high, from + Int64(size))
            group.writes = group.writes || writes
            group.members.append((i, isStack, from, Int64(size)))
            open[register] = group
            isOpen |= 1 << UInt16(register)
        }

        func closeAll() {
            while isOpen != 0 { close(isOpen.trailingZeroBitCount) }
        }

        let wordBytes = is64 ? 8 : 4
        for (i, instruction) in instructions.enumerated() {
            if instruction.kind == .helper || instruction.kind == .branch && !instruction.isNativeBranch {
                closeAll()
                continue
            }
            let op = instruction.op
            if instruction.memoryBytes > 0, instruction.isGroupable(is64: is64) {
                access(
                    Int(op.base), i, isStack: false, offset: op.displacement, size: instruction.memoryBytes,
                    writes: instruction.writesMemory)
            }
            if let stack = instruction.stackAccess(wordBytes: wordBytes) {
                access(
                    stack.register, i, isStack: true, offset: Int64(stack.offset), size: wordBytes,
                    writes: stack.writes,
                    // When the other operand is not found, the whole instruction is interpreted: nobody would look for the
                    // group's page.
                    mayLead: instruction.memoryBytes == 0)
            }
            var candidates = isOpen
            while candidates != 0 {
                let register = candidates.trailingZeroBitCount
                candidates &= candidates - 1
                guard instruction.changes(register) else { continue }
                if let delta = instruction.constantChange(of: register, wordBytes: wordBytes) {
                    open[register]?.delta += delta
                } else {
                    close(register)
                }
            }
        }
        closeAll()
        guard !spans.isEmpty else { return plans }
        extend(&spans)
        for i in plans.indices {
            if let group = plans[i].operand?.group { plans[i].operand?.last = spans[group].last }
            if let group = plans[i].stack?.group { plans[i].stack?.last = spans[group].last }
        }
        return plans
    }
}

extension AccessGroups {
    /// When a group is interpreted, so are the leaders of others that lie inside it: it must go on to the end of those, as nobody looked for
    /// their pages.
    private static func extend(_ spans: inout [(first: Int, last: Int)]) {
        var changed = true
        while changed {
            changed = false
            for i in spans.indices {
                for other in spans where other.first >= spans[i].first && other.first <= spans[i].last {
                    if other.last > spans[i].last {
                        spans[i].last = other.last
                        changed = true
                    }
                }
            }
        }
    }
}

extension OpCode {
    /// Whether `stackAccess` has to be asked.
    fileprivate var mayTouchStack: Bool {
        switch self {
        case .pushR64, .pushI64, .pushR32, .pushI32, .pushGeneral, .callRelative64, .callR64, .callM64,
            .callRelativeGeneral, .callIndirectGeneral, .popR64, .popR32, .ret64, .retGeneral, .leave64, .leaveGeneral,
            .system:
            true
        default: false
        }
    }
}

extension TranslatedInstruction {
    /// Base register and constant only, in a host register, flat.
    func isGroupable(is64: Bool) -> Bool {
        isMemory && op.index == UInt8(Register.zero) && Int(op.base) < 16 && op.segment == SegmentIndex.flat
            && op.addressShift == (is64 ? 0 : 32) && HostRegister.of(guest: Int(op.base)) != nil && !isAligned
            && hasModRM
    }

    private var isPushFlags: Bool { kind == .special && op.sub == SystemCode.pushf.rawValue }

    /// The implicit access of a stack operation: register, offset from it, direction.
    func stackAccess(wordBytes: Int) -> (register: Int, offset: Int, writes: Bool)? {
        switch op.code {
        case .pushR64, .pushI64, .pushR32, .pushI32: (Register.rsp, -wordBytes, true)
        case .pushGeneral where kind == .special: (Register.rsp, -wordBytes, true)
        case .callRelative64, .callR64, .callM64: (Register.rsp, -wordBytes, true)
        case .callRelativeGeneral, .callIndirectGeneral: isNativeBranch ? (Register.rsp, -wordBytes, true) : nil
        case .popR64, .popR32, .ret64: (Register.rsp, 0, false)
        case .retGeneral: isNativeBranch ? (Register.rsp, 0, false) : nil
        case .system where isPushFlags: (Register.rsp, -wordBytes, true)
        case .leave64: (Register.rbp, 0, false)
        case .leaveGeneral: kind == .special ? (Register.rbp, 0, false) : nil
        default: nil
        }
    }

    /// Whether a general register may have another value afterwards. Only for instructions that are not helpers.
    func changes(_ register: Int) -> Bool {
        switch op.code {
        case .pushR64, .pushI64, .pushR32, .pushI32, .pushGeneral: return register == Register.rsp
        case .popR64, .popR32: return register == Register.rsp || register == Int(op.reg)
        case .leave64, .leaveGeneral: return register == Register.rsp || register == Register.rbp
        case .mulWide, .imulWide, .divide, .idivide: return register == Register.rax || register == Register.rdx
        case .cbw, .cwde, .cdqe, .lahf: return register == Register.rax
        case .cwd, .cdq, .cqo: return register == Register.rdx
        case .system where isPushFlags: return register == Register.rsp
        case .cmpxchg where register == Register.rax: return true
        case .cmpxchg8b: return register == Register.rax || register == Register.rdx
        case .string:
            return register == Register.rcx || register == Register.rsi || register == Register.rdi
                || register == Register.rax
        case .x87: return register == Register.rax
        case .sse where register == Register.rcx: return true
        default: break
        }
        if kind == .branch || kind == .nothing { return kind == .branch && register == Register.rsp }
        guard let row else { return true }
        if row.pointee.operandCount == 0 { return false }
        // Register fields as encoded; byte registers count as the register they are part of.
        func isField(_ operand: Operand) -> Bool {
            switch operand.method {
            case .register: Self.index(encoding.reg, isByte: operand.size == .b, encoding) == register
            case .general: !isMemory && Self.index(encoding.rm, isByte: operand.size == .b, encoding) == register
            case .opcodeRegister:
                Self.index(encoding.opcode & 7 | (encoding.rex & 1) << 3, isByte: operand.size == .b, encoding)
                    == register
            case .accumulator: register == Register.rax
            default: false
            }
        }
        if isField(row.pointee.slots[0]) { return true }
        // XCHG and XADD write both.
        switch Mnemonic(rawValue: row.pointee.code) {
        case .xchg, .xadd: return row.pointee.family == .integer && isField(row.pointee.slots[1])
        default: return false
        }
    }

    private static func index(_ field: UInt8, isByte: Bool, _ encoding: Decoder.Encoding) -> Int {
        isByte && !encoding.hasREX && field & 0xC == 4 ? Int(field & 3) : Int(field)
    }

    /// By how much a register changes when that is known.
    func constantChange(of register: Int, wordBytes: Int) -> Int64? {
        switch op.code {
        case .pushR64, .pushI64, .pushR32, .pushI32, .pushGeneral: return -Int64(wordBytes)
        case .popR64, .popR32: return Int(op.reg) == register ? nil : Int64(wordBytes)
        case .callRelative64, .callR64, .callM64, .callRelativeGeneral, .callIndirectGeneral: return -Int64(wordBytes)
        case .system where isPushFlags: return -Int64(wordBytes)
        case .addRI64 where wordBytes == 8, .addRI32 where wordBytes == 4: return op.immediate
        case .subRI64 where wordBytes == 8, .subRI32 where wordBytes == 4: return -op.immediate
        case .lea64 where wordBytes == 8, .lea32 where wordBytes == 4:
            let isPlain =
                Int(op.base) == register && op.index == UInt8(Register.zero)
                && op.addressShift == (wordBytes == 8 ? 0 : 32)
            return isPlain ? op.displacement : nil
        default: return nil
        }
    }
}
