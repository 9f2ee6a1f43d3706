import ArgumentParser
import Glibc

@main
struct Labctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "labctl", abstract: "Brings up labs of virtual PCs from a YAML file.",
        groupedSubcommands: [
            CommandGroup(
                name: "Lab file",
                subcommands: [InitCommand.self, ValidateCommand.self, SchemaCommand.self]),
            CommandGroup(
                name: "Lab",
                subcommands: [
                    PlanCommand.self, UpCommand.self, DownCommand.self, ResetCommand.self, DestroyCommand.self,
                    StatusCommand.self, ListCommand.self, EventsCommand.self, GraphCommand.self, PruneCommand.self,
                ]),
            CommandGroup(
                name: "One VM",
                subcommands: [
                    ConsoleCommand.self, LogsCommand.self, SendCommand.self, WaitCommand.self, ExecCommand.self,
                    ScreenshotCommand.self, RunCommand.self,
                ]),
            CommandGroup(name: "Images", subcommands: [ImageCommand.self]),
        ])

    static func main() {
        // A reader that went away and a file that may not grow are errors of one write, not the end of the program.
        for number in [SIGPIPE, SIGXFSZ] { signal(number, SIG_IGN) }
        if QEMUImgLink.isActive { QEMUImgLink.run() }
        main(nil)
    }
}
