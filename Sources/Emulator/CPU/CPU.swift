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
    let tlb: TLBTables
    let blocks: BlockCache
    let memory: PhysicalMap
    let ports: PortBus
    let features: CPUFeatures
    /// Room for one instruction that is decoded anew each time it runs.
    let scratch: BlockCache.Pointer

    /// Blocks are one instruction long (TF, breakpoints, the shadow of STI).
    var singleStepping = false

    /// Execution logs; nil: none.
    var tracer: Tracer?

    /// The interrupt controller's INTA cycle: the vector to take, nil when the request went away.
    var acknowledgeInterrupt: () -> UInt8? = { nil }
    /// CR8 is the local APIC's task priority (bits 4–7 of TPR).
    var readTaskPriority: () -> UInt8 = { 0 }
    var writeTaskPriority: (UInt8) -> Void = { _ in }
    /// Time-stamp counter ticks of the guest clock.
    var tscNow: () -> UInt64 = { 0 }
    /// MSRs that belong to the local APIC (IA32_APIC_BASE, IA32_TSC_DEADLINE); nil: not one of its.
    var readDeviceMSR: (UInt32) -> UInt64? = { _ in nil }
    var writeDeviceMSR: (UInt32, UInt64) -> Bool = { _, _ in false }
    /// FERR#: an unmasked x87 exception with CR0.NE clear; the board raises IRQ 13.
    var floatingPointError: () -> Void = {}
    /// A third fault while a double fault was delivered: the board resets (SDM vol. 3, 6.15).
    var tripleFault: () -> Void = {}
    /// Something that was never implemented or is worth a log line (`-d guest_errors,unimp`).
    var log: (String) -> Void = { _ in }

    /// MSR numbers already reported as unknown.
    var loggedMSRs: Set<UInt32> = []

    init(memory: PhysicalMap, ports: PortBus, features: CPUFeatures = CPUFeatures()) {
        self.memory = memory
        self.ports = ports
        self.features = features
        tlb = TLBTables()
        blocks = BlockCache()
        scratch = UnsafeMutableRawPointer.allocate(
            byteCount: Block.headerBytes + 2 * MemoryLayout<DecodedOp>.stride, alignment: 64
        ).assumingMemoryBound(to: Block.self)
        state = .allocate(capacity: 1)
        state.initialize(to: CPUState(readTLB: tlb.reads(user: false), writeTLB: tlb.writes(user: false)))
        state.pointee.owner = Unmanaged.passUnretained(self)
        blocks.pageBecameCode = { [unowned self] physical in
            if let host = self.memory.target(ofPageAt: physical).write { self.tlb.flushWrites(hostPage: host) }
        }
        memory.codeWritten = { [unowned self] physical, length in self.blocks.invalidate(physical, length) }
        memory.layoutChanged = { [unowned self] in
            self.flushTLB()
            self.blocks.requestFlush()
        }
        reset()
    }

    deinit {
        state.deinitialize(count: 1)
        state.deallocate()
        UnsafeMutableRawPointer(scratch).deallocate()
    }

    /// Drops every cached translation (CR3, CR4 and CR0 writes, A20, a changed memory map).
    func flushTLB() {
        tlb.flush()
        blocks.forgetLinear()
    }

    /// INVLPG.
    func flushTLB(page linear: UInt64) {
        tlb.flush(page: linear & ~0xFFF)
        blocks.forgetLinear()
    }

    /// Ends the running budget at the next block boundary, so that the loop sees a new request.
    func kick() { state.pointee.budget = min(state.pointee.budget, 0) }
}

/// The pointer that all hot code works on.
typealias CPUPointer = UnsafeMutablePointer<CPUState>
