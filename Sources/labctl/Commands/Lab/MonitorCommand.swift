import ArgumentParser
import Foundation
import Orchestrator

/// `labctl monitor`.
struct MonitorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "monitor", abstract: "Gives a command to a VM's monitor, as QEMU's has them.",
        discussion: """
            `help` lists the commands. What the monitor answers goes to standard output.

              labctl monitor student-01 info status
              labctl monitor student-01 system_reset
              labctl monitor student-01 sendkey ctrl-alt-delete

            Exits with 1 when the VM does not run or the monitor refuses.
            """)

    @OptionGroup var words: VMArguments

    func run() throws {
        let (lab, name, rest) = try words.parts()
        guard !rest.isEmpty else { throw ValidationError("give the monitor's command; 'help' lists them") }
        try LabSession.run(lab, progress: .quiet) { session in
            let answer = try QMPClient(session.vm(name)).execute(
                "human-monitor-command", ["command-line": .string(rest.joined(separator: " "))])
            guard let text = answer.stringValue, !text.isEmpty else { return }
            // The monitor is for people: that something failed is only in what it says.
            let line = text.trimmingCharacters(in: .whitespacesAndNewlines)
            for mark in ["Error: ", "unknown command"] where line.hasPrefix(mark) {
                throw OrchestratorError(
                    .vm, "\(name): \(mark == "Error: " ? String(line.dropFirst(mark.count)) : line)")
            }
            print(text, terminator: text.hasSuffix("\n") ? "" : "\n")
        }
    }
}
