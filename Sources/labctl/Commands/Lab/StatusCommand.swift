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

    func run() throws {
        try LabSession.run(lab, progress: .quiet) { session in
            let statuses = try session.orchestrator.status(lab.vmNames)
            guard format == .text else { return JSONOutput.write(statuses) }
            var table = Table(["VM", "STATE", "FOR", "MEMORY", "DISKS", "NOTE"])
            for vm in statuses {
                let time = vm.since.map { Humanized.seconds(max(0, WallClock.now - $0)) } ?? ""
                let disks = vm.disks.map { "\($0.slot) \(Humanized.bytes($0.allocatedBytes))" }.joined(separator: ", ")
                table.add([
                    StyledText(vm.name), StyledText(vm.state.rawValue, vm.state.style), StyledText(time),
                    StyledText(Humanized.bytes(vm.memoryBytes)), StyledText(disks), StyledText(vm.note ?? ""),
                ])
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
        case .paused: .yellow
        case .absent, .stopped: .dim
        case .failed, .killed, .unknown: .red
        }
    }
}
