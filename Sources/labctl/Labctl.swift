import ArgumentParser

@main
struct Labctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "labctl", abstract: "Brings up labs of virtual PCs from a YAML file.",
        subcommands: [
            InitCommand.self,
            ValidateCommand.self,
            SchemaCommand.self,
            ImageCommand.self,
        ])

    static func main() {
        if QEMUImgLink.isActive { QEMUImgLink.run() }
        main(nil)
    }
}
