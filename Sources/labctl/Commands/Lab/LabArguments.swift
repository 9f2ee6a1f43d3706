import ArgumentParser
import Foundation
import LabSpec
import Orchestrator

extension ExitCode {
    /// The lab file has errors.
    static let labFileInvalid = ExitCode(4)
}

/// What every lab verb takes: a lab file, names of VMs, variables.
///
/// An argument that ends in `.yaml`, `.yml` or `.labz` is the lab file, every other argument is a VM name. Without a file it is
/// `lab.yaml` in the current folder, else the one `*.lab.yaml` there.
struct LabArguments: ParsableArguments {
    @Argument(
        help: ArgumentHelp(
            "The lab file (ends in .yaml or .yml; default: lab.yaml, else the one *.lab.yaml here) and names of VMs.",
            valueName: "file-or-vm"), completion: LabCompletion.filesAndVMs)
    var arguments: [String] = []

    @OptionGroup var selection: LabSelection

    @Option(help: "When diagnostics are coloured: auto, always or never.")
    var color: ColorChoice = .auto

    func validate() throws {
        if let labName = selection.labName, let file = files.first {
            throw ValidationError("--lab \(labName) works without a lab file; leave out '\(file)'")
        }
        if files.count > 1 {
            throw ValidationError("only one lab file at a time: \(files.joined(separator: ", "))")
        }
    }

    /// Whether an argument is a lab file.
    static func isFile(_ argument: String) -> Bool {
        let lower = argument.lowercased()
        return [".yaml", ".yml", PackedLab.ending].contains(where: lower.hasSuffix)
    }

    /// Lab files among the arguments.
    var files: [String] { arguments.filter(LabArguments.isFile) }

    /// Arguments that name VMs or groups of replicas.
    var vmNames: [String] { arguments.filter { !LabArguments.isFile($0) } }

    /// The lab file's path, as written or as found in the current folder.
    func labFilePath() throws -> String {
        try files.first ?? LabArguments.defaultFile(in: ".")
    }

    /// The lab file of a folder: `lab.yaml`, else the one `*.lab.yaml`.
    static func defaultFile(in folder: String) throws -> String {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        if names.contains("lab.yaml") { return "lab.yaml" }
        let found = names.filter { $0.hasSuffix(".lab.yaml") && !$0.hasPrefix(".") }.sorted()
        switch found.count {
        case 1: return found[0]
        case 0:
            throw ValidationError(
                "there is no lab.yaml and no *.lab.yaml here; give a file, or write one with `labctl init`")
        default:
            throw ValidationError("several lab files are here, give one of them: \(found.joined(separator: ", "))")
        }
    }

    /// What `${NAME}` in the lab file means.
    var variables: LabVariables { selection.variables }
}
