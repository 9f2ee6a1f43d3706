/// A whole PC: the board, its CPUs and the loop that runs them. The host-facing API of this module.
///
/// `run` occupies the calling thread until the machine ends. The other methods may be called from any thread at any time.
public final class Machine: @unchecked Sendable {
    // Unchecked: everything but `mailbox` belongs to the thread that calls `run`; other threads only post to the mailbox.

    /// Why `run` came back.
    public enum ExitReason: Sendable, Equatable {
        /// The guest powered off (ACPI S5).
        case powerOff
        /// The guest reset and `Options.exitOnReset` was set.
        case reset
        /// `requestQuit` was called.
        case quit
        /// The guest wrote to the debug-exit port.
        case debugExit(UInt32)
        /// The machine could not be reset: the kernel that it starts is gone.
        case failed(String)
    }

    /// What is not part of the PC but of how it is run.
    public struct Options: Sendable {
        /// A guest reset ends the run (QEMU's -no-reboot).
        public var exitOnReset = false
        /// Power-off stops the CPU and waits for `requestQuit` (QEMU's -no-shutdown).
        public var stopOnPowerOff = false
        /// Log lines of the machine: guest errors, unimplemented things, resets. Called on the CPU thread.
        public var log: (@Sendable (String) -> Void)?
        /// Execution logs to write through `log`.
        public var trace: TraceItems = []
        /// Lines that name the addresses of translated code for `perf`. Called on the CPU thread.
        public var perfMap: (@Sendable (String) -> Void)?
        /// The firmware's debug port, a byte at a time.
        public var firmwareLog: (@Sendable (UInt8) -> Void)?
        /// Called on the CPU thread at each guest reset and power-off, before it takes effect.
        public var onReset: (@Sendable () -> Void)?
        public init() {}
    }

    let board: PCBoard
    let processors: Processors
    /// The boot processor.
    let cpu: CPU
    let clock: GuestClock
    private let instructionClock: InstructionClock?
    private let mailbox = Mailbox()
    private let options: Options
    private var end: ExitReason?
    /// A reset that the guest or the host asked for waits for the end of the running budget.
    var resetPending = false
    private var isPaused = false
    /// Its memory is mapped from a saved state: what is given back would not be zeros again.
    var isMemoryMapped = false
    private var zeroPages = ZeroPageScan()
    /// Instructions between two looks at the clock: tens of microseconds.
    private static let slice = 32768
    /// The same while deadlines wait to fire: enough to take an interrupt.
    private static let lateSlice = 4096
    /// How much slower than the interpreter a CPU that verifies is, about.
    private static let verifierSlowness: UInt64 = 16
    /// A halted CPU with interrupts off sleeps at most this long at a time.
    private static let longestSleep: UInt64 = 10_000_000_000

    /// - Throws: `MachineError` when memory or a file that the machine needs cannot be had.
    public init(_ config: PCConfig, options: Options = Options()) throws(MachineError) {
        self.options = options
        let counting = config.instructionClock.map { InstructionClock($0) }
        instructionClock = counting
        let clock =
            if let counting {
                GuestClock(follows: .host, host: { counting.now })
            } else {
                GuestClock(
                    follows: config.clockSource, slowness: config.engine == .verify ? Self.verifierSlowness : 1)
            }
        self.clock = clock
        let board = try PCBoard(config: config, clock: { clock.now })
        self.board = board
        let group = try Processors(config, board, counting: counting)
        processors = group
        cpu = group.cpus[0]
        for cpu in group.cpus {
            cpu.tripleFault = { [unowned self, unowned cpu] in
                log("triple fault" + (processors.cpus.count > 1 ? " on CPU \(cpu.index)\n" : "\n") + cpu.dump())
                requestResetFromGuest()
            }
        }
        cpu.enginesDiffer = { [unowned self] report in
            end = end ?? .failed(report)
            self.cpu.kick()
        }
        if let log = options.log {
            for cpu in group.cpus {
                cpu.log = { log($0) }
                if !options.trace.isEmpty { cpu.tracer = Tracer(items: options.trace) { log($0) } }
            }
        }
        if options.perfMap != nil || options.trace.contains(.outAsm) {
            cpu.translator?.translated = { [unowned cpu] code in
                options.perfMap?(code.perfMapLine)
                if options.trace.contains(.outAsm) {
                    for line in code.listing { cpu.tracer?.line(.outAsm, line) }
                }
            }
        }
        if let firmwareLog = options.firmwareLog { board.firmwareLog = { firmwareLog($0) } }
        board.resetRequested = { [unowned self] in requestResetFromGuest() }
        board.powerOff = { [unowned self] in
            if options.stopOnPowerOff { isPaused = true } else { end = end ?? .powerOff }
            processors.kick()
        }
        board.debugExit = { [unowned self] status in
            end = end ?? .debugExit(status)
            processors.kick()
        }
        try powerOn()
    }

    private func log(_ line: String) { options.log?(line) }

    private func powerOn() throws(MachineError) {
        for cpu in processors.cpus {
            cpu.tracer?.line(.cpuReset, "CPU Reset (CPU \(cpu.index))\n" + cpu.dump())
        }
        try board.reset()
        processors.powerOn(at: board.bootEntry)
    }

    private func requestResetFromGuest() {
        resetPending = true
        processors.kick()
    }

    // MARK: Running

    /// Runs the guest on the calling thread until the machine ends.
    public func run() -> ExitReason {
        while true {
            for work in mailbox.take() { work(self) }
            if resetPending { performReset() }
            if let end { return end }
            if isPaused {
                mailbox.sleep(nanoseconds: nil)
                continue
            }
            let now = clock.now
            board.scheduler.advance(to: now) { processors.haveRequests }
            let next = board.scheduler.nextDeadline
            var budget = next <= now ? Self.lateSlice : Self.slice
            if let instructionClock, next > now { budget = instructionClock.budget(for: next - now, limit: budget) }
            if !processors.run(budget: budget) { sleepUntilNextEvent() }
        }
    }

    private func performReset() {
        resetPending = false
        options.onReset?()
        if options.exitOnReset {
            end = end ?? .reset
        } else {
            do {
                try powerOn()
            } catch {
                // The kernel file went away under a running machine.
                end = end ?? .failed(error.description)
            }
        }
    }

    /// A halted guest uses no host CPU: sleep until its next timer or until another thread has something.
    private func sleepUntilNextEvent() {
        let deadline = board.scheduler.nextDeadline
        let now = clock.now
        guard deadline > now else { return }
        if !isMemoryMapped {
            let ram = UnsafeMutableRawBufferPointer(
                start: board.memory.ram.base, count: Int(board.memory.ram.sizeBytes))
            zeroPages.step(ram, now: now, sleep: deadline - now)
        }
        if let instructionClock {
            return sleepCounting(instructionClock, deadline == .max ? nil : deadline - now)
        }
        clock.isSleeping = true
        mailbox.sleep(nanoseconds: min(clock.hostNanoseconds(for: deadline - now), Self.longestSleep))
        _ = clock.now
        clock.isSleeping = false
    }

    /// The same where time is counted: it passes for sleeping as the host's does, to the deadline exactly, or is skipped.
    private func sleepCounting(_ counting: InstructionClock, _ nanoseconds: UInt64?) {
        guard let nanoseconds else { return mailbox.sleep(nanoseconds: Self.longestSleep) }
        guard counting.sleeps else { return counting.skip(nanoseconds) }
        let start = GuestClock.hostNanoseconds()
        mailbox.sleep(nanoseconds: min(nanoseconds, Self.longestSleep))
        counting.skip(min(GuestClock.hostNanoseconds() - start, nanoseconds))
    }

    // MARK: From any thread

    /// Presses the ACPI power button.
    public func pressPowerButton() { mailbox.post { $0.board.pressPowerButton() } }

    /// Resets the machine as its reset button would.
    public func requestReset() { mailbox.post { $0.resetPending = true } }

    /// Ends the run as soon as possible.
    public func requestQuit() { mailbox.post { $0.end = $0.end ?? .quit } }

    /// Stops the CPU and the guest's clock.
    public func pause() {
        mailbox.post { machine in
            machine.isPaused = true
            machine.clock.pause()
        }
    }

    public func resume() {
        mailbox.post { machine in
            machine.isPaused = false
            machine.clock.resume()
        }
    }

    /// Bytes that arrive at a serial port, 0 for COM1.
    public func serialInput(port: Int, bytes: [UInt8]) {
        mailbox.post { $0.board.serialInput(port: port, bytes) }
    }

    /// Runs `work` on the CPU thread between two instructions.
    func post(_ work: @escaping @Sendable (Machine) -> Void) { mailbox.post(work) }
}
