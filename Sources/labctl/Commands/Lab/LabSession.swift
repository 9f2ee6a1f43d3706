import ArgumentParser
import Foundation
import LabSpec
import Orchestrator

/// Options of verbs that take their time.
struct ProgressOptions: ParsableArguments {
    @Option(help: "How progress is shown on standard error: auto, tty, plain, json or quiet.")
    var progress: ProgressMode = .auto

    @Flag(help: "Waits while another labctl changes the lab, instead of ending with 5.")
    var wait = false
}

/// What a verb works with: the lab, its orchestrator, signals and progress. Errors become messages and exit codes here.
struct LabSession {
    let orchestrator: LabOrchestrator
    let interruption: StopSignal
    private let display: any ProgressDisplay
    let usesColor: Bool

    /// Reads the lab file and runs a verb on it.
    /// - Parameter checksFiles: whether images and kernels must exist; verbs that start nothing do without.
    static func run(
        _ arguments: LabArguments, progress: ProgressMode = .plain, waits: Bool = false, checksFiles: Bool = false,
        _ body: (LabSession) throws -> Void
    ) throws {
        let usesColor = arguments.color.isOn(for: STDOUT_FILENO)
        try reporting(color: arguments.color) { interruption in
            let state = try StateDirectory()
            let found = try arguments.find(in: state, checksFiles: checksFiles, interruption)
            if let notice = found.place.notice { StandardError.line("note: \(notice)") }
            let display = progress.display(usesColor: arguments.color.isOn(for: STDERR_FILENO))
            var orchestrator = LabOrchestrator(
                lab: found.lab, state: state, folder: found.place.folder, project: found.place.project,
                kept: found.kept, interruption: interruption, progress: { display.show($0) })
            orchestrator.waitsForLock = waits
            let session = LabSession(
                orchestrator: orchestrator, interruption: interruption, display: display, usesColor: usesColor)
            do {
                try body(session)
            } catch {
                display.finish()
                throw error
            }
            display.finish()
        }
    }

    /// Runs something whose errors are the orchestrator's: a message on standard error and the exit code of its kind.
    static func reporting(color: ColorChoice, _ body: (StopSignal) throws -> Void) throws {
        var known: StopSignal?
        do {
            let interruption = try StopSignal()
            known = interruption
            try body(interruption)
        } catch let error as OrchestratorError {
            let mark = StyledText("error: ", .red).rendered(usesColor: color.isOn(for: STDERR_FILENO))
            StandardError.line(mark + error.message)
            throw ExitCode(error, interruption: known)
        }
    }

    /// Ends what is drawn, so that other things can be printed.
    func endProgress() { display.finish() }

    /// An error of a verb's own, as all errors look.
    func complain(_ message: String) {
        StandardError.line(StyledText("error: ", .red).rendered(usesColor: usesColor) + message)
    }

    /// The console of a VM, with what the lab file says about logging in.
    func console(_ vm: VMFolder) -> ConsoleSession {
        ConsoleSession(vm, login: orchestrator.lab.instances(named: vm.name).first { $0.name == vm.name }?.spec.login)
    }

    /// The VMs that a name means: one, or all of a group.
    func vms(_ name: String) throws -> [VMFolder] {
        let found = orchestrator.lab.instances(named: name)
        return found.isEmpty ? [try vm(name)] : found.map { orchestrator.folder.vm($0.name) }
    }

    /// The one VM that a verb is about.
    func vm(_ name: String) throws -> VMFolder {
        let found = orchestrator.lab.instances(named: name)
        if found.count > 1 {
            throw OrchestratorError(
                .vm, "'\(name)' means \(found.count) VMs; give one of them, such as '\(found[0].name)'")
        }
        if let instance = found.first { return orchestrator.folder.vm(instance.name) }
        let left = orchestrator.folder.vm(name)
        guard Folder.isFolder(left.path) else {
            throw orchestrator.unknownVM(name)
        }
        return left
    }

    /// Ends progress, prints what went wrong (or everything as JSON) and ends with the right exit code.
    func conclude(_ outcomes: [VMOutcome], format: TableFormat, summary: (Int) -> String) throws {
        display.finish()
        if format == .json { JSONOutput.write(outcomes) }
        for outcome in outcomes where !outcome.isGood {
            let mark = StyledText("\(outcome.name): ", .red).rendered(usesColor: usesColor)
            StandardError.line("\n" + mark + (outcome.message ?? outcome.result.rawValue))
            if !outcome.console.isEmpty {
                StandardError.line("last lines of its console:")
                for line in outcome.console { StandardError.line("  | \(line)") }
            }
        }
        for outcome in outcomes where outcome.isGood {
            if let message = outcome.message { StandardError.line("\(outcome.name): \(message)") }
        }
        let good = outcomes.filter(\.isGood).count
        if format == .text {
            let bad = outcomes.count - good
            StandardError.line(summary(good) + (bad == 0 ? "" : ", \(bad) not"))
        }
        if let code = ExitCode(outcomes, interruption: interruption) { throw code }
    }
}
