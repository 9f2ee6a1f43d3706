import ArgumentParser
import Foundation
import LabSpec

/// What `--version` says.
enum LabctlVersion {
    static let text = "0.9.0"
}

@main
struct Labctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "labctl", abstract: "Brings up labs of virtual PCs from a YAML file.",
        version: "labctl \(LabctlVersion.text)",
        subcommands: [ManualCommand.self],
        groupedSubcommands: [
            CommandGroup(
                name: "Lab file",
                subcommands: [InitCommand.self, ValidateCommand.self, PackCommand.self, SchemaCommand.self]),
            CommandGroup(
                name: "Lab",
                subcommands: [
                    PlanCommand.self, UpCommand.self, DownCommand.self, ResetCommand.self, DestroyCommand.self,
                    StatusCommand.self, StatsCommand.self, TopCommand.self, ListCommand.self, CheckCommand.self,
                    EventsCommand.self,
                    BuildCommand.self, GraphCommand.self, PruneCommand.self, SnapshotCommand.self,
                    SnapshotsCommand.self, RestoreCommand.self, InventoryCommand.self,
                ]),
            CommandGroup(
                name: "One VM",
                subcommands: [
                    ConsoleCommand.self, LogsCommand.self, SendCommand.self, WaitCommand.self, ExecCommand.self,
                    CopyCommand.self, ScreenCommand.self, ScreenshotCommand.self, MonitorCommand.self,
                    CommitCommand.self,
                    RunCommand.self,
                ]),
            CommandGroup(name: "Images", subcommands: [ImageCommand.self]),
        ])

    static func main() {
        // A reader that went away and a file that may not grow are errors of one write, not the end of the program.
        for number in [SIGPIPE, SIGXFSZ] { signal(number, SIG_IGN) }
        if QEMUImgLink.isActive { QEMUImgLink.run() }
        let arguments = Array(CommandLine.arguments.dropFirst())
        if let complaint = complaint(about: arguments) { end(complaint, 64) }
        do {
            var command = try parseAsRoot(arguments)
            try command.run()
            end(nil, 0)
        } catch {
            let code = exitCode(for: error).rawValue
            let text = fullMessage(for: error)
            if code == 0 {
                if !text.isEmpty { print(text) }
                end(nil, 0)
            }
            // One spelling for all errors.
            end(text.hasPrefix("Error: ") ? "error: " + text.dropFirst(7) : text, code)
        }
    }

    /// Says the last thing and ends. Data that did not arrive makes a success a failure.
    private static func end(_ message: String?, _ code: Int32) -> Never {
        let lost = StandardOutput.finish()
        if let message, !message.isEmpty { StandardError.line(message) }
        if let lost {
            if !lost.isEmpty { StandardError.line("error: " + lost) }
            Foundation.exit(code == 0 ? 1 : code)
        }
        Foundation.exit(code)
    }

    /// What is wrong with a verb that does not exist; nil for everything else.
    static func complaint(about arguments: [String]) -> String? {
        let verbs = configuration.subcommands.flatMap { command in
            [command.configuration.commandName].compactMap { $0 } + command.configuration.aliases
        }
        let asked = arguments.first == "help" ? arguments.dropFirst().first : arguments.first
        guard let verb = asked, !verb.hasPrefix("-"), verb != "help", !verbs.contains(verb) else { return nil }
        let near =
            VerbHints.hint(for: verb).map { "; \($0)" }
            ?? Suggestion.nearest(to: verb, among: verbs.sorted()).map { "; did you mean '\($0)'?" } ?? ""
        return "error: there is no verb '\(verb)'\(near)\n  See 'labctl --help' for what there is."
    }
}
