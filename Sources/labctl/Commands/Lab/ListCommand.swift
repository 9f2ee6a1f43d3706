import ArgumentParser
import Foundation
import Orchestrator

/// `labctl ls`.
struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "Lists the labs of this user.", aliases: ["list"])

    @Option(help: "text or json.")
    var format: TableFormat = .text

    @Option(help: "When output is coloured: auto, always or never.")
    var color: ColorChoice = .auto

    func run() throws {
        try LabSession.reporting(color: color) { _ in
            let labs = try StateDirectory().summaries()
            guard format == .text else { return JSONOutput.write(labs) }
            var table = Table(["LAB", "VMS", "RUNNING", "DISK", "FILE"])
            for lab in labs {
                table.add([
                    StyledText(lab.name + (lab.project.map { " (\($0))" } ?? "")), StyledText("\(lab.vms)"),
                    StyledText("\(lab.running)", lab.running > 0 ? .green : .dim),
                    StyledText(Humanized.bytes(lab.allocatedBytes)),
                    StyledText(lab.note ?? lab.file + (lab.fileExists ? "" : " (gone)")),
                ])
            }
            print(table.rendered(usesColor: color.isOn(for: STDOUT_FILENO)), terminator: "")
        }
    }
}
