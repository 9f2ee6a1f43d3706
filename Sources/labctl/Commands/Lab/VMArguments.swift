import ArgumentParser

/// A verb about one VM, with words behind its name: `[FILE.yaml] VM WORD…`.
struct VMArguments: ParsableArguments {
    @Argument(
        help: ArgumentHelp("The lab file (optional), the VM, and what the verb takes.", valueName: "words"),
        completion: LabCompletion.filesAndVMs)
    var words: [String] = []

    @OptionGroup var selection: LabSelection

    @Option(help: "When output is coloured: auto, always or never.")
    var color: ColorChoice = .auto

    /// The lab file, the VM's name and the rest.
    func parts() throws -> (lab: LabArguments, vm: String, rest: [String]) {
        try VMArguments.parts(of: words, options: selection.words + ["--color", color.rawValue])
    }

    /// - Parameter options: what the lab file is read with.
    static func parts(
        of words: [String], options: [String]
    ) throws -> (lab: LabArguments, vm: String, rest: [String]) {
        var rest = words[...]
        var file: [String] = []
        if let first = rest.first, LabArguments.isFile(first) {
            file = [String(rest.removeFirst())]
        }
        guard let vm = rest.popFirst() else { throw ValidationError("give the name of a VM") }
        return (try LabArguments.parse(file + options), vm, Array(rest))
    }
}
