import Glibc
import LabSpec
import VMProtocol

/// Looks whether what a lab file says of a VM is true.
public struct CheckRunner: Sendable {
    private let vm: VMFolder
    private let checks: [Check]
    private let session: ConsoleSession
    private let interruption: StopSignal

    /// Between two tries.
    private static let pauseMilliseconds: Int32 = 1000

    /// - Parameter vm: where the VM's process is; the instance's own folder, or that of a clone.
    public init(_ instance: VMInstance, _ vm: VMFolder, interruption: StopSignal) {
        self.vm = vm
        checks = instance.spec.checks
        session = ConsoleSession(vm, login: instance.spec.login)
        self.interruption = interruption
    }

    /// Runs all of them, one after the other: they share a console.
    /// - Parameter name: the VM's name in the results.
    public func run(as name: String) -> [CheckResult] { checks.map { run($0, as: name) } }

    /// Results for a VM whose checks cannot be run.
    public static func failed(_ instance: VMInstance, _ reason: String) -> [CheckResult] {
        instance.spec.checks.map { check in
            var result = CheckResult(check, of: instance.name)
            result.conclude(reason)
            return result
        }
    }

    private func run(_ check: Check, as name: String) -> CheckResult {
        var result = CheckResult(check, of: name)
        let start = WallClock.monotonicNanoseconds
        var failure: String?
        repeat {
            if result.attempts > 0 { _ = interruption.wait(for: [], milliseconds: Self.pauseMilliseconds) }
            result.attempts += 1
            failure = interruption.isRequested ? "interrupted" : self.failure(of: check)
        } while failure != nil && result.attempts <= check.retries && !interruption.isRequested && vm.isRunning
        result.seconds = Double((WallClock.monotonicNanoseconds - start) / 1_000_000) / 1000
        result.conclude(failure)
        return result
    }

    /// Why a check does not pass now; nil where it does.
    private func failure(of check: Check) -> String? {
        guard vm.isRunning else {
            guard case .file(let path) = check.subject else { return "\(vm.name) is not running" }
            return message { () throws(OrchestratorError) in
                guard let bytes = try PoweredOffDisks(vm).contents(of: path) else {
                    throw OrchestratorError(.vm, "there is no \(path)")
                }
                let text = String(decoding: bytes, as: UTF8.self)
                if let failure = check.expectation?.failure(of: text, what: path) {
                    throw OrchestratorError(.vm, failure)
                }
            }
        }
        let limit = check.timeout.milliseconds
        switch check.subject {
        case .run(let command, let exit):
            return outcome(of: command, limit) { result in
                guard result.status == exit else {
                    return "exit \(result.status), not \(exit): \(Expectation.quote(result.output))"
                }
                return check.expectation?.failure(of: result.output, what: "the output")
            }
        case .file(let path):
            let word = ShellScript.quoted(path)
            return outcome(of: "if [ -e \(word) ]; then cat \(word); else exit 44; fi", limit) { result in
                if result.status == Self.isMissing { return "there is no \(path)" }
                guard result.status == 0 else { return "\(path) cannot be read: \(Expectation.quote(result.output))" }
                return check.expectation?.failure(of: result.output, what: path)
            }
        case .console(let pattern):
            return message {
                () throws(OrchestratorError) in
                _ = try session.look(for: pattern, from: session.runStart, limit, interruption)
            }
        case .screen(let pattern):
            return message { () throws(OrchestratorError) in
                try Screen(vm).wait(for: pattern, milliseconds: limit, interruption: interruption)
            }
        }
    }

    /// What the shell says of a file that is not there.
    private static let isMissing: Int32 = 44

    private func outcome(
        of command: String, _ limit: UInt64, _ judge: (CommandResult) -> String?
    ) -> String? {
        do throws(CommandFailure) {
            return judge(try session.execute(command, milliseconds: limit, interruption: interruption))
        } catch {
            return error.message
        }
    }

    private func message(_ body: () throws(OrchestratorError) -> Void) -> String? {
        do throws(OrchestratorError) {
            try body()
            return nil
        } catch {
            return error.message
        }
    }
}
