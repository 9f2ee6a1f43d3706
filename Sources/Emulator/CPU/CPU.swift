import Glibc

/// What an operation tells the loop when it is done.
enum Outcome: UInt8 {
    /// Go on with the next instruction of the block.
    case next
    /// `CPUState.rip` holds the next instruction's offset; leave the block (branches, mode changes, HLT).
    case leave
    /// `CPUState.fault` is pending; `CPUState.rip` is the faulting instruction. Registers are as before it.
    case fault
}

/// One processor: owns the state, the TLBs and the decoded blocks, and knows the buses.
///
/// Hot code works on `CPUPointer` alone; what is rare or touches the buses is a method here. All on the CPU thread.
final class CPU {
    let state: CPUPointer
    let arena = CPUArena()
    let tlb: TLBTables
    let blocks: BlockCache
    @exclusivity(unchecked) var jumps = JumpCache()
    let memory: PhysicalMap
    let ports: PortBus
    let features: CPUFeatures
    /// Number among the machine's processors; 0 is the boot processor.
    let index: Int
    let topology: CPUTopology
    /// Room for one instruction that is decoded anew each time it runs.
    let scratch: BlockCache.Pointer

    /// Blocks are one instruction long (TF, breakpoints, the shadow of STI).
    var singleStepping = false

    /// Repeated string operations run to their end, and cost nothing of the budget: by that a verifier counts instructions.
    var runsRepetitionsWhole = false

    /// Instructions of the budget that a kick took away.
    var forfeited = 0

    /// PAUSE ends the turn: another processor may be what is waited for.
    let givesUpTurns: Bool
    private(set) var hasGivenUpTurn = false
    /// What MONITOR watches.
    var monitored: MonitoredLine?

    /// Nil: everything is interpreted.
    private(set) var translator: Translator?
    /// While a run is recorded to be undone: where stores are noted.
    var journal: StoreJournal?

    /// Execution logs; nil: none.
    var tracer: Tracer? { didSet { tracesInstructions = tracer?.items.contains(.exec) ?? false } }
    private(set) var tracesInstructions = false

    /// The interrupt controller's INTA cycle: the vector to take, nil when the request went away.
    var acknowledgeInterrupt: () -> UInt8? = { nil }
    /// The local APIC's task priority register; CR8 is its upper half.
    var readTaskPriority: () -> UInt8 = { 0 }
    var writeTaskPriority: (UInt8) -> Void = { _ in }
    /// Time-stamp counter ticks of the guest clock.
    var tscNow: () -> UInt64 = { 0 }
    /// MSRs that belong to the local APIC (IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC); nil: not one of its, or not now.
    var readDeviceMSR: (UInt32) -> UInt64? = { _ in nil }
    /// The same; false: the value is not allowed.
    var writeDeviceMSR: (UInt32, UInt64) -> Bool? = { _, _ in nil }
    /// FERR#: an unmasked x87 exception with CR0.NE clear; the board raises IRQ 13.
    var floatingPointError: () -> Void = {}
    /// A third fault while a double fault was delivered: the board resets (SDM vol. 3, 6.15).
    var tripleFault: () -> Void = {}
    /// `-accel verify` found the engines to differ; the report.
    var enginesDiffer: (String) -> Void = { _ in }
    /// Something that was never implemented or is worth a log line (`-d guest_errors,unimp`).
    var log: (String) -> Void = { _ in }

    /// MSR numbers already reported as unknown.
    var loggedMSRs: Set<UInt32> = []

    /// - Parameters:
    ///   - engine: what runs hot code; a host without executable memory interprets all the same.
    ///   - index: which of the topology's processors.
    ///   - first: another processor of the machine, with which this one shares decoded and translated code: that depends on physical
    ///     addresses, modes and features, which are common to all. They take turns on one thread.
    init(
        memory: PhysicalMap, ports: PortBus, features: CPUFeatures = CPUFeatures(), engine: Engine = .interpreter,
        index: Int = 0, topology: CPUTopology = CPUTopology(), besides first: CPU? = nil
    ) {
        self.index = index
        self.topology = topology
        givesUpTurns = topology.count > 1
        self.memory = memory
        self.ports = ports
        self.features = features
        tlb = TLBTables(arena.tlb, windows: arena.windows)
        blocks = first?.blocks ?? BlockCache(pages: memory.codePages)
        scratch = UnsafeMutableRawPointer.allocate(
            byteCount: Block.headerBytes + 2 * MemoryLayout<DecodedOp>.stride, alignment: 64
        ).assumingMemoryBound(to: Block.self)
        // SAFETY: the arena has room for one state there, and lives as long as this CPU.
        state = arena.state.bindMemory(to: CPUState.self, capacity: 1)
        state.initialize(to: CPUState(readTLB: tlb.reads(user: false), writeTLB: tlb.writes(user: false)))
        state.pointee.owner = Unmanaged.passUnretained(self)
        let sharesCode = first != nil
        memory.addObserver(
            PhysicalMap.Observer(
                layoutChanged: { [unowned self] in
                    flushTLB()
                    blocks.requestFlush()
                },
                // Once for all who share the blocks.
                codeWritten: sharesCode
                    ? { _, _ in } : { [unowned self] physical, length in blocks.invalidate(physical, length) }))
        reset()
        if let first {
            translator = first.translator
            translator?.join(self)
        } else if engine != .interpreter, let translator = Translator(self, verify: engine == .verify) {
            self.translator = translator
            blocks.codeRetired = { [unowned translator] page, lines in translator.retire(page: page, lines: lines) }
        }
        blocks.addObserver(
            BlockCache.Observer(
                pageBecameCode: { [unowned self] physical in
                    if let host = self.memory.target(ofPageAt: physical).write {
                        self.tlb.flushWrites(hostPage: host)
                    }
                },
                flushed: { [unowned self] in
                    // The jump cache leads into memory that is used again.
                    jumps.forget()
                    updateJumpKey()
                    if !sharesCode { translator?.flush() }
                }))
    }

    deinit {
        state.deinitialize(count: 1)
        UnsafeMutableRawPointer(scratch).deallocate()
    }

    /// Drops every cached translation (CR4 and CR0 writes, A20, a changed memory map).
    func flushTLB() {
        tlb.flush()
        jumps.forget()
        translator?.unlink()
        updateJumpKey()
    }

    /// Drops the cached translations that are not global (CR3 writes).
    func flushLocalTLB() {
        tlb.flushLocal()
        jumps.forgetLocal()
        updateJumpKey()
    }

    /// INVLPG.
    func flushTLB(page linear: UInt64) {
        if tlb.mayBeLarge(linear) { return flushTLB() }
        tlb.flush(page: linear & ~0xFFF)
        if jumps.forget(page: linear) { translator?.unlink() }
        updateJumpKey()
    }

    /// What guards the translated jump cache in the current mode.
    func updateJumpKey() {
        if jumps.isExhausted {
            // Keys are about to come again: what was entered under them must not be found.
            memset(arena.jumps, 0xFF, CPUArena.jumpBytes)
            jumps.acknowledgeExhaustion()
        }
        let mode = state.pointee.modeKey
        let bits: UInt64 = (mode & ModeKey.user != 0 ? 1 : 0) | (mode & ModeKey.code32 != 0 ? 2 : 0)
        state.pointee.native.jumpKey = jumps.generation(mode: mode) << 50 | bits << 48
    }

    /// Ends the running budget at the next block boundary, so that the loop sees a new request.
    func kick() {
        forfeited &+= max(state.pointee.budget, 0)
        state.pointee.budget = min(state.pointee.budget, 0)
        state.pointee.isKicked = true
    }

    /// PAUSE, on one of several processors.
    func giveUpTurn() {
        hasGivenUpTurn = true
        kick()
    }

    /// - Returns: whether the turn was given up since the last call.
    func takeGivenUpTurn() -> Bool {
        defer { hasGivenUpTurn = false }
        return hasGivenUpTurn
    }

    /// Instructions that were paid for and not executed.
    @inline(__always) func giveBack(_ count: Int) {
        // A budget that was ended stays so.
        if count > 0, !state.pointee.isKicked { state.pointee.budget &+= count }
    }
}

/// The pointer that all hot code works on.
typealias CPUPointer = UnsafeMutablePointer<CPUState>
