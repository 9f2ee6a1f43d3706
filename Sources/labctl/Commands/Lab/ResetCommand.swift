import ArgumentParser
import Orchestrator

/// `labctl reset`.
struct ResetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset", abstract: "Gives VMs fresh overlays; VMs that run come back running.",
        discussion: "What a VM wrote to its overlays is gone. Disks in 'direct' mode are not touched.")

    @OptionGroup var lab: LabArguments
    @OptionGroup var progress: ProgressOptions
    @OptionGroup var start: StartArguments

    @Option(help: ArgumentHelp("Goes back to this snapshot, as 'restore' does.", valueName: "NAME"))
    var to: String?

    @Option(help: "How the result is printed on standard output: text (nothing) or json.")
    var format: TableFormat = .text

    func run() throws {
        try LabSession.run(lab, progress: progress.progress, waits: progress.wait, checksFiles: true) { session in
            let options = try start.options()
            let outcomes =
                try to.map { try session.orchestrator.restore($0, lab.vmNames, options: options) }
                ?? session.orchestrator.reset(lab.vmNames, options: options)
            try session.conclude(outcomes, format: format) { "\($0) VM\($0 == 1 ? "" : "s") reset" }
        }
    }
}
