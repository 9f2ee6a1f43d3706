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
    private var monitor: QMPServer?
    private let holder: SessionHolder
    private var end: MachineEnd?

    /// Opens sockets and terminal; the guest does not run yet.
    init(
        description: VMDescription, loop: IOLoop, output: ConsoleOutput, machine: any GuestMachine, drives: [Drive],
        holder: SessionHolder
    ) throws(HostError) {
        self.holder = holder
        self.description = description
        self.loop = loop
        self.output = output
        control = MachineControl(name: description.name, machine: machine, drives: drives)
        signals = try TerminationSignals()
        loop.add(signals.descriptor) { [weak self] _, _ in self?.terminate() }
        if let folder = description.runtimeFolder {
            console = try ConsoleServer(path: VMFile.consoleSocket.path(in: folder), loop: loop) { [weak machine] in
                machine?.serialInput($0)
            }
            monitor = try QMPServer(path: VMFile.qmpSocket.path(in: folder), loop: loop, control: control)
        }
        if description.console == .stdio {
            stdio = StdioConsole(loop: loop, input: { [weak machine] in machine?.serialInput($0) }) {
                [weak self] in self?.obey($0)
            }
        }
        control.announce = { [weak self] in self?.announce($0, $1) }
        control.onQuit = { [weak self] in self?.stopMachine() }
    }

    /// Runs the guest and serves until it is over.
    func run() throws(HostError) -> MachineEnd {
        record("started", nil)
        let machine = control.machine
        let loop = loop
        let holder = holder
        try HostThread.start(named: "vcpu0", stackBytes: 16 << 20) {
            let end = machine.run()
            loop.post { holder.session?.finish(end) }
        }
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

    /// The guest reset itself or was reset.
    func guestReset() { announce("RESET", ["guest": true, "reason": "guest-reset"]) }

    /// The machine stopped.
    func finish(_ end: MachineEnd) {
        if end == .powerOff, description.noShutdown {
            announce("SHUTDOWN", ["guest": true, "reason": "guest-shutdown"])
            return control.guestShutDown()
        }
        switch end {
        case .powerOff: announce("SHUTDOWN", ["guest": true, "reason": "guest-shutdown"])
        case .reset: announce("SHUTDOWN", ["guest": true, "reason": "guest-reset"])
        case .quit: break
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
        monitor?.broadcast(event, data)
        if let name = Self.recorded[event] { record(name, nil) }
    }

    /// Adds a line to the VM's event history. History is worth less than the guest: a full disk is only reported.
    private func record(_ event: String, _ detail: String?) {
        guard let folder = description.stateFolder else { return }
        EventHistory.append(
            LifecycleEvent(time: WallClock.now, vm: description.name, event: event, detail: detail),
            to: VMFile.events.path(in: folder))
    }
}

/// Lines of `events.jsonl`.
enum EventHistory {
    static func append(_ event: LifecycleEvent, to path: String) {
        do {
            try StateFile.append(line: JSONCoding.encode(event), to: path)
        } catch {
            ProcessLog.say(error.description)
        }
    }
}
