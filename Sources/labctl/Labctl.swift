import ArgumentParser

@main
struct Labctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "labctl", abstract: "Brings up labs of virtual PCs from a YAML file.",
        subcommands: [
            InitCommand.self,
            ValidateCommand.self,
            SchemaCommand.self,
        ])
}
