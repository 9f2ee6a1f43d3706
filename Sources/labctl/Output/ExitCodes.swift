import ArgumentParser
import Glibc
import LabSpec
import Orchestrator

/// The exit codes of lab verbs; `labFileInvalid` (4) and usage (64) are the parser's.
extension ExitCode {
    /// `plan --exit-code`: `up` would change something.
    static let changesPending = ExitCode(2)
    /// Some VMs failed.
    static let partlyUp = ExitCode(3)
    /// Another labctl changes the lab.
    static let labLocked = ExitCode(5)
    /// A VM did not become ready in time.
    static let notReady = ExitCode(6)
    /// `exec`: the command took too long (as timeout(1) has it), or could not be run.
    static let commandTimedOut = ExitCode(124)
    static let commandNotRun = ExitCode(125)

    init(_ error: OrchestratorError, interruption: StopSignal?) {
        switch error.kind {
        case .locked: self = .labLocked
        case .interrupted: self = ExitCode(128 + (interruption?.signalNumber ?? SIGINT))
        case .timeout: self = .notReady
        case .image, .host, .noSpace, .state, .unsupported, .vm: self = .failure
        }
    }

    /// What a verb ends with after VMs came out as they did; nil: all is well.
    init?(_ outcomes: [VMOutcome], interruption: StopSignal) {
        if let number = interruption.signalNumber, outcomes.contains(where: { $0.result == .interrupted }) {
            self = ExitCode(128 + number)
            return
        }
        let bad = outcomes.filter { !$0.isGood }
        if bad.isEmpty { return nil }
        let broken = bad.filter { $0.result == .failed }
        if broken.isEmpty {
            self = .notReady
        } else {
            self = outcomes.contains { $0.isGood || $0.result == .notReady } ? .partlyUp : .failure
        }
    }
}
