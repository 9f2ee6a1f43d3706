import ArgumentParser
import LabSpec
import Orchestrator

/// `labctl down`.
struct DownCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "down", abstract: "Asks the guests to power off, then stops those that did not; overlays stay.")

    @OptionGroup var lab: LabArguments
    @OptionGroup var progress: ProgressOptions

    @Option(
        help: "How long guests get to power off (30s, 2m); 0s does not ask them (default: 'stop_grace_period', 30s).",
        transform: TimeLimit.parse)
    var timeout: TimeLimit?

    @Option(help: "How the result is printed on standard output: text (nothing) or json.")
    var format: TableFormat = .text

    func run() throws {
        try LabSession.run(lab, progress: progress.progress, waits: progress.wait) { session in
            let outcomes = try session.orchestrator.down(
                lab.vmNames, limitMilliseconds: timeout?.milliseconds)
            let stopped = outcomes.filter { $0.result == .stopped }.count
            try session.conclude(outcomes, format: format) { good in
                guard stopped > 0 else { return "nothing to do: no VM ran" }
                return "\(stopped) VM\(stopped == 1 ? "" : "s") stopped"
                    + (good > stopped ? ", \(good - stopped) did not run" : "")
            }
        }
    }
}

/// A duration on the command line, in the lab file's spelling.
struct TimeLimit: ExpressibleByArgument {
    var milliseconds: UInt64

    init(milliseconds: UInt64) { self.milliseconds = milliseconds }

    init?(argument: String) {
        guard let limit = try? TimeLimit.parse(argument) else { return nil }
        self = limit
    }

    /// Reads a duration; what is wrong with it is said as the lab file says it.
    static func parse(_ text: String) throws -> TimeLimit {
        if text == "0" { return TimeLimit(milliseconds: 0) }
        let reason: String
        switch LabDuration.parse(text) {
        case .success(let duration): return TimeLimit(milliseconds: duration.milliseconds)
        case .failure(.notANumber): reason = "it does not begin with a number"
        case .failure(.missingUnit): reason = "the unit is missing; did you mean '\(text)s'?"
        case .failure(.unknownUnit(let unit)): reason = "the unit '\(unit)' is not known"
        case .failure(.tooLong): reason = "it is more than a year"
        }
        throw ValidationError("'\(text)' is not a duration: \(reason) Write 90s, 2m or 1h30m.")
    }

    var defaultValueDescription: String { LabDuration(milliseconds: milliseconds).description }
}
