import ArgumentParser
import Foundation
import Orchestrator

/// `labctl plan`.
struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Shows what 'up' would make, start, restart or leave; changes nothing.")

    @OptionGroup var lab: LabArguments
    @OptionGroup var progress: ProgressOptions

    @Option(help: "text or json.")
    var format: TableFormat = .text

    @Flag(help: "Exits with 2 when 'up' would change something.")
    var exitCode = false

    func run() throws {
        try LabSession.run(lab, progress: progress.progress, checksFiles: true) { session in
            let plan = try session.orchestrator.plan(lab.vmNames)
            for warning in plan.warnings { StandardError.line("warning: \(warning)") }
            switch format {
            case .json: JSONOutput.write(plan.actions)
            case .text:
                var table = Table(["ACTION", "WHAT", "WHY"])
                for action in plan.actions {
                    table.add([
                        StyledText(action.kind.rawValue, action.kind.style), StyledText(action.subject),
                        StyledText(action.detail),
                    ])
                }
                print(table.rendered(usesColor: session.usesColor), terminator: "")
            }
            if exitCode, plan.hasChanges { throw ExitCode.changesPending }
        }
    }
}

extension Action.Kind {
    fileprivate var style: StyledText.Style {
        switch self {
        case .makeImage, .createOverlay, .start: .green
        case .restart, .awaitReady: .yellow
        case .refuse: .red
        case .leave: .dim
        }
    }
}
