import ArgumentParser
import Foundation
import Orchestrator

/// `labctl destroy`.
struct DestroyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "destroy", abstract: "Removes VMs with their overlays, logs and records; never a golden image.",
        discussion: "On a terminal it asks first, unless --yes is given. VMs that run are stopped without asking them.")

    @OptionGroup var lab: LabArguments
    @OptionGroup var progress: ProgressOptions

    @Flag(name: .shortAndLong, help: "Does not ask.")
    var yes = false

    @Option(help: "How the result is printed on standard output: text (nothing) or json.")
    var format: TableFormat = .text

    func run() throws {
        try LabSession.run(lab, progress: progress.progress, waits: progress.wait) { session in
            guard yes || isatty(STDIN_FILENO) == 0 || isConfirmed(session) else {
                StandardError.line("nothing removed")
                throw ExitCode.failure
            }
            let outcomes = try session.orchestrator.destroy(lab.vmNames)
            try session.conclude(outcomes, format: format) { "\($0) VM\($0 == 1 ? "" : "s") removed" }
        }
    }

    private func isConfirmed(_ session: LabSession) -> Bool {
        let what =
            lab.vmNames.isEmpty
            ? "all VMs of lab '\(session.orchestrator.lab.name)'" : lab.vmNames.joined(separator: ", ")
        let kept = lab.vmNames.isEmpty ? session.orchestrator.snapshots().map(\.name) : []
        if !kept.isEmpty { StandardError.line("its snapshots go with it: \(kept.joined(separator: ", "))") }
        var stream = StandardError()
        stream.write("remove \(what) with everything they wrote? [y/N] ")
        return readLine()?.lowercased().hasPrefix("y") == true
    }
}
