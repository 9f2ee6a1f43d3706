import ArgumentParser
import Foundation
import LabSpec
import Orchestrator

/// `labctl commit`.
struct CommitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commit", abstract: "Makes a golden image of a VM's disk.",
        discussion: """
            The VM is prepared by hand, powered off, and what is on its disk becomes an image that stands alone: without the \
            image below it and without clusters of zeros. A NAME without a '/' or a '.' is a file NAME.qcow2 beside the lab \
            file, in its folder 'images' where it has one. Printed is the entry for 'images' of a lab file.

              labctl console teacher            (install, configure, power off)
              labctl down teacher
              labctl commit teacher prepared --compress
            """)

    @OptionGroup var words: VMArguments

    @Option(help: "The disk: hda, hdb, hdc or hdd.")
    var slot = "hda"

    @Flag(help: "Compresses the image.")
    var compress = false

    @Flag(name: .shortAndLong, help: "Replaces a file that is there, unless disks of VMs stand on it.")
    var force = false

    @Option(help: "text or json.")
    var format: TableFormat = .text

    func run() throws {
        let (lab, name, rest) = try words.parts()
        guard rest.count == 1 else { throw ValidationError("give a VM and the name of the image") }
        guard let slot = DiskSlot(rawValue: slot) else {
            throw ValidationError("--slot is hda, hdb, hdc or hdd, not '\(slot)'")
        }
        try LabSession.run(lab) { session in
            let path = CommitCommand.path(rest[0], labFile: session.orchestrator.lab.path)
            let image = try session.orchestrator.commit(
                name, slot: slot, to: path, compress: compress, replaces: force)
            session.endProgress()
            switch format {
            case .json: JSONOutput.write(image)
            case .text:
                let key = URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
                print("  \(key):\n    path: \(path)\n    format: qcow2\n    sha256: \(image.sha256)")
            }
            StandardError.line("\(path): \(Humanized.bytes(image.allocatedBytes))")
        }
    }

    /// The file that a name means.
    static func path(_ name: String, labFile: String) -> String {
        if name.contains("/") || name.contains(".") { return Folder.absolute(name) }
        let folder = URL(fileURLWithPath: labFile).deletingLastPathComponent().path
        let images = folder + "/images"
        return (Folder.isFolder(images) ? images : folder) + "/\(name).qcow2"
    }
}
