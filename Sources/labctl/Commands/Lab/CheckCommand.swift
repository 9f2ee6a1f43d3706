import ArgumentParser
import Foundation
import LabSpec
import Orchestrator

/// `labctl check`.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Grades VMs: looks whether what the lab file's `checks` say is true.",
        discussion: """
            All VMs that have checks are looked at at once, or those that are named. Commands run in the shell on the VM's \
            console; with `login` in the lab file, labctl logs in by itself.

              labctl check
              labctl check student-01 student-02 --format junit -o results.xml
              labctl check --format gradescope -o results.json

            Exits with 0 when all checks passed, with 1 when some did not.
            """)

    @OptionGroup var lab: LabArguments

    @Option(help: "text (a table), json, junit (XML), csv, gradescope (JSON) or github (annotations).")
    var format: CheckFormat = .text

    @Option(name: .shortAndLong, help: "Writes the report to this file instead of standard output.")
    var output: String?

    @Flag(
        help: """
            Checks a throw-away clone of each VM, on overlays over its disks, so that grading changes nothing. The VMs have to \
            be off.
            """)
    var isolated = false

    @Option(help: "How many clones may run at once with --isolated (default: twice the processors, at least 4).")
    var parallel: Int?

    func run() throws {
        if let parallel, parallel < 1 { throw ValidationError("--parallel takes a number from 1 up, not \(parallel)") }
        try LabSession.run(lab, progress: .quiet, checksFiles: isolated) { session in
            let instances = try session.orchestrator.instances(lab.vmNames).filter { !$0.spec.checks.isEmpty }
            guard !instances.isEmpty else {
                let whose =
                    lab.vmNames.isEmpty ? "no VM of the lab has" : "\(lab.vmNames.joined(separator: ", ")) has no"
                throw OrchestratorError(.vm, "\(whose) checks; write 'checks' into the lab file")
            }
            let found = Shared<[String: [CheckResult]]>([:])
            let (folder, interruption) = (session.orchestrator.folder, session.interruption)
            let clones = isolated ? try IsolatedChecks(session.orchestrator, instances) : nil
            defer { clones?.finish() }
            let most = isolated ? StartOptions(parallelBoots: parallel).parallelBoots : ParallelWork.mostThreads
            ParallelWork.run(instances, most: most) { instance in
                let results =
                    clones?.run(instance)
                    ?? CheckRunner(instance, folder.vm(instance.name), interruption: interruption).run(
                        as: instance.name)
                found.change { $0[instance.name] = results }
            }
            if let number = interruption.signalNumber { throw ExitCode(128 + number) }
            let results = found.value
            let report = CheckReport(
                lab: session.orchestrator.lab.name, results: instances.flatMap { results[$0.name] ?? [] })
            try write(report.rendered(as: format, usesColor: output == nil && session.usesColor))
            StandardError.line(report.summary)
            guard report.results.allSatisfy(\.passed) else { throw ExitCode.failure }
        }
    }

    private func write(_ text: String) throws {
        guard let output else { return StandardOutput.write(Array(text.utf8)) }
        do {
            try Data(text.utf8).write(to: URL(fileURLWithPath: output), options: .atomic)
        } catch {
            throw OrchestratorError(.host, "cannot write \(output): \(error.localizedDescription)")
        }
    }
}
