import Glibc

/// Runs hot blocks as code of the host's own (docs/decisions/0303-translator.md). One per CPU; all on the CPU's thread.
final class Translator {
    /// How often a block is interpreted before it is translated. Measured on boots: 16 and 1000 are slower.
    var hotness: Int32 = 100
    /// Faults are delivered without leaving translated code. Off for who wants to see them: verifiers and tests.
    var deliversFaults = true
    /// Room for the largest region, so that nothing has to be checked while one is written.
    private static let regionRoom = 1 << 18
    private static let blockRoom = 1 << 20
    private static let pathLimit = 1 << 20
    /// What no linear address XOR a key is: an empty place of the jump cache.
    private static let noJump = ~UInt64(0)

    enum Result {
        case next
        case interpret
        case stop(CPU.Stop)
    }

    /// A block's code at a linear address other than the one it was last entered at.
    private struct Variant: Hashable {
        var block: UnsafeMutablePointer<Block>
        var linear: UInt64
    }

    /// What has to be undone when a page's code is thrown away.
    private final class Record {
        struct Entry {
            var block: UnsafeMutablePointer<Block>
            var linear: UInt64
            var entry: UInt64
            var dead: UInt64
        }
        var entries: [Entry] = []
        var isDead = false
    }

    private var owner: Unmanaged<CPU>
    /// All CPUs that run its code; on one thread, in turn.
    private var processors: [Unmanaged<CPU>]
    /// The CPU whose turn it is. Counting references to it on every exit cost more than the exit.
    // SAFETY: CPUs outlive their translator.
    @inline(__always) var cpu: CPU { owner._withUnsafeGuaranteedRef { $0 } }
    let isVerifying: Bool
    private(set) var verifier: Verifier?
    private let memory: CodeMemory
    private var asm: Assembler
    /// Writes slow paths.
    private var far: Assembler
    private let thunks: Thunks
    /// Where regions begin, behind the thunks, and where their slow paths do.
    private let start: UInt64
    private let farStart: UInt64
    /// Jumps to other pages that were patched, and where they led before.
    private var links: [(slot: UInt64, stub: UInt64)] = []
    private let enter: @convention(c) (UnsafeMutableRawPointer, UInt64) -> UInt64
    private let paths: UnsafeMutablePointer<SlowPath>
    private var pathCount = 0
    private var variants: [Variant: UInt64] = [:]
    /// By physical page number: regions and the lines of that page that they cover.
    private var records: [UInt64: [(record: Record, lines: UInt32)]] = [:]
    private var withoutGroups: Set<UnsafeMutablePointer<Block>> = []
    /// First instructions of accesses that were in another page too often.
    private var withoutWindows: Set<UnsafePointer<DecodedOp>> = []
    private var windowCount = 0
    /// While verifying: flags that code at an entry may read.
    private var liveIns: [UInt64: FlagMask] = [:]
    private var counters = TranslatorCounters()
    private let helperCounts = HelperCounts()
    /// How many kinds of helper calls are told of.
    private static let toldHelpers = 12
    /// Told of each region when it is made.
    var translated: ((TranslatedCode) -> Void)?

    /// Nil where the host cannot run generated code.
    init?(_ cpu: CPU, verify: Bool = false) {
        #if arch(x86_64)
            guard let memory = CodeMemory() else { return nil }
            _ = HostFeatures.offered
            let pathBytes = Self.pathLimit * MemoryLayout<SlowPath>.stride
            guard
                let table = mmap(
                    nil, pathBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
                table != MAP_FAILED
            else { return nil }
            owner = Unmanaged.passUnretained(cpu)
            processors = [Unmanaged.passUnretained(cpu)]
            isVerifying = verify
            paths = table.assumingMemoryBound(to: SlowPath.self)
            var asm = Assembler(writable: memory.writable, executable: memory.executable)
            thunks = Thunks(&asm, Self.targets)
            start = asm.here
            self.asm = asm
            farStart = memory.executable + UInt64(memory.halfBytes)
            var far = asm
            far.here = farStart
            self.far = far
            self.memory = memory
            // SAFETY: the thunk is a function of this signature.
            enter = unsafeBitCast(
                UnsafeRawPointer(bitPattern: UInt(thunks.enter)),
                to: (@convention(c) (UnsafeMutableRawPointer, UInt64) -> UInt64).self)
            cpu.state.pointee.native.translator = Unmanaged.passUnretained(self)
            emptyJumpCache()
            if verify {
                verifier = Verifier(cpu, self)
                deliversFaults = false
            }
        #else
            return nil
        #endif
    }

    /// What happened so far.
    var report: TranslatorCounters {
        var report = counters
        report.operations = helperCounts.most(Self.toldHelpers)
        return report
    }

    /// The flags that code at an entry depends on; all when that is not known. For the verifier.
    func liveFlags(at entry: UInt64) -> FlagMask { liveIns[entry] ?? .all }

    /// The entry of the code for `rip`, if there is some.
    var entryHere: UInt64? {
        let linear = cpu.linearPointer
        guard let page = cpu.translateFetch(linear),
            let block = cpu.blocks.find(
                page.pointee.physical & ~0xFFF | linear & 0xFFF, mode: cpu.state.pointee.modeKey)
        else { return nil }
        return entry(cpu, of: block)
    }

    /// Host code around an entry, for reports: where the bytes begin, and the bytes.
    func code(around entry: UInt64, before: UInt64, after: UInt64) -> (start: UInt64, bytes: [UInt8]) {
        let first = max(memory.executable, entry - before)
        let last = min(memory.executable + UInt64(memory.byteCount), entry + after)
        return (first, [UInt8](UnsafeRawBufferPointer(start: asm.pointer(first), count: Int(last - first))))
    }

    deinit { munmap(paths, Self.pathLimit * MemoryLayout<SlowPath>.stride) }

    // MARK: Several CPUs

    /// Another CPU of the machine runs this code, too.
    func join(_ cpu: CPU) {
        processors.append(Unmanaged.passUnretained(cpu))
        cpu.state.pointee.native.translator = Unmanaged.passUnretained(self)
        memset(cpu.arena.jumps, 0xFF, CPUArena.jumpBytes)
        // Links hold for the one whose translations they were made by.
        unlink()
    }

    /// It is that CPU's turn.
    func serve(_ cpu: CPU) { owner = Unmanaged.passUnretained(cpu) }

    private func forEachJumpCache(_ body: (UnsafeMutablePointer<UInt64>) -> Void) {
        for processor in processors { processor._withUnsafeGuaranteedRef { body($0.arena.jumps) } }
    }

    private func emptyJumpCache() { forEachJumpCache { memset($0, 0xFF, CPUArena.jumpBytes) } }

    // MARK: Running

    /// Runs a hot block's code, which is made first if there is none.
    ///
    /// - Parameter block: where `rip` is; afterwards, unless the run stopped, again.
    @inline(never) func run(_ cpu: CPU, _ block: inout BlockCache.Pointer) -> Result {
        let s = cpu.state
        guard let entry = entry(cpu, of: block) ?? translate(block) else { return .interpret }
        if let verifier { return verifier.run(block, entry) }
        if s.pointee.budget < Int(block.pointee.count) {
            return s.pointee.budget <= 0 ? .stop(.budget) : .interpret
        }
        switch enter(at: entry) {
        case .fault: return .stop(.fault)
        case .boundary: return .stop(.boundary)
        case .interpret:
            guard let found = cpu.jump() else { return .stop(.fault) }
            block = found
            return .interpret
        case .lookup: break
        }
        if s.pointee.budget <= 0 { return .stop(.budget) }
        if !canGoOn(cpu) { return .stop(.boundary) }
        let slot = s.pointee.native.exitSlot
        let epoch = counters.flushes
        guard let found = cpu.jump() else { return .stop(.fault) }
        block = found
        if slot != 0, epoch == counters.flushes, !cpu.blocks.flushRequested, !found.pointee.crossesPage,
            let target = self.entry(cpu, of: found)
        {
            asm.fix(slot, target + linkOffset(found))
        }
        return .next
    }

    /// Runs translated code until it comes back.
    func enter(at entry: UInt64) -> TranslatedExit {
        let s = cpu.state
        s.pointee.native.exitSlot = 0
        s.pointee.native.codeChanged = 0
        storeFlags(cpu)
        let code = enter(UnsafeMutableRawPointer(s), entry)
        loadFlags(cpu)
        let exit = TranslatedExit(rawValue: code) ?? .lookup
        switch exit {
        case .lookup: counters.lookups += 1
        case .fault: counters.faults += 1
        case .boundary: counters.boundaries += 1
        case .interpret: counters.interpreted += 1
        }
        return exit
    }

    /// The code of a block at `rip`.
    @inline(__always) private func entry(_ cpu: CPU, of block: BlockCache.Pointer) -> UInt64? {
        guard let entry = block.pointee.entry else { return nil }
        let place = Relocation.place(cpu.linearPointer, block.pointee.mode)
        if block.pointee.entryLinear == place { return UInt64(UInt(bitPattern: entry)) }
        return variants[Variant(block: block, linear: place)]
    }

    /// How far behind the entry of the code at `rip` links inside its page enter.
    private func linkOffset(_ block: BlockCache.Pointer) -> UInt64 {
        Relocation.isRelocatable(cpu.linearPointer, block.pointee.mode) ? Relocation.preambleBytes : 0
    }

    /// Nothing wants to be looked at between two instructions.
    @inline(__always) private func canGoOn(_ cpu: CPU) -> Bool {
        let s = cpu.state
        return !s.pointee.fault.isPending && !s.pointee.halted && s.pointee.interruptShadow == .none
            && !cpu.needsService
            && !cpu.needsStepping
    }

    // MARK: Flags at the border: the state's word of LAHF and SETO, and the interpreter's lazy pair

    @inline(__always) private func loadFlags(_ cpu: CPU) {
        let word = UInt32(truncatingIfNeeded: cpu.state.pointee.native.flags)
        cpu.state.setArithmeticFlags(word >> 8 & 0xD5 | (word & 1) << 11)
    }
    @inline(__always) private func storeFlags(_ cpu: CPU) {
        let flags = cpu.state.arithmeticFlags
        cpu.state.pointee.native.flags = UInt64((flags & 0xD5 | RFLAGS.fixed1) << 8 | flags >> 11 & 1)
    }

    // MARK: Translating

    private static func canTranslate(_ mode: UInt32) -> Bool {
        let flat32 = ModeKey.code32 | ModeKey.flat | ModeKey.stack32
        return mode & ModeKey.alignment == 0 && (mode & ModeKey.code64 != 0 || mode & flat32 == flat32)
    }

    private func translate(_ block: BlockCache.Pointer) -> UInt64? {
        guard block != cpu.scratch, Self.canTranslate(block.pointee.mode) else {
            block.pointee.heat = Int32.min / 2
            return nil
        }
        // Elsewhere it has code already: it must get hot here, too.
        if block.pointee.entry != nil, block.pointee.heat < 2 * hotness {
            block.pointee.heat += 1
            return nil
        }
        guard cpu.blocks.room > Self.blockRoom else {
            cpu.blocks.requestFlush()
            return nil
        }
        let used = max(asm.here - memory.executable, far.here - farStart)
        if Int(used) + Self.regionRoom > memory.halfBytes || pathCount + 4 * Region.instructionLimit > Self.pathLimit {
            flushKeepingBlocks()
        }
        let source = InstructionSource(cpu, block)
        let region = Region(
            block, at: cpu.linearPointer, features: cpu.features.offered, decode: source.block(at:),
            bytes: source.bytes(of:offset:length:))
        let before = asm.here, farBefore = far.here
        asm.align(16)
        let emitter = Emitter(region, asm, far: far, thunks, self)
        emitter.emit()
        asm = emitter.asm
        far = emitter.far
        counters.regions += 1
        counters.hostBytes += asm.here - before + far.here - farBefore
        record(region)
        if translated != nil {
            tell(region, from: before, to: asm.here)
            tell(region, from: farBefore, to: far.here)
        }
        return block.pointee.entry.map { UInt64(UInt(bitPattern: $0)) }
    }

    private func tell(_ region: Region, from start: UInt64, to end: UInt64) {
        let bytes = UnsafeRawBufferPointer(start: asm.pointer(start), count: Int(end - start))
        translated?(
            TranslatedCode(
                linear: cpu.linearPointer, isUser: region.isUser,
                instructions: region.order.reduce(0) { $0 + Int($1.count) }, host: start,
                bytes: bytes.bindMemory(to: UInt8.self)))
    }

    private func record(_ region: Region) {
        let record = Record()
        var lines: [UInt64: UInt32] = [:]
        for node in region.order {
            let block = node.block
            counters.instructions += UInt64(node.count)
            let place = Relocation.place(node.linear, region.mode)
            let hadCode = block.pointee.entry != nil
            if let old = block.pointee.entry, block.pointee.entryLinear != place {
                variants[Variant(block: block, linear: block.pointee.entryLinear)] = UInt64(UInt(bitPattern: old))
            }
            block.pointee.entry = UnsafeMutableRawPointer(bitPattern: UInt(node.entry))
            // At another address it may have been made with less in view.
            block.pointee.entryFlags = hadCode ? block.pointee.entryFlags.union(node.liveIn) : node.liveIn
            block.pointee.entryLinear = place
            record.entries.append(
                Record.Entry(block: block, linear: place, entry: node.entry, dead: node.dead))
            if isVerifying { liveIns[node.entry] = node.liveIn }
            let physical = block.pointee.physical
            lines[physical >> 12, default: 0] |= CodePages.lines(physical, block.bytesInFirstPage)
            if block.pointee.crossesPage {
                let rest = UInt64(block.pointee.byteLength) - block.bytesInFirstPage
                lines[block.pointee.secondPage >> 12, default: 0] |= CodePages.lines(block.pointee.secondPage, rest)
            }
        }
        // What neighbours read is part of what the code stands on.
        lines[region.order[0].block.pointee.physical >> 12, default: 0] |= region.neighbourLines
        for node in region.order {
            node.block.pointee.entryLines |= lines[node.block.pointee.physical >> 12, default: 0]
        }
        for (page, mask) in lines { records[page, default: []].append((record, mask)) }
    }

    // MARK: What emitters ask

    func addPath(_ path: SlowPath) -> Int {
        paths[pathCount] = path
        pathCount += 1
        return pathCount - 1
    }

    func seesX87(_ path: Int) -> Bool { paths[path].seesX87 }

    func setResume(_ path: Int, _ place: UInt64) { paths[path].resume = place }

    /// A window for the access of a slow path; nil: it is better without, or there are no more. A verifier has tables of its own in
    /// place of the TLB.
    func takeWindow(for path: Int) -> Int? {
        guard !isVerifying, windowCount < PageWindows.count, !withoutWindows.contains(paths[path].first) else {
            return nil
        }
        paths[path].window = Int32(windowCount)
        for processor in processors {
            processor._withUnsafeGuaranteedRef { $0.tlb.windows.windows[windowCount] = PageWindow() }
        }
        windowCount += 1
        return windowCount - 1
    }

    func avoidsGroups(_ block: UnsafeMutablePointer<Block>) -> Bool { withoutGroups.contains(block) }

    // MARK: Throwing away

    /// Code of some lines of a page changed. Links and the jump cache lead to entries, which from now on lead out.
    func retire(page physical: UInt64, lines: UInt32) {
        cpu.state.pointee.native.codeChanged = 1
        guard let list = records[physical >> 12] else { return }
        var kept: [(record: Record, lines: UInt32)] = []
        for item in list {
            if item.record.isDead { continue }
            if item.lines & lines == 0 { kept.append(item) } else { kill(item.record) }
        }
        records[physical >> 12] = kept.isEmpty ? nil : kept
    }

    private func kill(_ record: Record) {
        record.isDead = true
        counters.killed += 1
        for item in record.entries {
            if item.linear == Relocation.anywhere {
                // The jump caches may lead here from any address.
                divert(item.entry, to: thunks.forget)
                divert(item.entry + Relocation.preambleBytes, to: item.dead)
            } else {
                divert(item.entry, to: item.dead)
                forEachJumpCache { jumps in
                    let jump = jumps + 2 * Int(item.linear & UInt64(CPUArena.jumpCount - 1))
                    if jump[1] == item.entry { jump[0] = Self.noJump }
                }
            }
            let block = item.block
            if let entry = block.pointee.entry, UInt64(UInt(bitPattern: entry)) == item.entry {
                block.pointee.entry = nil
                block.pointee.heat = hotness / 2
            }
            let variant = Variant(block: block, linear: item.linear)
            if variants[variant] == item.entry { variants[variant] = nil }
        }
    }

    /// Code begins with a jump elsewhere from now on.
    private func divert(_ place: UInt64, to target: UInt64) {
        asm.pointer(place).storeBytes(of: 0xE9, as: UInt8.self)
        asm.fix(place + 1, target)
    }

    /// The blocks are gone, and with them all code.
    func flush() {
        asm.here = start
        far.here = farStart
        links.removeAll(keepingCapacity: true)
        pathCount = 0
        variants.removeAll(keepingCapacity: true)
        records.removeAll(keepingCapacity: true)
        withoutGroups.removeAll()
        withoutWindows.removeAll()
        for processor in processors { processor._withUnsafeGuaranteedRef { $0.tlb.windows.shut() } }
        windowCount = 0
        liveIns.removeAll()
        counters.flushes += 1
        cpu.state.pointee.native.codeChanged = 1
        emptyJumpCache()
    }

    /// Code memory is full; the blocks stay. Only while no translated code runs.
    private func flushKeepingBlocks() {
        for list in records.values {
            for item in list {
                for entry in item.record.entries {
                    entry.block.pointee.entry = nil
                    entry.block.pointee.heat = 0
                }
            }
        }
        flush()
    }

    // MARK: Calls from translated code

    private static let targets = Thunks.Targets(
        help: { state, number in with(state) { $0.help($1, Int(number)) } },
        fill: { state, linear, number in with(state) { $0.fill($1, linear, Int(number)) } },
        find: { state in with(state) { $0.find($1) } },
        loadX87: { X87Image.write($0.assumingMemoryBound(to: CPUState.self)) },
        storeX87: { X87Image.read($0.assumingMemoryBound(to: CPUState.self)) })

    /// Without counting references: this happens millions of times a second.
    @inline(__always)
    private static func with(_ state: UnsafeMutableRawPointer, _ body: (Translator, CPU) -> UInt64) -> UInt64 {
        // SAFETY: translated code passes the state that it was entered with, whose CPU keeps its translator.
        let s = state.assumingMemoryBound(to: CPUState.self)
        return s.pointee.owner.unsafelyUnwrapped._withUnsafeGuaranteedRef { cpu in
            s.pointee.native.translator.unsafelyUnwrapped._withUnsafeGuaranteedRef { body($0, cpu) }
        }
    }

    /// An access missed: 1 if its page is in the TLB now.
    private func fill(_ cpu: CPU, _ linear: UInt64, _ number: Int) -> UInt64 {
        counters.fills += 1
        let path = paths + number
        let size = Int(path.pointee.bytes)
        if cpu.fillTLB(linear, size: size, write: path.pointee.writes) { return 1 }
        if linear & 0xFFF + UInt64(size) > 4096 { counters.crossings += 1 } else { counters.refusals += 1 }
        return 0
    }

    /// Code for `rip` that the jump cache did not know; 0: there is none, or something is to be done first.
    private func find(_ cpu: CPU) -> UInt64 {
        counters.finds += 1
        let s = cpu.state
        if cpu.blocks.flushRequested || s.pointee.budget <= 0 { return 0 }
        let linear = cpu.linearPointer, mode = s.pointee.modeKey
        let index = Int(linear & UInt64(CPUArena.jumpCount - 1))
        let slot = cpu.arena.jumps + 2 * index
        let key = linear ^ s.pointee.native.jumpKey
        let exitSlot = s.pointee.native.exitSlot
        s.pointee.native.exitSlot = 0
        // Helpers that lead elsewhere come without having looked.
        if exitSlot == 0, slot[0] == key { return slot[1] }
        let faultAddress = s.pointee.cr2
        // Another generation's: a process that was away. It is as good as ever if the page is still where it was.
        if exitSlot == 0, (slot[0] ^ key) << JumpCache.generationBits == 0, slot[0] != Self.noJump,
            let page = cpu.translateFetch(linear), cpu.arena.origins[index] == Self.origin(page.pointee.physical, mode)
        {
            counters.returns += 1
            slot[0] = key
            cpu.jumps.note(linear, mode: mode, isGlobal: page.pointee.isGlobal)
            return slot[1]
        }
        guard let block = cpu.decoded(at: linear, mode) else {
            // A fault is found again, and delivered, by whoever looks next.
            s.pointee.fault.isPending = false
            s.pointee.cr2 = faultAddress
            return 0
        }
        guard let entry = entry(cpu, of: block) else {
            counters.strangers += 1
            return 0
        }
        slot[0] = key
        slot[1] = entry
        cpu.arena.origins[index] = block.pointee.crossesPage ? 0 : Self.origin(block.pointee.physical, mode)
        let isGlobal = cpu.isGlobalFetch(linear, block)
        cpu.jumps.note(linear, mode: mode, isGlobal: isGlobal, block)
        if exitSlot != 0 { link(exitSlot, to: entry, mayLink: isGlobal && mode & ModeKey.user == 0) }
        return entry
    }

    /// The lowest bit beside the mode: no origin is 0.
    @inline(__always) private static func origin(_ physical: UInt64, _ mode: UInt32) -> UInt64 {
        physical & ~0xFFF | UInt64(mode) << 1 | 1
    }

    /// A jump to another page was made for the first time.
    ///
    /// - Parameter mayLink: the target stays where it is until `unlink` is called: one CPU's knowledge, so that
    ///   several share no links.
    private func link(_ slot: UInt64, to entry: UInt64, mayLink: Bool) {
        guard mayLink, !isVerifying, processors.count == 1 else {
            return asm.fix(slot, cpu.state.pointee.native.exitFallback)
        }
        let distance = asm.pointer(slot).loadUnaligned(as: Int32.self)
        links.append((slot, slot &+ 4 &+ UInt64(bitPattern: Int64(distance))))
        asm.fix(slot, entry)
    }

    /// Translations of supervisor code may have changed: what was linked to is looked for anew.
    func unlink() {
        for link in links { asm.fix(link.slot, link.stub) }
        links.removeAll(keepingCapacity: true)
    }

    /// Runs what translated code leaves to the interpreter.
    private func help(_ cpu: CPU, _ number: Int) -> UInt64 {
        counters.helps += 1
        let s = cpu.state
        let path = paths + number
        let start = pointer(path, s)
        let converts = path.pointee.touchesFlags
        if converts { loadFlags(cpu) }
        if path.pointee.seesX87, s.pointee.native.x87Live != 0 { takeX87(s) }
        var op = path.pointee.first
        // First, as a group may end with a call or a return.
        if path.pointee.window >= 0, cpu.tlb.windows.windows[Int(path.pointee.window)].patience < 0 {
            movedOften(cpu, path)
        } else if path.pointee.isGroup, let block = path.pointee.block {
            missed(cpu, path, block)
        }
        for done in 0..<path.pointee.count {
            helperCounts.count(op)
            let step = cpu.performOne(op, start)
            switch step {
            case .done:
                if s.pointee.native.codeChanged != 0 {
                    s.pointee.rip = start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
                    cpu.giveBack(Int(path.pointee.remaining - done - 1))
                    return leave(cpu, .lookup, converts)
                }
            case .next, .taken, .indirect:
                cpu.maskPointer()
                return goOn(cpu, converts)
            case .leave:
                s.pointee.flagsRest &= ~RFLAGS.rf
                cpu.giveBack(Int(path.pointee.remaining - done - 1))
                return goOn(cpu, converts)
            case .fault:
                s.pointee.rip = start &+ UInt64(op.pointee.offset)
                cpu.giveBack(Int(path.pointee.remaining - done))
                if !converts { loadFlags(cpu) }
                if !deliversFaults || cpu.needsStepping { return leave(cpu, .fault, true) }
                cpu.deliverPendingFault()
                return goOn(cpu, true)
            case .stale:
                s.pointee.rip = start &+ UInt64(op.pointee.offset)
                cpu.giveBack(Int(path.pointee.remaining - done))
                return leave(cpu, .lookup, converts)
            }
            op += 1
        }
        return resume(cpu, path, converts)
    }

    /// Instruction pointer of the block that a slow path belongs to.
    @inline(__always) private func pointer(_ path: UnsafeMutablePointer<SlowPath>, _ s: CPUPointer) -> UInt64 {
        path.pointee.isRelative ? s.pointee.native.codeBase &+ path.pointee.start : path.pointee.start
    }

    /// Back into the middle of the region.
    private func resume(_ cpu: CPU, _ path: UnsafeMutablePointer<SlowPath>, _ converts: Bool) -> UInt64 {
        let s = cpu.state
        let last = path.pointee.first + Int(path.pointee.count - 1)
        let isPlain =
            (!path.pointee.needsXMM || mayUseXMM(s))
            && (!path.pointee.needsX87 || s.pointee.native.x87Live != 0 || mayUseX87(s))
        guard path.pointee.resume != 0, isPlain else {
            s.pointee.rip = pointer(path, s) &+ UInt64(last.pointee.offset) &+ UInt64(last.pointee.length)
            cpu.giveBack(Int(path.pointee.remaining - path.pointee.count))
            return leave(cpu, .lookup, converts)
        }
        if converts { storeFlags(cpu) }
        if !path.pointee.needsXMM { s.pointee.native.xmmLive = 0 }
        if path.pointee.needsX87, s.pointee.native.x87Live == 0 {
            X87Image.write(s)
            s.pointee.native.x87Live = UInt64(NativeState.x87InImage)
        }
        return path.pointee.resume
    }

    /// The x87 from its image, which the thunk wrote, to the state.
    private func takeX87(_ s: CPUPointer) {
        X87Image.read(s)
        s.pointee.native.x87Live = 0
    }

    private func mayUseXMM(_ s: CPUPointer) -> Bool {
        return !s.pointee.fpuTrapped && s.pointee.cr4 & CR4.osfxsr != 0 && s.pointee.fpu.mxcsr & 0x1F80 == 0x1F80
    }
    private func mayUseX87(_ s: CPUPointer) -> Bool {
        return !s.pointee.fpuTrapped && s.pointee.fpu.control & 0x3F == 0x3F && s.pointee.fpu.status & 0x80 == 0
    }

    /// Elsewhere: in translated code at `rip` if there is some and nothing is to be done first, else out.
    private func goOn(_ cpu: CPU, _ converts: Bool) -> UInt64 {
        let s = cpu.state
        if s.pointee.native.codeChanged != 0 { return leave(cpu, .lookup, converts) }
        if !canGoOn(cpu) { return leave(cpu, .boundary, converts) }
        guard s.pointee.budget > 0, Self.canTranslate(s.pointee.modeKey) else { return leave(cpu, .lookup, converts) }
        let entry = find(cpu)
        if entry == 0 { return leave(cpu, .lookup, converts) }
        if converts { storeFlags(cpu) }
        // A fault that was delivered by a task switch: the new task's x87 is not there yet.
        if s.pointee.fpuTrapped, s.pointee.native.x87Live != 0 { return leave(cpu, .boundary, false) }
        s.pointee.native.xmmLive = 0
        return entry
    }

    private func leave(_ cpu: CPU, _ exit: TranslatedExit, _ converts: Bool) -> UInt64 {
        if converts { storeFlags(cpu) }
        cpu.state.pointee.native.xmmLive = 0
        cpu.state.pointee.native.exitSlot = 0
        return exit.rawValue
    }

    /// A group lay across two pages once more.
    private func missed(_ cpu: CPU, _ path: UnsafeMutablePointer<SlowPath>, _ block: UnsafeMutablePointer<Block>) {
        // Any stack crosses a page at times: what counts is how often within a slice or a few.
        let slice = cpu.state.pointee.slices
        if path.pointee.groupSlice != slice { path.pointee.groupMisses /= 2 }
        path.pointee.groupSlice = slice
        path.pointee.groupMisses += 1
        // A verifier asks what it knows about the code that it runs.
        guard path.pointee.groupMisses == SlowPath.groupPatience, !isVerifying else { return }
        withoutGroups.insert(block)
        discard(block)
    }

    /// A window was moved more often than pays.
    private func movedOften(_ cpu: CPU, _ path: UnsafeMutablePointer<SlowPath>) {
        cpu.tlb.windows.windows[Int(path.pointee.window)].patience = PageWindow.movesUntilAsked
        let slice = cpu.state.pointee.slices
        let passed = slice &- path.pointee.windowSlice
        path.pointee.windowSlice = slice
        guard passed <= PageWindow.slicesOfPatience, let block = path.pointee.block else { return }
        withoutWindows.insert(path.pointee.first)
        discard(block)
    }

    /// A block is to be translated in another way. What runs goes on to its end: nothing that it stands for has changed.
    private func discard(_ block: UnsafeMutablePointer<Block>) {
        for item in records[block.pointee.physical >> 12] ?? [] where !item.record.isDead {
            if item.record.entries.contains(where: { $0.block == block }) { kill(item.record) }
        }
    }
}
