import Dispatch
import LabSpec
import Synchronization
import VMProtocol

/// `provision` of one VM on its way: the steps wait for the guest, so they have a thread of their own.
final class ProvisionTask: Sendable {
    enum State: Sendable {
        case running
        case done
        case failed(OrchestratorError)
    }

    private let state = Mutex<State>(.running)
    private let finished = DispatchSemaphore(value: 0)

    private static let threads = DispatchQueue(label: "provision", attributes: .concurrent)
    /// How long all steps together may take.
    private static let limitMilliseconds: UInt64 = 30 * 60_000

    /// Begins with the first step.
    init(_ instance: VMInstance, _ vm: VMFolder, _ orchestrator: LabOrchestrator) {
        let runner = StepRunner(vm: vm, login: instance.spec.login, interruption: orchestrator.interruption)
        let steps = instance.spec.provision
        let progress = orchestrator.progress
        Self.threads.async { [self] in
            let end: State
            do throws(OrchestratorError) {
                try Self.run(steps, runner) { progress(.vm(name: instance.name, .provisioning(step: $0))) }
                end = .done
            } catch {
                end = .failed(error)
            }
            state.withLock { $0 = end }
            finished.signal()
        }
    }

    /// How far it is.
    var current: State { state.withLock { $0 } }

    /// Waits until it has heard of an interruption.
    func wait() { finished.wait() }

    private static func run(
        _ steps: [LabStep], _ runner: StepRunner, _ tell: (String) -> Void
    ) throws(OrchestratorError) {
        let deadline = WallClock.monotonicNanoseconds + limitMilliseconds * 1_000_000
        do throws(StepFailure) {
            try runner.run(steps, until: deadline, tell)
        } catch {
            guard error.error.kind != .interrupted else { throw error.error }
            throw OrchestratorError(error.error.kind, "provision: \(error.place) failed: \(error.error.message)")
        }
    }
}

extension VM {
    /// Whether what is done in the guest is gone once it ends: there is no disk that it can write to.
    var forgetsEverything: Bool { disks.values.allSatisfy { $0.mode == .readOnly } }
}
