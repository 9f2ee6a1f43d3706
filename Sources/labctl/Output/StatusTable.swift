import Foundation
import Orchestrator
import VMProtocol

/// The VMs of a lab as `status` and `top` show them.
struct StatusTable {
    var statuses: [VMStatus]
    /// What VMs take of the host, where it was measured.
    var usage: [String: VMUsage]?
    /// Whether the column of sandboxes is shown.
    var showsSandbox = false

    func rendered(usesColor: Bool) -> String {
        var titles = ["VM", "STATE", "FOR"]
        if usage != nil { titles += ["CPU", "USED"] }
        titles += ["MEMORY", "DISKS"]
        if showsSandbox { titles.append("SANDBOX") }
        var table = Table(titles + ["NOTE"])
        for vm in statuses { table.add(cells(vm)) }
        return table.rendered(usesColor: usesColor)
    }

    private func cells(_ vm: VMStatus) -> [StyledText] {
        let time = vm.since.map { Humanized.seconds(max(0, WallClock.now - $0)) } ?? ""
        let disks = vm.disks.map { "\($0.slot) \(Humanized.bytes($0.allocatedBytes))" }.joined(separator: ", ")
        var cells = [StyledText(vm.name), StyledText(vm.state.rawValue, vm.state.style), StyledText(time)]
        if let usage {
            let one = usage[vm.name]
            cells.append(StyledText(one.map { "\(Int($0.cpuPercent.rounded())) %" } ?? ""))
            cells.append(StyledText(one.map { Humanized.bytes($0.memoryBytes) } ?? ""))
        }
        cells += [StyledText(Humanized.bytes(vm.memoryBytes)), StyledText(disks)]
        if showsSandbox { cells.append(StyledText(vm.sandbox ?? "")) }
        return cells + [StyledText(vm.note ?? "")]
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

/// A table that is shown again and again until Ctrl-C.
struct WatchedTable {
    let session: LabSession
    let names: [String]
    var sortsByCPU = false

    private static let intervalMicroseconds: UInt32 = 100_000
    private static let looksPerInterval = 20

    func run() throws {
        let meter = UsageMeter()
        let isTerminal = isatty(STDOUT_FILENO) == 1
        while !session.interruption.isRequested {
            var statuses = try session.orchestrator.status(names)
            let usage = meter.measure(statuses.map { session.orchestrator.folder.vm($0.name) })
            if sortsByCPU {
                statuses.sort { (usage[$0.name]?.cpuPercent ?? -1) > (usage[$1.name]?.cpuPercent ?? -1) }
            }
            let table = StatusTable(statuses: statuses, usage: usage).rendered(usesColor: session.usesColor)
            // Home, and clear to the end of the screen (ECMA-48): nothing flickers.
            StandardOutput.write(Array((isTerminal ? "\u{1B}[H\u{1B}[J" + table : table + "\n").utf8))
            StandardOutput.flush()
            for _ in 0..<Self.looksPerInterval where !session.interruption.isRequested {
                usleep(Self.intervalMicroseconds)
            }
        }
    }
}
