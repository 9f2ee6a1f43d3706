import ArgumentParser
import LabSpec
import Orchestrator

/// `labctl down`.
struct DownCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "down", abstract: "Asks the guests to power off, then stops those that did not; overlays stay.")

    @OptionGroup var lab: LabArguments
    @OptionGroup var progress: ProgressOptions

    @Option(help: "How long guests get to power off (30s, 2m); 0s does not ask them.")
    var timeout: TimeLimit = TimeLimit(milliseconds: 30_000)

    @Option(help: "How the result is printed on standard output: text (nothing) or json.")
    var format: TableFormat = .text

    func run() throws {
        try LabSession.run(lab, progress: progress.progress) { session in
            let outcomes = try session.orchestrator.down(lab.vmNames, limitMilliseconds: timeout.milliseconds)
            try session.conclude(outcomes, format: format) { "\($0) VM\($0 == 1 ? "" : "s") down" }
        }
    }
}

/// A duration on the command line, in the lab file's spelling.
struct TimeLimit: ExpressibleByArgument {
    var milliseconds: UInt64

    init(milliseconds: UInt64) { self.milliseconds = milliseconds }

    init?(argument: String) {
        if argument == "0" {
            self.init(milliseconds: 0)
        } else if case .success(let duration) = LabDuration.parse(argument) {
            self.init(milliseconds: duration.milliseconds)
        } else {
            return nil
        }
    }

    var defaultValueDescription: String { LabDuration(milliseconds: milliseconds).description }
}
