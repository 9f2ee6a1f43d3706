import Glibc
import LabSpec
import VMProtocol

/// Does the steps of a lab file with a running VM.
struct StepRunner {
    let vm: VMFolder
    /// How `run` and `copy` get a shell; nil: the steps before them log in.
    var login: Login?
    let interruption: StopSignal

    private var console: ConsoleSession { ConsoleSession(vm, login: login) }

    /// A shell that has just been logged in to may swallow what is typed too early.
    private static let shellAttempts = 4

    /// Does one step.
    /// - Parameter deadline: monotonic nanoseconds.
    /// - Throws: `.timeout`, `.vm`, `.interrupted`, `.host`.
    func run(_ action: LabStep.Action, until deadline: UInt64) throws(OrchestratorError) {
        switch action {
        case .wait(let pattern):
            try console.wait(for: pattern, milliseconds: left(deadline), interruption: interruption)
        case .screen(let pattern):
            try Screen(vm).wait(for: pattern, milliseconds: left(deadline), interruption: interruption)
        case .send(let text): try console.send(Array(text.utf8))
        case .keys(let chords):
            for chord in chords { try press(chord) }
        case .run(let command): try shell(command, until: deadline)
        case .copy(let copy):
            let guest = GuestFiles { (command) throws(OrchestratorError) in try shell(command, until: deadline) }
            try guest.copy(copy)
        case .sleep(let duration): try sleep(min(duration.milliseconds, left(deadline)))
        case .eject(.cdrom): try QMPClient(vm).execute("eject", ["device": "ide1-cd0"])
        case .screenshot(let path):
            let isPNG = path.absolute.lowercased().hasSuffix(".png")
            try Screenshot.save(vm, to: path.absolute, format: isPNG ? "png" : "ppm")
        }
    }

    private func left(_ deadline: UInt64) -> UInt64 {
        let now = WallClock.monotonicNanoseconds
        return now < deadline ? (deadline - now) / 1_000_000 : 0
    }

    /// A command whose exit status counts.
    /// - Returns: what it printed.
    @discardableResult
    private func shell(_ command: String, until deadline: UInt64) throws(OrchestratorError) -> String {
        for attempt in 1... {
            do throws(CommandFailure) {
                let result = try console.execute(
                    command, milliseconds: max(1, left(deadline)), interruption: interruption)
                guard result.status == 0 else {
                    let lines = result.output.split(whereSeparator: \.isNewline).suffix(5).joined(separator: "; ")
                    throw .notRun(
                        OrchestratorError(
                            .host, "it ended with \(result.status)" + (lines.isEmpty ? "" : ": \(lines)")))
                }
                return result.output
            } catch {
                switch error {
                case .timedOut(let message): throw OrchestratorError(.timeout, message)
                case .notRun(let reason):
                    guard reason.kind == .vm, vm.isRunning, attempt < Self.shellAttempts, left(deadline) > 0 else {
                        throw reason
                    }
                    try sleep(1000)
                }
            }
        }
        return ""
    }

    /// How long keys stay down, and how long until the next.
    private static let holdMilliseconds: Int64 = 100

    private func press(_ chord: KeyChord) throws(OrchestratorError) {
        let keys = chord.keys.map { JSONValue.object(["type": "qcode", "data": .string($0)]) }
        try QMPClient(vm).execute(
            "send-key", ["keys": .array(keys), "hold-time": .int(Self.holdMilliseconds)])
        try sleep(UInt64(Self.holdMilliseconds) + 50)
    }

    private func sleep(_ milliseconds: UInt64) throws(OrchestratorError) {
        let end = WallClock.monotonicNanoseconds + milliseconds * 1_000_000
        while left(end) > 0 {
            _ = interruption.wait(for: [], milliseconds: Int32(clamping: min(left(end), 60_000)))
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
    }
}
