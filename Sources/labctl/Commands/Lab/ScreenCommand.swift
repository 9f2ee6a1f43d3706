import ArgumentParser
import Foundation
import Orchestrator

/// `labctl screen`.
struct ScreenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "screen", abstract: "Prints what can be read on a VM's screen.",
        discussion: """
            In text modes that is what the guest wrote; in graphics modes, text in the font of the VGA BIOS is recognised, as \
            firmware, boot menus and Linux's console draw it. A screen without such text prints nothing and exits with 1. \
            `labctl screenshot` saves a picture.

              labctl screen student-01
              labctl wait --screen student-01 'login: '
              labctl send student-01 --keys ctrl-alt-delete
            """)

    @OptionGroup var words: VMArguments

    @Flag(help: "The text, which is what is printed anyway.")
    var text = false

    @Option(help: "text or json.")
    var format: TableFormat = .text

    func run() throws {
        let (lab, name, rest) = try words.parts()
        guard rest.isEmpty else { throw ValidationError("screen takes one VM, not also '\(rest[0])'") }
        try LabSession.run(lab, progress: .quiet) { session in
            let vm = try session.vm(name)
            let reading = try Screen(vm).read()
            if format == .json { return JSONOutput.write(reading) }
            guard !(reading.graphics && reading.rows.isEmpty) else {
                throw OrchestratorError(
                    .vm, "the screen of \(vm.name) shows no text that can be read; 'labctl screenshot' saves a picture")
            }
            var rows = reading.rows[...]
            while rows.last?.isEmpty == true { rows.removeLast() }
            for row in rows { print(row) }
        }
    }
}
