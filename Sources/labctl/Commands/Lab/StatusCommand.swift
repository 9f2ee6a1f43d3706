import ArgumentParser
import Foundation
import Orchestrator
import VMProtocol

/// `labctl status`.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows the VMs of a lab and how they are.",
        discussion: """
            FOR is since when a VM runs, or has ended. --stats adds what it takes of the host: CPU, of one processor, and USED, \
            its share of memory (PSS where the kernel tells, else what is resident).

              labctl status student
              labctl status --watch
            """)

    @OptionGroup var lab: LabArguments

    @Option(help: "text or json.")
    var format: TableFormat = .text

    @Flag(help: "Also measures for a moment what each running VM takes, and asks what of its sandbox holds.")
    var stats = false

    @Flag(name: .shortAndLong, help: "Shows it again every two seconds, until Ctrl-C.")
    var watch = false

    func run() throws {
        if watch, format == .json {
            throw ValidationError("--watch shows a table; for programs there is 'labctl events'")
        }
        try LabSession.run(lab, progress: .quiet) { session in
            if watch { return try WatchedTable(session: session, names: lab.vmNames).run() }
            try StatusPrinter(session: session, names: lab.vmNames, measures: stats, format: format).run()
        }
    }
}

/// `labctl stats`.
struct StatsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats", abstract: "Shows what VMs take of the host: CPU, memory, disks.",
        discussion: """
            Once, measured for a moment, and what of its sandbox holds for each VM; 'labctl top' goes on measuring.

              labctl stats student
              labctl stats --format json
            """)

    @OptionGroup var lab: LabArguments

    @Option(help: "text or json.")
    var format: TableFormat = .text

    func run() throws {
        try LabSession.run(lab, progress: .quiet) { session in
            try StatusPrinter(session: session, names: lab.vmNames, measures: true, format: format).run()
        }
    }
}

/// Prints how VMs are, once.
private struct StatusPrinter {
    var session: LabSession
    var names: [String]
    /// Whether what they take of the host is measured.
    var measures: Bool
    var format: TableFormat

    /// How long CPU use is measured.
    private static let measureMicroseconds: UInt32 = 300_000

    func run() throws {
        var statuses = try session.orchestrator.status(names, withStatistics: measures)
        var usage: [String: VMUsage]?
        if measures {
            let meter = UsageMeter()
            let vms = statuses.map { session.orchestrator.folder.vm($0.name) }
            _ = meter.measure(vms)
            usleep(Self.measureMicroseconds)
            usage = meter.measure(vms)
        }
        for index in statuses.indices { statuses[index].usage = usage?[statuses[index].name] }
        guard format == .text else { return JSONOutput.write(statuses) }
        let table = StatusTable(statuses: statuses, usage: usage, showsSandbox: measures)
        print(table.rendered(usesColor: session.usesColor), terminator: "")
    }
}

/// `labctl top`.
struct TopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Shows what VMs take of the host, the busiest first, until Ctrl-C.")

    @OptionGroup var lab: LabArguments

    func run() throws {
        try LabSession.run(lab, progress: .quiet) { session in
            try WatchedTable(session: session, names: lab.vmNames, sortsByCPU: true).run()
        }
    }
}
