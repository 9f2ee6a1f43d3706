import ArgumentParser
import Foundation
import LabSpec
import Orchestrator

/// `labctl pack`.
struct PackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pack", abstract: "Makes one file of a lab, to be given away: lab file, images, digests.",
        discussion: """
            Everything that the lab file names has to lie in its folder or below. Images with a 'url' are not packed: they are \
            downloaded where the lab is brought up. Whoever gets the file brings it up as it is; variables mean what they mean \
            now unless they are set there.

              labctl pack class.lab.yaml
              labctl up class.labz
            """)

    @OptionGroup var lab: LabArguments

    @Option(name: .shortAndLong, help: "The file to write (default: the lab's name with .labz, here).")
    var output: String?

    @Flag(name: .shortAndLong, help: "Replaces a file that is there.")
    var force = false

    func validate() throws {
        if let name = lab.vmNames.first {
            throw ValidationError("pack takes a lab file, not also '\(name)'; -o names the file to write")
        }
        if let output, !output.hasSuffix(PackedLab.ending) {
            throw ValidationError("a packed lab's name ends in \(PackedLab.ending), not '\(output)'")
        }
        if lab.selection.labName != nil { throw ValidationError("pack takes a lab file; leave out --lab") }
    }

    func run() throws {
        try LabSession.reporting(color: lab.color) { interruption in
            let loaded = LabFile.load(path: try lab.labFilePath(), variables: lab.variables, checksFiles: true)
            lab.show(loaded)
            let display = ProgressMode.auto.display(usesColor: lab.color.isOn(for: STDERR_FILENO))
            defer { display.finish() }
            guard
                let packer = LabPacker(loaded, interruption: interruption, progress: { display.show($0) }),
                let name = loaded.lab?.name
            else { throw ExitCode.labFileInvalid }
            let path = Folder.absolute(output ?? name + PackedLab.ending)
            guard force || !Folder.exists(path) else {
                throw OrchestratorError(.host, "\(path) is there already; --force replaces it")
            }
            let count = try packer.write(to: path)
            display.finish()
            print(path)
            StandardError.line("\(count) files, \(Humanized.bytes(Folder.allocatedBytes(path)))")
        }
    }
}
