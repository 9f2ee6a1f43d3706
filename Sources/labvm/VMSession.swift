import Emulator
import Glibc
import VMProtocol

/// One VM from start to end: its I/O loop, consoles and monitor around a machine that runs on its own thread.
final class VMSession {
    /// How long the machine may take to stop after `quit` before the process ends without it.
    private static let quitLimitMilliseconds: UInt64 = 3000

    private let description: VMDescription
    private let loop: IOLoop
    private let output: ConsoleOutput
    private let control: MachineControl
    private let signals: TerminationSignals
    private var console: ConsoleServer?
    private var stdio: StdioConsole?
    private var monitors: [QMPServer] = []
    private let holder: SessionHolder
    private let typed: TypedInput
    private let hold: GuestHold
    private let events: EventRecorder
    private let conditionFile: ConditionFile?
    private var condition = VMCondition()
    private var isConditionDue = false
    private var isRetryDue = false
    private var end: MachineEnd?

    /// How late the condition may be written.
    private static let conditionMilliseconds: UInt64 = 100
    /// How often a log that did not take its bytes is tried.
    private static let retryMilliseconds: UInt64 = 1000

    /// Opens sockets and terminal; the guest does not run yet.
    init(
        description: VMDescription, loop: IOLoop, output: ConsoleOutput, machine: any GuestMachine, drives: [Drive],
        hold: GuestHold, typed: TypedInput, holder: SessionHolder
    ) throws(HostError) {
        self.hold = hold
        events = try EventRecorder(
            description.stateFolder.map { VMFile.events.path(in: $0) }, of: description.name, loop: loop)
        conditionFile = try description.stateFolder.map { folder throws(HostError) in try ConditionFile(in: folder) }
        self.holder = holder
        self.typed = typed
        self.description = description
        self.loop = loop
        self.output = output
        control = MachineControl(name: description.name, machine: machine, drives: drives)
        signals = try TerminationSignals()
        loop.add(signals.descriptor) { [weak self] _, _ in self?.terminate() }
        if let folder = description.runtimeFolder {
            console = try ConsoleServer(
                path: VMFile.consoleSocket.path(in: folder), loop: loop, hasRoom: typed.hasRoom
            ) { [weak machine] in
                typed.add($0.count)
                machine?.serialInput($0)
            }
        }
        let sockets = [description.runtimeFolder.map { VMFile.qmpSocket.path(in: $0) }, description.monitorSocket]
        for path in sockets.compactMap({ $0 }) {
            monitors.append(try QMPServer(path: path, loop: loop, control: control))
        }
        if description.console == .stdio {
            let input: ([UInt8]) -> Void = { [weak machine] in
                typed.add($0.count)
                machine?.serialInput($0)
            }
            stdio = StdioConsole(loop: loop, hasRoom: typed.hasRoom, input: input) { [weak self] in self?.obey($0) }
        }
        control.announce = { [weak self] in self?.announce($0, $1) }
        control.onQuit = { [weak self] in self?.stopMachine() }
        control.onRetry = { [weak self] in self?.hold.retry() }
    }

    /// What of the sandbox holds, for those who ask.
    var sandbox: SandboxState {
        get { control.sandbox }
        set { control.sandbox = newValue }
    }

    /// Starts the guest's thread, which waits at a gate: it is there when the sandbox closes, and runs nothing before.
    func startMachine() throws(HostError) -> Gate {
        let gate = try Gate()
        let machine = control.machine
        let loop = loop
        let holder = holder
        let probe = description.probe.map { words in
            let parts = words.split(separator: " ", maxSplits: 1).map(String.init)
            return (name: parts.first ?? "", path: parts.count > 1 ? parts[1] : "")
        }
        try HostThread.start(named: "vcpu0", stackBytes: 16 << 20) {
            gate.wait()
            let end = probe.map { SandboxProbe.run($0.name, $0.path) } ?? machine.run()
            loop.post { holder.session?.finish(end) }
        }
        return gate
    }

    /// Serves until the guest is over.
    func run() -> MachineEnd {
        conditionFile?.write(condition)
        events.record("started")
        loop.run()
        showOutput()
        events.finish()
        stdio?.close()
        return end ?? .quit
    }

    /// Called on the I/O thread when serial output waits.
    func showOutput() {
        let batch = output.drain()
        watchTrouble()
        guard !batch.bytes.isEmpty || batch.hasGap else { return }
        console?.show(batch)
        stdio?.show(batch)
    }

    /// The guest's serial port has room for what people type.
    func takeInputAgain() {
        console?.takeInputAgain()
        stdio?.takeInputAgain()
    }

    /// The guest reset itself or was reset, so often since the last call.
    func guestReset(_ count: Int) {
        condition.resets += count
        announce("RESET", ["guest": true, "reason": "guest-reset"])
    }

    /// The machine stopped.
    func finish(_ end: MachineEnd) {
        if end == .powerOff, description.noShutdown {
            announce("SHUTDOWN", ["guest": true, "reason": "guest-shutdown"])
            return control.guestShutDown()
        }
        switch end {
        case .powerOff: announce("SHUTDOWN", ["guest": true, "reason": "guest-shutdown"])
        case .reset: announce("SHUTDOWN", ["guest": true, "reason": "guest-reset"])
        case .quit, .debugExit: break
        case .failed(let message): ProcessLog.say(message)
        }
        self.end = end
        loop.stop()
    }

    private func obey(_ command: StdioConsole.Command) {
        switch command {
        case .quit: control.quit()
        case .powerDown: control.powerDown()
        case .reset: control.reset()
        }
    }

    private func terminate() {
        signals.clear()
        control.quit()
    }

    private func stopMachine() {
        // A machine that has already ended (-no-shutdown) has nobody left to ask.
        if control.status == .shutdown {
            end = .quit
            return loop.stop()
        }
        control.machine.requestQuit()
        hold.end()
        loop.after(milliseconds: Self.quitLimitMilliseconds) { [weak self] in
            guard let self else { return }
            ProcessLog.say("the machine did not stop within \(Self.quitLimitMilliseconds) ms; ending without it")
            self.end = .quit
            self.loop.stop()
        }
    }

    private static let recorded = ["RESET": "reset", "POWERDOWN": "powerdown", "STOP": "paused", "RESUME": "resumed"]

    private func announce(_ event: String, _ data: [String: JSONValue]) {
        for monitor in monitors { monitor.broadcast(event, data) }
        if event == "STOP", control.status == .paused { condition.paused = "paused through its control socket" }
        if event == "RESUME" { condition.paused = nil }
        saveCondition()
        if let name = Self.recorded[event] { events.recordOften(name) }
    }

    /// The guest is held as the host cannot write, or goes on.
    func guestHeld(_ trouble: GuestHold.Trouble?) {
        if let trouble { events.record("io-error", trouble.sentence) }
        control.held(trouble)
        condition.paused = trouble?.sentence ?? (control.status == .paused ? condition.paused : nil)
        saveCondition()
    }

    /// Writes the condition, soon: a guest that resets itself without end does not write at its own pace.
    private func saveCondition() {
        guard conditionFile != nil, !isConditionDue else { return }
        isConditionDue = true
        loop.after(milliseconds: Self.conditionMilliseconds) { [weak self] in
            guard let self else { return }
            self.isConditionDue = false
            self.conditionFile?.write(self.condition)
        }
    }

    /// Output that the log did not take is tried again later, as are events.
    private func watchTrouble() {
        let trouble = output.trouble
        if trouble != condition.trouble {
            if condition.trouble == nil, let trouble { events.record("log-full", trouble) }
            condition.trouble = trouble
            saveCondition()
        }
        guard trouble != nil, !isRetryDue else { return }
        isRetryDue = true
        loop.after(milliseconds: Self.retryMilliseconds) { [weak self] in
            self?.isRetryDue = false
            self?.events.flush()
            self?.showOutput()
        }
    }
}
