import ArgumentParser
import Orchestrator

/// `labctl up`.
struct UpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up", abstract: "Brings the lab up: images, overlays, VMs, each ready before those that need it.",
        discussion: """
            Run again, it changes only what differs: VMs that run as the lab file says are left alone, VMs whose \
            definition changed are restarted. With names of VMs, only those and what they depend on.

            Exits with 3 when some VMs failed, 5 when another labctl changes the lab, 6 when a VM did not become ready \
            in time.
            """)

    @OptionGroup var lab: LabArguments
    @OptionGroup var progress: ProgressOptions
    @OptionGroup var start: StartArguments

    @Flag(help: "Goes on with overlays whose record is lost or damaged, and the golden images as they are now.")
    var adopt = false

    @Option(help: "How the result is printed on standard output: text (nothing) or json.")
    var format: TableFormat = .text

    func run() throws {
        try LabSession.run(lab, progress: progress.progress, waits: progress.wait, checksFiles: true) { session in
            var options = try start.options()
            options.adoptsOverlays = adopt
            let outcomes = try session.orchestrator.up(lab.vmNames, options: options)
            try session.conclude(outcomes, format: format) { good in
                good == outcomes.count && outcomes.allSatisfy { $0.result == .unchanged }
                    ? "nothing to do: \(good) VM\(good == 1 ? "" : "s") up" : "\(good) VM\(good == 1 ? "" : "s") up"
            }
        }
    }
}

/// Options of the verbs that start VMs.
struct StartArguments: ParsableArguments {
    @Option(help: "How many VMs may boot at once (default: twice the processors, at least 4).")
    var parallel: Int?

    @Flag(help: "Returns when the VMs run, without waiting until they are ready.")
    var noWait = false

    @Flag(help: "Starts nothing where the host may lack memory, disk or open files; without it, that is a warning.")
    var strict = false

    func options() throws -> StartOptions {
        if let parallel, parallel < 1 { throw ValidationError("--parallel takes a number from 1 up, not \(parallel)") }
        var options = StartOptions(parallelBoots: parallel, waitsForReady: !noWait)
        options.isStrict = strict
        return options
    }
}
