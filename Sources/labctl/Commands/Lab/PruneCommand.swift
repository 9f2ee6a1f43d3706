import ArgumentParser
import Foundation
import Orchestrator

/// `labctl prune`.
struct PruneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune", abstract: "Removes what no lab needs: made images, overlays of labs whose file is gone.",
        discussion: """
            Shows what it would remove and how much that frees; --yes removes it. Overlays of a lab whose file is gone, or \
            was moved, are removed with --labs only.
            """)

    @Flag(name: .shortAndLong, help: "Removes.")
    var yes = false

    @Flag(help: "Labs whose file is gone too, with the overlays of their VMs.")
    var labs = false

    @Option(help: "text or json.")
    var format: TableFormat = .text

    @Option(help: "When output is coloured: auto, always or never.")
    var color: ColorChoice = .auto

    func run() throws {
        try LabSession.reporting(color: color) { _ in
            let state = try StateDirectory()
            for hindrance in state.pruneHindrances() {
                StandardError.line("warning: \(hindrance); no made image is removed as long as that is so")
            }
            let found = state.prunable()
            if format == .json {
                JSONOutput.write(found)
            } else if !found.isEmpty {
                var table = Table(["KIND", "SIZE", "PATH"])
                for item in found {
                    table.add([
                        StyledText(item.kind.rawValue), StyledText(Humanized.bytes(item.allocatedBytes)),
                        StyledText(item.path),
                    ])
                }
                print(table.rendered(usesColor: color.isOn(for: STDOUT_FILENO)), terminator: "")
            }
            let chosen = found.filter { labs || $0.kind != .lab }
            if chosen.count < found.count { StandardError.line("labs whose file is gone are removed with --labs only") }
            let total = Humanized.bytes(chosen.reduce(0) { $0 + $1.allocatedBytes })
            guard !found.isEmpty else { return StandardError.line("nothing to remove") }
            guard yes else { return StandardError.line("\(total) can be freed; --yes removes these") }
            try state.prune(chosen)
            StandardError.line("\(total) freed")
        }
    }
}
