import ArgumentParser
import Foundation
import Orchestrator
import VMProtocol

/// `labctl status`.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows the VMs of a lab and how they are.")

    @OptionGroup var lab: LabArguments

    @Option(help: "text or json.")
    var format: TableFormat = .text

    @Flag(help: "Also asks each running VM what of its sandbox holds.")
    var stats = false

    func run() throws {
        try LabSession.run(lab, progress: .quiet) { session in
            let statuses = try session.orchestrator.status(lab.vmNames, withStatistics: stats)
            guard format == .text else { return JSONOutput.write(statuses) }
            var table = Table(["VM", "STATE", "FOR", "MEMORY", "DISKS"] + (stats ? ["SANDBOX"] : []) + ["NOTE"])
            for vm in statuses {
                let time = vm.since.map { Humanized.seconds(max(0, WallClock.now - $0)) } ?? ""
                let disks = vm.disks.map { "\($0.slot) \(Humanized.bytes($0.allocatedBytes))" }.joined(separator: ", ")
                var cells = [
                    StyledText(vm.name), StyledText(vm.state.rawValue, vm.state.style), StyledText(time),
                    StyledText(Humanized.bytes(vm.memoryBytes)), StyledText(disks),
                ]
                if stats { cells.append(StyledText(vm.sandbox ?? "")) }
                table.add(cells + [StyledText(vm.note ?? "")])
            }
            print(table.rendered(usesColor: session.usesColor), terminator: "")
        }
    }
}

extension VMPhase {
    fileprivate var style: StyledText.Style {
        switch self {
        case .ready: .green
        case .running: .cyan
        case .paused, .restarting: .yellow
        case .absent, .stopped: .dim
        case .failed, .killed, .unknown: .red
        }
    }
}
