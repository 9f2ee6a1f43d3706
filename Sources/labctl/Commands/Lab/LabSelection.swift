import ArgumentParser
import Foundation
import LabSpec

/// Which lab, and what its variables mean: options that every lab verb has.
struct LabSelection: ParsableArguments {
    @Option(
        name: .customLong("lab"),
        help: ArgumentHelp(
            "Works with the lab of this name as it was last brought up, without its file (see `labctl ls`).",
            valueName: "NAME"), completion: LabCompletion.labs)
    var labName: String?

    @Option(
        name: [.customShort("p"), .customLong("project")],
        help: ArgumentHelp(
            "Works with a copy of the lab of its own beside others, with overlays and VMs of its own "
                + "(default: $LABCTL_PROJECT).", valueName: "NAME"))
    var project: String?

    @Option(
        name: .customLong("set"),
        help: ArgumentHelp("Sets a variable of the lab file, over the environment.", valueName: "NAME=VALUE"))
    var assignments: [String] = []

    @Option(
        name: .customLong("env-file"),
        help: ArgumentHelp(
            "Reads variables, NAME=VALUE on each line, that the environment does not have.", valueName: "FILE"),
        completion: .file())
    var environmentFiles: [String] = []

    func validate() throws {
        for assignment in assignments where !assignment.dropFirst().contains("=") {
            throw ValidationError("--set takes NAME=VALUE, not '\(assignment)'")
        }
        // It stands in folder names.
        if let project = effectiveProject, project.wholeMatch(of: /[A-Za-z0-9][A-Za-z0-9_-]{0,31}/) == nil {
            throw ValidationError(
                "a project's name is made of letters, digits, '-' and '_', at most 32 of them, not '\(project)'")
        }
        _ = try fileVariables()
    }

    /// `--project`, else what the environment says.
    var effectiveProject: String? {
        let name = project ?? ProcessInfo.processInfo.environment["LABCTL_PROJECT"]
        return name?.isEmpty == true ? nil : name
    }

    /// What `${NAME}` in the lab file means.
    var variables: LabVariables {
        var set: [String: String] = [:]
        for assignment in assignments {
            let parts = assignment.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            set[String(parts[0])] = parts.count == 2 ? String(parts[1]) : ""
        }
        // `validate` has said what is wrong with the files.
        return LabVariables(
            environment: ProcessInfo.processInfo.environment, set: set, files: (try? fileVariables()) ?? [:])
    }

    private func fileVariables() throws -> [String: String] {
        var values: [String: String] = [:]
        for file in environmentFiles {
            guard let data = FileManager.default.contents(atPath: file),
                let text = String(data: data, encoding: .utf8)
            else { throw ValidationError("--env-file \(file): cannot be read as text") }
            do throws(EnvironmentFile.Fault) {
                values.merge(try EnvironmentFile.values(text)) { _, later in later }
            } catch {
                throw ValidationError("--env-file \(file), line \(error.line): \(error.message)")
            }
        }
        return values
    }

    /// The options as they were given, for a verb that reads its words by itself.
    var words: [String] {
        (labName.map { ["--lab", $0] } ?? []) + (project.map { ["--project", $0] } ?? [])
            + assignments.flatMap { ["--set", $0] } + environmentFiles.flatMap { ["--env-file", $0] }
    }
}
