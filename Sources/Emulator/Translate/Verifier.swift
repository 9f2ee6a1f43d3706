/// `-accel verify`: runs a few blocks with the interpreter, takes everything back, runs them as translated code, and compares. The
/// interpreter is right by definition; the run ends at the first difference with a report.
///
/// What cannot be done twice (devices, most system instructions) is interpreted once. Two things may differ: flags that
/// the manual leaves undefined, and at a fault the flags that nobody reads again.
final class Verifier {
    /// Blocks in a comparison at most.
    private static let blockLimit = 8
    /// A block is compared each of the first times, then now and then.
    private static let firstTimes: Int32 = 256, nowAndThen: Int32 = 32
    /// Bytes of host code that a report shows: the bodies lie before the entries.
    private static let codeBefore: UInt64 = 4096, codeAfter: UInt64 = 256
    /// Instructions that run without comparison before the next block is looked at.
    private static let stride = 256

    /// The interpreter's state at the end of a block.
    private struct Mark {
        var state: CPUState
        var executed: Int
        var stores: Int
        /// Flags whose value the manual does not define.
        var undefined: UInt32
        var hasFault: Bool
    }

    /// What an operation reads of flags, writes with a defined value, and leaves undefined.
    private struct FlagColumns {
        var read: UInt32 = 0, written: UInt32 = 0, undefined: UInt32 = 0
    }

    private unowned(unsafe) let cpu: CPU
    private unowned(unsafe) let translator: Translator
    private let journal = StoreJournal()
    /// A store TLB without entries: every store takes the slow path, which notes it.
    private let noStores: UnsafeMutablePointer<TLBEntry>
    /// What an operation does to flags, by its place: defined and undefined ones that it writes.
    private var flagColumns: [UnsafePointer<DecodedOp>: FlagColumns] = [:]
    private var epoch: UInt64 = 0
    /// Runs that were compared, and found equal.
    private(set) var comparisons: UInt64 = 0

    init(_ cpu: CPU, _ translator: Translator) {
        self.cpu = cpu
        self.translator = translator
        cpu.runsRepetitionsWhole = true
        noStores = .allocate(capacity: TLBTables.entryCount)
        noStores.initialize(repeating: TLBEntry(tag: TLBEntry.invalid, addend: 0), count: TLBTables.entryCount)
    }

    deinit { noStores.deallocate() }

    /// Compares from a block at `rip` on.
    func run(_ block: BlockCache.Pointer, _ entry: UInt64) -> Translator.Result {
        let s = cpu.state
        if s.pointee.budget <= 0 { return .stop(.budget) }
        if epoch != cpu.blocks.epoch {
            epoch = cpu.blocks.epoch
            flagColumns.removeAll()
        }
        block.pointee.heat &+= 1
        let times = block.pointee.heat &- translator.hotness
        if times > Self.firstTimes, times % Self.nowAndThen != 0 { return runAlone(block, entry) }
        let before = s.pointee
        var blocks: [BlockCache.Pointer] = []
        let marks = interpret(from: block, &blocks)
        let entries = journal.entries
        journal.undo()
        journal.replaceEntries(entries)
        let changedCode = s.pointee.native.codeChanged != 0
        s.pointee = before
        // The state's TLBs and keys are as before: nothing that was interpreted changes them.
        guard let last = marks.last, !changedCode, block.pointee.isLive else { return .interpret }
        s.pointee.budget = last.executed
        let exit = translator.enter(at: entry)
        let executed = last.executed - s.pointee.budget
        s.pointee.budget = before.budget - executed
        comparisons += 1
        // Code that goes away under the translation ends it in the middle of a block, where there is nothing to compare with.
        if s.pointee.native.codeChanged == 0, let text = compare(marks, executed, exit) {
            report(text, block, entry, before, blocks)
            return .stop(.boundary)
        }
        // Flags that nobody reads may be stale: go on with the right ones.
        if let mark = marks.first(where: { $0.executed == executed }), !mark.hasFault {
            s.pointee.flagResult = mark.state.flagResult
            s.pointee.flagAux = mark.state.flagAux
        }
        return result(exit, executed)
    }

    private func result(_ exit: TranslatedExit, _ executed: Int) -> Translator.Result {
        switch exit {
        case .fault: .stop(.fault)
        case .boundary: .stop(.boundary)
        case .interpret: executed == 0 ? .interpret : .stop(.boundary)
        case .lookup: .stop(cpu.state.pointee.budget <= 0 ? .budget : .boundary)
        }
    }

    /// A stretch of translated code without comparison.
    private func runAlone(_ block: BlockCache.Pointer, _ entry: UInt64) -> Translator.Result {
        let s = cpu.state
        let budget = s.pointee.budget
        let granted = min(budget, max(Self.stride, Int(block.pointee.count)))
        guard granted >= Int(block.pointee.count) else { return .interpret }
        s.pointee.budget = granted
        let exit = translator.enter(at: entry)
        let executed = granted - s.pointee.budget
        s.pointee.budget = budget - executed
        return result(exit, executed)
    }

    // MARK: The interpreter's side

    /// Interprets whole blocks, with every store noted. Empty: the first block cannot be done twice.
    private func interpret(from first: BlockCache.Pointer, _ blocks: inout [BlockCache.Pointer]) -> [Mark] {
        let s = cpu.state
        let mode = s.pointee.modeKey
        let table = s.pointee.writeTLB
        journal.begin()
        cpu.journal = journal
        s.pointee.writeTLB = noStores
        s.pointee.native.codeChanged = 0
        defer {
            cpu.journal = nil
            s.pointee.writeTLB = table
        }
        var marks: [Mark] = []
        var block = first
        var executed = 0
        var undefined: UInt32 = 0
        while blocks.count < Self.blockLimit {
            let start = s.pointee.rip
            let stores = journal.entries.count
            guard let outcome = interpret(block, start, &undefined) else {
                // As if it had not been begun.
                journal.undo(to: stores)
                return marks
            }
            blocks.append(block)
            executed += outcome.executed
            marks.append(
                Mark(
                    state: s.pointee, executed: executed, stores: journal.entries.count, undefined: undefined,
                    hasFault: outcome.hasFault))
            if outcome.hasFault || s.pointee.native.codeChanged != 0 || s.pointee.modeKey != mode { return marks }
            // The next block must be known: looking it up is no part of the comparison.
            guard let next = cpu.jumps.find(cpu.linearPointer, mode: mode), next != cpu.scratch else { return marks }
            block = next
        }
        return marks
    }

    private func interpret(
        _ block: BlockCache.Pointer, _ start: UInt64, _ undefined: inout UInt32
    ) -> (executed: Int, hasFault: Bool)? {
        let s = cpu.state
        for i in 0..<Int(block.pointee.count) {
            let op = UnsafePointer(block.ops + i)
            guard canRepeat(op) else { return nil }
            let columns = flagColumns(op, block)
            // What the manual leaves undefined would come into a register, or decide a branch.
            if undefined & columns.read != 0 { return nil }
            let step = cpu.performOne(op, start)
            if step != .fault { undefined = undefined & ~columns.written | columns.undefined }
            switch step {
            case .done: continue
            case .next, .taken, .indirect:
                cpu.maskPointer()
                return (i + 1, false)
            case .fault:
                if journal.hasRefused { return nil }
                s.pointee.rip = start &+ UInt64(op.pointee.offset)
                return (i, true)
            case .leave, .stale: return nil
            }
        }
        s.pointee.rip = start &+ UInt64(block.pointee.byteLength)
        cpu.maskPointer()
        return (Int(block.pointee.count), false)
    }

    /// False for what has effects beyond state and memory, or needs to be looked at afterwards.
    private func canRepeat(_ op: UnsafePointer<DecodedOp>) -> Bool {
        switch op.pointee.code {
        case .system:
            switch SystemCode(rawValue: op.pointee.sub) {
            case .cli, .swapgs, .pushf: true
            default: false
            }
        case .string: op.pointee.sub < 5
        case .undefined, .stale: false
        default: true
        }
    }

    private func flagColumns(_ op: UnsafePointer<DecodedOp>, _ block: BlockCache.Pointer) -> FlagColumns {
        if let known = flagColumns[op] { return known }
        let source = InstructionSource(cpu, block)
        let bytes = source.bytes(of: block, offset: Int(op.pointee.offset), length: Int(op.pointee.length))
        var columns = FlagColumns()
        if let row = TranslatedInstruction(
            op, bytes: bytes, mode: block.pointee.mode, features: cpu.features.offered
        ).row {
            columns = FlagColumns(
                read: row.pointee.flagsRead, written: row.pointee.flagsWritten, undefined: row.pointee.flagsUndefined)
            // OF is defined for counts of 1 only, AF never.
            if row.pointee.flagsConditional != 0, op.pointee.code != .string {
                columns.undefined |= RFLAGS.of | RFLAGS.af
            }
        }
        flagColumns[op] = columns
        return columns
    }

    // MARK: Comparing

    /// - Returns: a description of the first difference.
    private func compare(_ marks: [Mark], _ executed: Int, _ exit: TranslatedExit) -> String? {
        if executed == 0, exit != .fault { return nil }
        let isFault = exit == .fault
        guard let mark = marks.first(where: { $0.executed == executed && $0.hasFault == isFault }) else {
            let places = marks.map { "\($0.executed)\($0.hasFault ? " and a fault" : "")" }.joined(separator: ", ")
            return "the translation stopped after \(executed) instructions (\(exit)), the interpreter was at \(places)"
        }
        if let text = difference(mark) { return text }
        if let wrong = journal.difference(mark.stores) {
            return "memory at host \(wrong.place): \(hex(wrong.found, 2)), expected \(hex(wrong.expected, 2))"
        }
        return nil
    }

    private func difference(_ mark: Mark) -> String? {
        let s = cpu.state
        let expected = mark.state
        func text(_ name: String, _ found: some FixedWidthInteger, _ wanted: some FixedWidthInteger) -> String {
            "\(name) is \(hex(found, 1)), expected \(hex(wanted, 1))"
        }
        for i in 0..<16 where s.pointee.gpr[i] != expected.gpr[i] {
            return text("register \(i)", s.pointee.gpr[i], expected.gpr[i])
        }
        if s.pointee.rip != expected.rip { return text("rip", s.pointee.rip, expected.rip) }
        if s.pointee.flagsRest != expected.flagsRest { return text("flags", s.pointee.flagsRest, expected.flagsRest) }
        if !mark.hasFault {
            var copy = expected
            let wanted = withUnsafeMutablePointer(to: &copy) { $0.arithmeticFlags }
            let found = s.arithmeticFlags
            var mask = RFLAGS.arithmetic & ~mark.undefined
            // Between two blocks of a region only those are kept that somebody reads.
            if (found ^ wanted) & mask != 0, let entry = translator.entryHere {
                mask &= translator.liveFlags(at: entry).rflags
            }
            if (found ^ wanted) & mask != 0 { return text("arithmetic flags", found & mask, wanted & mask) }
        }
        for i in 0..<6 where s.pointee.segments[i].base != expected.segments[i].base {
            return text("base of segment \(i)", s.pointee.segments[i].base, expected.segments[i].base)
        }
        for i in 0..<16 {
            let found = s.pointee.fpu.xmm[i], wanted = expected.fpu.xmm[i]
            if found.low != wanted.low { return text("low half of xmm\(i)", found.low, wanted.low) }
            if found.high != wanted.high { return text("high half of xmm\(i)", found.high, wanted.high) }
        }
        if s.pointee.fpu.mxcsr != expected.fpu.mxcsr { return text("mxcsr", s.pointee.fpu.mxcsr, expected.fpu.mxcsr) }
        for i in 0..<8 {
            let found = s.pointee.fpu.registers[i], wanted = expected.fpu.registers[i]
            if found.significand != wanted.significand || found.signExponent != wanted.signExponent {
                return text("x87 register \(i)", found.significand, wanted.significand)
            }
        }
        if s.pointee.fpu.top != expected.fpu.top || s.pointee.fpu.emptyMask != expected.fpu.emptyMask {
            return text("x87 top", s.pointee.fpu.top, expected.fpu.top)
        }
        if s.pointee.fpu.control != expected.fpu.control {
            return text("x87 control word", s.pointee.fpu.control, expected.fpu.control)
        }
        if s.pointee.fpu.status != expected.fpu.status {
            return text("x87 status word", s.pointee.fpu.status, expected.fpu.status)
        }
        if mark.hasFault {
            if s.pointee.fault.vector != expected.fault.vector {
                return text("vector", s.pointee.fault.vector, expected.fault.vector)
            }
            if s.pointee.fault.errorCode != expected.fault.errorCode {
                return text("error code", s.pointee.fault.errorCode, expected.fault.errorCode)
            }
            if s.pointee.cr2 != expected.cr2 { return text("cr2", s.pointee.cr2, expected.cr2) }
        }
        return nil
    }

    // MARK: Reporting

    private func report(
        _ text: String, _ block: BlockCache.Pointer, _ entry: UInt64, _ before: CPUState, _ blocks: [BlockCache.Pointer]
    ) {
        let after = cpu.dump()
        cpu.state.pointee = before
        var lines = [
            "translation and interpreter differ: \(text)", "before:", cpu.dump(), "after the translation:", after,
        ]
        let disassembler = Disassembler(mode: Decoder.Mode(key: block.pointee.mode))
        for block in blocks {
            let source = InstructionSource(cpu, block)
            lines.append("guest block at physical \(hex(block.pointee.physical, 8)):")
            for i in 0..<Int(block.pointee.count) {
                let op = block.ops[i]
                let bytes = source.bytes(of: block, offset: Int(op.offset), length: Int(op.length))
                let array = (0..<Int(op.length)).map { bytes[$0] }
                let line = array.withUnsafeBufferPointer { disassembler.line($0, at: UInt64(op.offset)).text }
                lines.append("  +\(hex(op.offset, 3))  \(array.map { hex($0, 2) }.joined(separator: " "))  \(line)")
            }
        }
        let code = translator.code(around: entry, before: Self.codeBefore, after: Self.codeAfter)
        lines.append("entered at \(hex(entry, 1)); host code from \(hex(code.start, 1)):")
        lines.append(code.bytes.map { hex($0, 2) }.joined(separator: " "))
        cpu.enginesDiffer(lines.joined(separator: "\n"))
    }
}
