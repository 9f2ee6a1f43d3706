import LabSpec
import VMProtocol

/// Which of several steps did not succeed, and why.
struct StepFailure: Error {
    let index: Int
    let step: LabStep
    let error: OrchestratorError

    /// As messages name it.
    var place: String { "step \(index + 1) (\(step.action.words))" }
}

extension StepRunner {
    /// Does steps in their order, each until its own deadline and all of them until one.
    /// - Parameters:
    ///   - deadline: monotonic nanoseconds.
    ///   - begins: is told of each step before it is done.
    func run(
        _ steps: [LabStep], until deadline: UInt64, _ begins: (String) -> Void = { _ in }
    ) throws(StepFailure) {
        for (index, step) in steps.enumerated() {
            begins("step \(index + 1) of \(steps.count), \(step.action.words)")
            let own = step.timeout.map { WallClock.monotonicNanoseconds + $0.milliseconds * 1_000_000 }
            do throws(OrchestratorError) {
                try run(step.action, until: min(own ?? deadline, deadline))
            } catch {
                throw StepFailure(index: index, step: step, error: error)
            }
        }
    }
}
