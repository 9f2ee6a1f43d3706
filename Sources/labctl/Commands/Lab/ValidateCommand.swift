import ArgumentParser
import Foundation
import LabSpec
import Orchestrator

extension DiagnosticFormat: ExpressibleByArgument {}

/// `labctl validate`: everything that is wrong with a lab file, in one run.
struct ValidateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate", abstract: "Checks a lab file and reports everything that is wrong with it.",
        discussion: "Exits with 4 when there are errors, with 0 when there are none or warnings only.")

    @OptionGroup var lab: LabArguments

    @Option(help: "How to report: pretty, json, github or concise.")
    var format: DiagnosticFormat = .pretty

    @Flag(help: "Does not ask whether images, kernels and CDs exist.")
    var skipFiles = false

    @Flag(help: "Treats warnings as errors.")
    var strict = false

    func validate() throws {
        if lab.selection.labName != nil { throw ValidationError("validate checks a lab file; leave out --lab") }
        if lab.arguments.count > 1 {
            throw ValidationError("validate checks one lab file; give no names of VMs")
        }
    }

    func run() throws {
        // No VM can be meant here, so the one argument is the file, whatever its name: /dev/stdin too.
        let path = try lab.arguments.first ?? lab.labFilePath()
        var loaded = LabFile.load(
            path: path, variables: lab.variables, checksFiles: !skipFiles, checksSupport: true)
        if !skipFiles { try checkImages(of: &loaded) }
        let text = loaded.rendered(as: format, usesColor: lab.color.isOn(for: STDOUT_FILENO))
        if !text.isEmpty { print(text) }
        if format == .pretty { print(verdict(loaded)) }
        guard loaded.isValid, !strict || loaded.diagnostics.isEmpty else { throw ExitCode.labFileInvalid }
    }

    /// What `up` would say of the images: digests, formats, files that they name.
    private func checkImages(of loaded: inout LoadedLab) throws {
        guard let lab = loaded.lab else { return }
        var failures: [ImageReference: String] = [:]
        try LabSession.reporting(color: self.lab.color) { interruption in
            let state = try StateDirectory()
            failures = try LabOrchestrator(lab: lab, state: state, interruption: interruption, progress: { _ in })
                .unusableImages()
        }
        guard !failures.isEmpty else { return }
        for image in lab.images {
            guard let message = failures[.named(image.name)] else { continue }
            loaded.diagnostics.append(Diagnostic(.unusableImage, message, at: image.spans.name))
        }
        for (reference, message) in failures.sorted(by: { $0.value < $1.value }) {
            if case .path = reference { loaded.diagnostics.append(Diagnostic(.unusableImage, message, at: .fileStart)) }
        }
        loaded.lab = nil
    }

    private func verdict(_ loaded: LoadedLab) -> String {
        let name = loaded.source.fileName
        if let lab = loaded.lab {
            let warnings = loaded.summary.map { " (\($0))" } ?? ""
            let machines = count(lab.instances().count, "VM"), images = count(lab.images.count, "image")
            return (loaded.diagnostics.isEmpty ? "" : "\n")
                + "\(name): lab '\(lab.name)' is valid: \(machines), \(images)\(warnings)"
        }
        return "\n\(name): \(loaded.summary ?? "not valid")"
    }

    private func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
}
