import ArgumentParser
import Foundation
import Images
import LabSpec

/// `labctl init`: a lab file to start from.
struct InitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Writes a commented starter lab file.",
        discussion:
            "Without options the file is valid as it stands: a VM with an empty disk. Give an image to start from yours."
    )

    @Argument(help: "The file to write; '-' prints it.")
    var file = "lab.yaml"

    @Option(help: "A disk image that the VMs get overlays of.")
    var image: String?

    @Option(help: "An ISO for the CD drive.")
    var cdrom: String?

    @Option(help: "The lab's name; by default the folder's.")
    var name: String?

    @Flag(name: .shortAndLong, help: "Overwrites a file that exists.")
    var force = false

    /// The file cannot be written.
    private struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    func run() throws {
        let lower = file.lowercased()
        guard file == "-" || lower.hasSuffix(".yaml") || lower.hasSuffix(".yml") else {
            throw ValidationError(
                "a lab file's name ends in .yaml: write '\(file).yaml', or '\(file).lab.yaml' beside other labs")
        }
        let starter = StarterLab(name: name ?? folderName, image: image, imageFormat: imageFormat, cdrom: cdrom)
        // What `init` writes is valid; whoever gave a name that cannot be one hears of it now.
        let check = LabFile.load(
            text: starter.text, fileName: file, realPath: "/lab.yaml", variables: LabVariables(), checksFiles: false)
        if let problem = check.diagnostics.first(where: { $0.severity == .error }) {
            throw ValidationError(problem.message + (problem.help.map { "; \($0)" } ?? ""))
        }
        let text = starter.text
        if file == "-" {
            print(text, terminator: "")
            return
        }
        // Without `force` an existing file stays, also one that appears at this moment.
        let flags = O_WRONLY | O_CREAT | O_CLOEXEC | (force ? O_TRUNC : O_EXCL)
        let descriptor = open(file, flags, 0o644)
        guard descriptor >= 0 else {
            let code = errno
            if code == EEXIST {
                throw Failure(description: "\(file) exists already; --force overwrites it")
            }
            throw Failure(description: "\(file) cannot be written: \(String(cString: strerror(code)))")
        }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        try handle.write(contentsOf: Data(text.utf8))
        print("wrote \(file); check it with `labctl validate \(file)`")
    }

    /// The format of the image where it has to be written: a file that no format is recognised in is raw.
    private var imageFormat: String? {
        guard let image, let format = try? DiskImage.probe(image), format == "raw" else { return nil }
        return "raw"
    }

    /// The current folder's name, made a lab name.
    private var folderName: String {
        let folder = URL(fileURLWithPath: FileManager.default.currentDirectoryPath).lastPathComponent
        let name = folder.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") ? $0 : "-" }
        let start = name.drop { $0 == "-" || $0 == "_" }.prefix(48)
        return start.isEmpty ? "my-lab" : String(start)
    }
}
