import ArgumentParser
import Foundation
import Orchestrator

/// `labctl run`: one VM without a lab file, with QEMU's own options.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Runs one VM without a lab file; takes qemu-system-x86_64's options.",
        usage: "labctl run [-m SIZE] [-hda FILE] [-cdrom FILE] [-boot d] [-nographic] … (see labctl run -help)")

    @Argument(parsing: .captureForPassthrough, help: "Options as qemu-system-x86_64 has them.")
    var options: [String] = []

    func run() throws {
        let request: VMRequest
        do {
            request = try QEMUOptions.parse(options)
        } catch {
            StandardError.line("labctl run: \(error.description)")
            throw ExitCode.validationFailure
        }
        guard !request.wantsHelp else {
            print(
                "USAGE: labctl run OPTION…\n\nOptions are those of qemu-system-x86_64:\n\n\(QEMUOptions.help)",
                terminator: "")
            return
        }
        for warning in request.warnings { StandardError.line("warning: \(warning)") }
        do {
            let code = try ForegroundVM.run(request.description)
            if code != 0 { throw ExitCode(code) }
        } catch let error as OrchestratorError {
            StandardError.line("error: \(error.message)")
            throw ExitCode.failure
        }
    }
}
