import ArgumentParser

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
                    StatusCommand.self, ListCommand.self, EventsCommand.self,
                ]),
            CommandGroup(
                name: "One VM",
                subcommands: [
                    ConsoleCommand.self, LogsCommand.self, SendCommand.self, WaitCommand.self, ExecCommand.self,
                    ScreenshotCommand.self,
                ]),
            CommandGroup(name: "Images", subcommands: [ImageCommand.self]),
        ])

    static func main() {
        if QEMUImgLink.isActive { QEMUImgLink.run() }
        main(nil)
    }
}
