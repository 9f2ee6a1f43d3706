/// The processors of a machine, each wired to its local APIC: who runs, who sleeps, and who waits to be started (SDM vol. 3, 8.4).
///
/// They take turns on one thread, a slice of instructions each, always in the same order: so what they do to each other depends on
/// nothing but the guest and the clock. HLT and PAUSE end a turn. Memory accesses of one processor are whole for the others, as turns
/// change between instructions only.
final class Processors {
    /// The boot processor first.
    let cpus: [CPU]
    private let bus: APICBus
    private let instructionClock: InstructionClock?
    /// Whose turn it is or was last, and whether it is under way.
    private var turn = 0
    private var isRunning = false
    /// What is left of the turn.
    private var turnLeft = 0
    /// Those that wait for a startup message after INIT or a reset, a bit each.
    private var awaitingStartup: UInt64 = 0
    /// Those that got INIT in the middle of an instruction, which is finished first.
    private var pendingInit: UInt64 = 0

    /// A turn that nothing ends is two whole slices: what a processor has in the host's caches pays for itself only after a while.
    /// Slices that a device or an interrupt cut short count less, so that who works with devices is not the last.
    private static let slicePrice = 16, shortSlicePrice = 1
    private static let turnPrice = 2 * slicePrice

    /// - Throws: `badConfiguration` for an engine that can run one processor only.
    init(_ config: PCConfig, _ board: PCBoard, counting: InstructionClock? = nil) throws(MachineError) {
        instructionClock = counting
        let count = config.topology.count
        guard count == 1 || config.engine != .verify else {
            throw .badConfiguration(
                "-accel verify compares the engines on one processor, not \(count): leave out -smp, or -accel verify")
        }
        bus = board.apicBus
        var cpus: [CPU] = []
        for index in 0..<count {
            cpus.append(
                CPU(
                    memory: board.memory, ports: board.ports, features: config.cpu, engine: config.engine,
                    index: index, topology: config.topology, besides: cpus.first))
        }
        self.cpus = cpus
        for (cpu, apic) in zip(cpus, board.localAPICs) { connect(cpu, apic, board) }
        // What takes long ends the slice, so that messages are heard soon whatever a guest does.
        board.scheduler.longWork = { [unowned self] in kick() }
        board.memory.addObserver(PhysicalMap.Observer(layoutChanged: { [unowned self] in kick() }))
    }

    private func connect(_ cpu: CPU, _ apic: LocalAPIC, _ board: PCBoard) {
        apic.interruptLineChanged = { [unowned cpu] level in
            cpu.state.pointee.interruptRequest = level
            if level { cpu.kick() }
        }
        apic.nmi = { [unowned self, unowned cpu] in
            // Who waits to be started takes none, nor keeps one for later.
            guard !isWaiting(cpu) else { return }
            cpu.state.pointee.nmiRequest = true
            cpu.kick()
        }
        apic.initReceived = { [unowned self, unowned cpu] in receiveInit(cpu) }
        apic.startupReceived = { [unowned self, unowned cpu] vector in receiveStartup(cpu, vector) }
        cpu.acknowledgeInterrupt = { [unowned apic] in apic.acknowledgeInterrupt() }
        cpu.readTaskPriority = { [unowned apic] in apic.taskPriority }
        cpu.writeTaskPriority = { [unowned apic] in apic.taskPriority = $0 }
        // SAFETY: the machine keeps its board for as long as its CPUs. Kernels read the counter in each system call: counting references
        // to the scheduler cost more than the reading.
        cpu.tscNow = { [unowned(unsafe) scheduler = board.scheduler] in scheduler.nowNanoseconds }
        cpu.floatingPointError = { [unowned board] in board.systemPorts.raiseFloatingPointError() }
        apic.tscNow = { [unowned cpu] in cpu.timeStampCounter }
        connectMSRs(cpu, apic)
    }

    private func connectMSRs(_ cpu: CPU, _ apic: LocalAPIC) {
        let features = cpu.features
        apic.offersX2APIC = features.has(.x2APIC)
        apic.physicalAddressBits = UInt64(features.physicalAddressBits)
        cpu.readDeviceMSR = { [unowned apic] number in
            switch number {
            case 0x1B: apic.baseMSR
            case 0x6E0 where features.has(.tscDeadline): apic.tscDeadlineMSR
            case LocalAPIC.x2APICMSRs: apic.readX2APIC(number)
            default: nil
            }
        }
        cpu.writeDeviceMSR = { [unowned apic] number, value in
            switch number {
            case 0x1B: return apic.writeBase(value)
            case 0x6E0 where features.has(.tscDeadline):
                apic.tscDeadlineMSR = value
                return true
            case LocalAPIC.x2APICMSRs: return apic.writeX2APIC(number, value)
            default: return nil
            }
        }
    }

    // MARK: Starting

    /// The boot processor begins, at the reset vector or at `entry`; the others wait for it.
    func powerOn(at entry: BootEntry?) {
        for cpu in cpus { cpu.reset() }
        if let entry { cpus[0].start(at: entry) }
        // All counters begin at one moment.
        for cpu in cpus { cpu.state.pointee.tscOffset = cpus[0].state.pointee.tscOffset }
        reset()
    }

    private static func bit(_ cpu: CPU) -> UInt64 { 1 << UInt64(cpu.index) }

    private func isWaiting(_ cpu: CPU) -> Bool { awaitingStartup & Self.bit(cpu) != 0 }

    private func receiveInit(_ cpu: CPU) {
        if isRunning, cpu.index == turn {
            pendingInit |= Self.bit(cpu)
            cpu.kick()
        } else {
            initialise(cpu)
        }
    }

    private func initialise(_ cpu: CPU) {
        pendingInit &= ~Self.bit(cpu)
        cpu.initialize()
        let apic = bus.apics[cpu.index]
        apic.initialise()
        cpu.state.pointee.interruptRequest = apic.isLineAsserted
        if cpu.index != 0 { awaitingStartup |= Self.bit(cpu) }
    }

    /// Heard by those that wait for it only.
    private func receiveStartup(_ cpu: CPU, _ vector: UInt8) {
        guard isWaiting(cpu) else { return }
        awaitingStartup &= ~Self.bit(cpu)
        cpu.startUp(vector: vector)
    }

    // MARK: Turns

    private func canRun(_ cpu: CPU) -> Bool {
        if isWaiting(cpu) { return false }
        if !cpu.state.pointee.halted || cpu.needsService { return true }
        guard let line = cpu.monitored, line.isAwaited, line.hasChanged else { return false }
        cpu.state.pointee.halted = false
        return true
    }

    /// Whose turn it is; nil: all sleep.
    private func next() -> CPU? {
        if turnLeft > 0, canRun(cpus[turn]) { return cpus[turn] }
        for step in 1...cpus.count {
            let cpu = cpus[(turn + step) % cpus.count]
            if canRun(cpu) {
                turnLeft = Self.turnPrice
                return cpu
            }
        }
        return nil
    }

    /// Runs about `budget` instructions of one processor.
    /// - Returns: false where all sleep.
    func run(budget: Int) -> Bool {
        guard let cpu = next() else { return false }
        if cpu.index != turn {
            turn = cpu.index
            bus.current = bus.apics[turn]
            cpu.translator?.serve(cpu)
        }
        isRunning = true
        instructionClock?.begin(cpu, budget: budget)
        let end = cpu.run(budget: budget)
        instructionClock?.end()
        isRunning = false
        if pendingInit & Self.bit(cpu) != 0 { initialise(cpu) }
        if case .halted = end {
            turnLeft = 0
            return cpus.contains(where: canRun)
        }
        turnLeft -= cpu.state.pointee.isKicked ? Self.shortSlicePrice : Self.slicePrice
        if cpu.takeGivenUpTurn() { turnLeft = 0 }
        return true
    }

    /// Ends the running slice.
    func kick() { cpus[turn].kick() }

    /// Somebody has an interrupt to take.
    var haveRequests: Bool { cpus.contains { $0.state.pointee.interruptRequest } }
}

/// A machine of one processor has nothing to remember here.
extension Processors: BoardDevice {
    var stateID: String { "processors" }

    func reset() {
        awaitingStartup = cpus.dropFirst().reduce(0) { $0 | Self.bit($1) }
        pendingInit = 0
        turnLeft = 0
    }

    func exchange(_ c: StateCoder) {
        c.field("awaitingStartup", &awaitingStartup)
        c.field("pendingInit", &pendingInit)
        // MWAIT may end at any time: those who wait by it look once more.
        var awaitingStore = cpus.reduce(0) { $0 | ($1.monitored?.isAwaited ?? false ? Self.bit($1) : 0) }
        c.field("awaitingStore", &awaitingStore)
        if c.isRestoring {
            for cpu in cpus where awaitingStore & Self.bit(cpu) != 0 { cpu.state.pointee.halted = false }
        }
    }

    func stateRestored() {
        for cpu in cpus where pendingInit & Self.bit(cpu) != 0 { initialise(cpu) }
    }
}
