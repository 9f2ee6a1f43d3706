import ArgumentParser
import Foundation
import Images
import LabSpec

/// `labctl init`: a lab file to start from.
struct InitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Writes a commented starter lab file.",
        discussion: """
            Without options the file is valid as it stands: a VM with an empty disk. Ways to an operating system:

              labctl init --debian                        Debian 12 from its packages: writes make-debian-image too,
                                                          which makes the disk with mmdebstrap, without root
              labctl init --image debian.qcow2            an image that you have
              labctl init --url https://… --sha256 …      an image that is downloaded, such as a distribution's cloud image
              labctl init --cdrom netinst.iso             an installer's CD and an empty disk
            """)

    @Argument(help: "The file to write; '-' prints it.")
    var file = "lab.yaml"

    @Option(help: "A disk image that the VMs get overlays of.")
    var image: String?

    @Flag(help: "A Debian made from its packages, with a script beside the lab file that makes it.")
    var debian = false

    @Option(help: "The address of a disk image; with --sha256.")
    var url: String?

    @Option(name: .customLong("sha256"), help: "The SHA-256 digest of what --url gives.")
    var digest: String?

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

    func validate() throws {
        let ways = [debian, image != nil, url != nil].filter { $0 }.count
        if ways > 1 { throw ValidationError("--debian, --image and --url exclude one another") }
        if (url == nil) != (digest == nil) { throw ValidationError("--url and --sha256 belong together") }
        if debian, cdrom != nil { throw ValidationError("--debian and --cdrom exclude one another") }
    }

    func run() throws {
        let lower = file.lowercased()
        guard file == "-" || lower.hasSuffix(".yaml") || lower.hasSuffix(".yml") else {
            throw ValidationError(
                "a lab file's name ends in .yaml: write '\(file).yaml', or '\(file).lab.yaml' beside other labs")
        }
        let text = starterText
        // What `init` writes is valid; whoever gave a name that cannot be one hears of it now.
        let check = LabFile.load(
            text: text, fileName: file, realPath: "/lab.yaml", variables: LabVariables(), checksFiles: false)
        if let problem = check.diagnostics.first(where: { $0.severity == .error }) {
            throw ValidationError(problem.message + (problem.help.map { "; \($0)" } ?? ""))
        }
        if file == "-" {
            print(text, terminator: "")
            return
        }
        if debian {
            let script = URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent(
                DebianLab.scriptName)
            try write(DebianLab.script, to: script.relativePath, mode: 0o755)
            try write(text, to: file, mode: 0o644)
            print("wrote \(file) and \(script.relativePath); run the script once, then `labctl up`")
        } else {
            try write(text, to: file, mode: 0o644)
            print("wrote \(file); check it with `labctl validate \(file)`")
        }
    }

    private var starterText: String {
        let name = name ?? folderName
        if debian { return DebianLab.text(name: name) }
        return StarterLab(
            name: name, image: image, imageFormat: imageFormat, cdrom: cdrom, url: url, sha256: digest
        ).text
    }

    private func write(_ text: String, to file: String, mode: mode_t) throws {
        // Without `force` an existing file stays, also one that appears at this moment.
        let flags = O_WRONLY | O_CREAT | O_CLOEXEC | (force ? O_TRUNC : O_EXCL)
        let descriptor = open(file, flags, mode)
        guard descriptor >= 0 else {
            let code = errno
            if code == EEXIST {
                throw Failure(description: "\(file) exists already; --force overwrites it")
            }
            throw Failure(description: "\(file) cannot be written: \(String(cString: strerror(code)))")
        }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        try handle.write(contentsOf: Data(text.utf8))
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
