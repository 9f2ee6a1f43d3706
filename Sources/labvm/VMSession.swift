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
    /// Open from the start: the sandbox lets nothing be opened later.
    private let events: Descriptor?
    private var end: MachineEnd?

    /// Opens sockets and terminal; the guest does not run yet.
    init(
        description: VMDescription, loop: IOLoop, output: ConsoleOutput, machine: any GuestMachine, drives: [Drive],
        typed: TypedInput, holder: SessionHolder
    ) throws(HostError) {
        self.holder = holder
        self.typed = typed
        events = try description.stateFolder.map { folder throws(HostError) in
            try Descriptor.open(VMFile.events.path(in: folder), O_WRONLY | O_CREAT | O_APPEND)
        }
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
        record("started", nil)
        loop.run()
        showOutput()
        stdio?.close()
        return end ?? .quit
    }

    /// Called on the I/O thread when serial output waits.
    func showOutput() {
        let batch = output.drain()
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
    func guestReset(_ count: Int) { announce("RESET", ["guest": true, "reason": "guest-reset"]) }

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
        if let name = Self.recorded[event] { record(name, nil) }
    }

    /// Adds a line to the VM's event history. History is worth less than the guest: a full disk is only reported.
    private func record(_ event: String, _ detail: String?) {
        guard let events else { return }
        let line = LifecycleEvent(time: WallClock.now, vm: description.name, event: event, detail: detail)
        // One write, so that lines of several processes do not mix.
        guard events.writeAll(JSONCoding.encode(line) + [UInt8(ascii: "\n")]) else {
            return ProcessLog.say(HostError("write", VMFile.events.rawValue).description)
        }
    }
}
