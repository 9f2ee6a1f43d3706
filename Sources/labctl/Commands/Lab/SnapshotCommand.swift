import ArgumentParser
import Foundation
import Orchestrator

/// `labctl snapshot`.
struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Keeps VMs as they are, memory included; lists and removes what was kept.",
        subcommands: [SnapshotMake.self, SnapshotList.self, SnapshotRemove.self, SnapshotCheck.self],
        defaultSubcommand: SnapshotMake.self)
}

/// `labctl snapshot [VM…] NAME`.
struct SnapshotMake: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "make", abstract: "Keeps VMs under a name: snapshot [FILE.yaml] [VM…] NAME.",
        discussion: """
            All VMs stop at one instant, are kept with memory and disks, and go on. VMs that are off are kept with their \
            disks. 'restore NAME' goes back; 'down', 'up' and 'reset' in between do not lose it. Without names of VMs it \
            is the whole lab.
            """)

    @OptionGroup var lab: LabArguments
    @OptionGroup var progress: ProgressOptions

    @Option(help: "How the result is printed on standard output: text (nothing) or json.")
    var format: TableFormat = .text

    func validate() throws {
        if lab.vmNames.isEmpty { throw ValidationError("give a name for the snapshot: snapshot [VM…] NAME") }
    }

    func run() throws {
        try LabSession.run(lab, progress: progress.progress, waits: progress.wait) { session in
            let words = lab.vmNames
            let report = try session.orchestrator.snapshot(Array(words.dropLast()), as: words.last ?? "")
            session.endProgress()
            guard format == .text else { return JSONOutput.write(report) }
            let count = report.vms.count
            StandardError.line(
                "\(count) VM\(count == 1 ? "" : "s") kept as '\(report.name)' (\(Humanized.bytes(report.allocatedBytes))); "
                    + "stood still for \(Int(report.stoodMilliseconds.rounded())) ms")
            if !report.skipped.isEmpty {
                StandardError.line("never brought up, so not in it: \(report.skipped.joined(separator: ", "))")
            }
        }
    }
}

/// What `labctl snapshots` and `labctl snapshot ls` take and print.
struct SnapshotListing: ParsableArguments {
    @OptionGroup var lab: LabArguments

    @Option(help: "text or json.")
    var format: TableFormat = .text

    func show() throws {
        try LabSession.run(lab) { session in
            let list = session.orchestrator.snapshots()
            guard format == .text else { return JSONOutput.write(list) }
            guard !list.isEmpty else { return StandardError.line("no snapshots; 'labctl snapshot NAME' makes one") }
            var table = Table(["NAME", "AGE", "VMS", "RUNNING", "SIZE"])
            let now = Date().timeIntervalSince1970
            for entry in list {
                table.add([
                    StyledText(entry.name), StyledText(entry.madeAt.map { Humanized.seconds(now - $0) } ?? "?"),
                    StyledText(entry.fault ?? "\(entry.vms.count)", entry.fault == nil ? .plain : .red),
                    StyledText("\(entry.running)"), StyledText(Humanized.bytes(entry.allocatedBytes)),
                ])
            }
            print(table.rendered(usesColor: session.usesColor), terminator: "")
        }
    }
}

/// `labctl snapshots`.
struct SnapshotsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshots", abstract: "Lists the snapshots of the lab.")

    @OptionGroup var listing: SnapshotListing

    func run() throws { try listing.show() }
}

/// `labctl snapshot ls`.
struct SnapshotList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "Lists the snapshots of the lab.", aliases: ["list"])

    @OptionGroup var listing: SnapshotListing

    func run() throws { try listing.show() }
}

/// `labctl snapshot rm`.
struct SnapshotRemove: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Forgets snapshots: snapshot rm [FILE.yaml] NAME….",
        discussion: "Frozen disks on which VMs or other snapshots stand stay as long as they do.")

    @OptionGroup var lab: LabArguments
    @OptionGroup var progress: ProgressOptions

    func validate() throws {
        if lab.vmNames.isEmpty { throw ValidationError("give the names of snapshots") }
    }

    func run() throws {
        try LabSession.run(lab, progress: progress.progress, waits: progress.wait) { session in
            for name in lab.vmNames { try session.orchestrator.removeSnapshot(name) }
        }
    }
}

/// `labctl snapshot check`.
struct SnapshotCheck: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Reads snapshots and compares every checksum: snapshot check [FILE.yaml] [NAME…].",
        discussion:
            "A restore reads memory when it is used and does not compare it. Exits with 1 when something is wrong.")

    @OptionGroup var lab: LabArguments

    func run() throws {
        try LabSession.run(lab) { session in
            let names = lab.vmNames.isEmpty ? session.orchestrator.snapshots().map(\.name) : lab.vmNames
            var isWhole = true
            for name in names {
                let faults = try session.orchestrator.checkSnapshot(name)
                for fault in faults { session.complain("snapshot '\(name)': \(fault)") }
                isWhole = isWhole && faults.isEmpty
            }
            guard isWhole else { throw ExitCode.failure }
            StandardError.line("\(names.count) snapshot\(names.count == 1 ? "" : "s") whole")
        }
    }
}

/// `labctl restore`.
struct RestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Puts VMs back to a snapshot: restore [FILE.yaml] [VM…] NAME.",
        discussion: """
            What the VMs are now is lost: their memory and what they wrote since. VMs that are down come back running if \
            they ran then. Without names of VMs it is all that the snapshot has.
            """)

    @OptionGroup var lab: LabArguments
    @OptionGroup var progress: ProgressOptions
    @OptionGroup var start: StartArguments

    @Option(help: "How the result is printed on standard output: text (nothing) or json.")
    var format: TableFormat = .text

    func validate() throws {
        if lab.vmNames.isEmpty { throw ValidationError("give the name of a snapshot: restore [VM…] NAME") }
    }

    func run() throws {
        try LabSession.run(lab, progress: progress.progress, waits: progress.wait, checksFiles: true) { session in
            let words = lab.vmNames
            let outcomes = try session.orchestrator.restore(
                words.last ?? "", Array(words.dropLast()), options: try start.options())
            try session.conclude(outcomes, format: format) { "\($0) VM\($0 == 1 ? "" : "s") put back" }
        }
    }
}
