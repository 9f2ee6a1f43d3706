import ArgumentParser
import Orchestrator

/// `labctl build`.
struct BuildCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "build", abstract: "Makes images of the lab file, without starting its VMs.",
        discussion: """
            Downloads, converts and builds what is named, or every image of the lab file, with what these are made from. \
            What is in the cache already stays. Each line of the output is an image and where it lies.

            While an image is built by running a VM, and with --keep after that has failed, the VM is called build:IMAGE: \
            'console', 'logs', 'send', 'exec' and 'screenshot' work with it, 'destroy build:IMAGE' removes it.

              labctl build
              labctl build class.lab.yaml patched --keep

            Exits with 1 when an image could not be made.
            """)

    @OptionGroup var lab: LabArguments
    @OptionGroup var progress: ProgressOptions

    @Flag(help: "Leaves the VM of a build that fails running, for a look.")
    var keep = false

    @Option(help: "text or json.")
    var format: TableFormat = .text

    func run() throws {
        try LabSession.run(lab, progress: progress.progress, waits: progress.wait, checksFiles: true) { session in
            let images = try session.orchestrator.build(lab.vmNames, keepsFailed: keep)
            session.endProgress()
            switch format {
            case .json: JSONOutput.write(images)
            case .text:
                for image in images { if let path = image.path { print("\(image.name)\t\(path)") } }
            }
            let failures = images.compactMap(\.failure)
            for failure in failures { session.complain(failure) }
            if !failures.isEmpty { throw ExitCode.failure }
        }
    }
}
