import ArgumentParser
import LabSpec

/// `labctl schema`: the lab file's JSON Schema.
struct SchemaCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "schema", abstract: "Prints the lab file's JSON Schema (draft-07), for editors.",
        discussion: """
            Save it and name it in the first line of a lab file, and editors with a YAML language server complete and check keys:
              # yaml-language-server: $schema=lab.schema.json
            """)

    @Flag(help: "Prints the tables of keys and diagnostics as Markdown instead.")
    var markdown = false

    func run() {
        print(markdown ? LabGuide.keys + "\n" + LabGuide.codes : LabSchema.text, terminator: "")
    }
}
