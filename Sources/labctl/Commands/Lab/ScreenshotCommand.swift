import ArgumentParser
import Foundation
import Orchestrator

/// `labctl screenshot`.
struct ScreenshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "screenshot", abstract: "Saves a VM's screen as a picture.")

    @OptionGroup var words: VMArguments

    @Option(name: .shortAndLong, help: "The file: .png or .ppm (default: VM.png).")
    var output: String?

    func run() throws {
        let (lab, name, rest) = try words.parts()
        guard rest.isEmpty else { throw ValidationError("screenshot takes one VM, not also '\(rest[0])'") }
        try LabSession.run(lab, progress: .quiet) { session in
            let vm = try session.vm(name)
            let file = output ?? "\(vm.name).png"
            let suffix = file.lowercased().split(separator: ".").last.map(String.init) ?? ""
            guard ["png", "ppm"].contains(suffix) else {
                throw ValidationError("'\(file)': pictures are written as .png or .ppm")
            }
            let path = URL(fileURLWithPath: file).path
            try Screenshot.save(vm, to: path, format: suffix)
            StandardError.line("wrote \(file)")
        }
    }
}
