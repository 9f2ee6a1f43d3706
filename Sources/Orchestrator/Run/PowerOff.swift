import Glibc
import LabSpec
import VMProtocol

/// Stops many VMs at once, dependents before what they depend on.
final class PowerOff {
    private enum Stage {
        case waiting
        case stopping(StopTask)
        case done(VMOutcome)
    }

    private struct Entry {
        var folder: VMFolder
        var limitMilliseconds: UInt64
        /// VMs of this call that must be down first.
        var dependents: [String]
        var stage: Stage = .waiting
    }

    private let orchestrator: LabOrchestrator
    /// How long guests get; nil: as the lab file says.
    private let limitMilliseconds: UInt64?
    private var entries: [Entry]

    init(_ orchestrator: LabOrchestrator, _ names: [String], limitMilliseconds: UInt64?) {
        self.orchestrator = orchestrator
        self.limitMilliseconds = limitMilliseconds
        let instances = orchestrator.lab.instances()
        entries = names.map { name in
            let dependents = instances.filter { $0.dependsOn.contains(name) && names.contains($0.name) }.map(\.name)
            let grace = (instances.first { $0.name == name }?.spec ?? VM()).stopGracePeriod
            return Entry(
                folder: orchestrator.folder.vm(name), limitMilliseconds: limitMilliseconds ?? grace.milliseconds,
                dependents: dependents)
        }
    }

    /// - Returns: an outcome for each name, in order.
    func run() -> [VMOutcome] {
        while true {
            for index in entries.indices { advance(index) }
            if entries.allSatisfy({ if case .done = $0.stage { true } else { false } }) { break }
            _ = orchestrator.interruption.wait(for: [], milliseconds: 20)
        }
        return entries.compactMap { if case .done(let outcome) = $0.stage { outcome } else { nil } }
    }

    private func advance(_ index: Int) {
        let entry = entries[index]
        switch entry.stage {
        case .done: return
        case .waiting:
            guard entry.folder.isRunning else { return finish(index, forced: nil) }
            if orchestrator.interruption.isRequested { return interrupted(index) }
            guard entry.dependents.allSatisfy(isDown) else { return }
            orchestrator.progress(.vm(name: entry.folder.name, .stopping))
            entries[index].stage = .stopping(
                StopTask(entry.folder, orchestrator, limitMilliseconds: entry.limitMilliseconds))
        case .stopping(var task):
            let outcome = task.advance()
            entries[index].stage = .stopping(task)
            switch outcome {
            case .stopped(let forced): finish(index, forced: forced)
            case .failed(let reason):
                orchestrator.progress(.vm(name: entry.folder.name, .failed(reason)))
                entries[index].stage = .done(VMOutcome(entry.folder.name, .failed, message: reason))
            case nil: if orchestrator.interruption.isRequested { interrupted(index) }
            }
        }
    }

    private func isDown(_ name: String) -> Bool {
        guard let entry = entries.first(where: { $0.folder.name == name }) else { return true }
        if case .done = entry.stage { return true }
        return false
    }

    private func interrupted(_ index: Int) {
        entries[index].stage = .done(
            VMOutcome(entries[index].folder.name, .interrupted, message: "still running"))
    }

    /// - Parameter forced: nil for a VM that did not run.
    private func finish(_ index: Int, forced: Bool?) {
        let name = entries[index].folder.name
        guard let forced else {
            entries[index].stage = .done(VMOutcome(name, .unchanged))
            return
        }
        orchestrator.progress(.vm(name: name, .stopped(forced: forced)))
        orchestrator.folder.record("stopped", vm: name, detail: forced ? "by force" : nil)
        let message =
            forced && entries[index].limitMilliseconds > 0 ? "by force: the guest did not power off in time" : nil
        entries[index].stage = .done(VMOutcome(name, .stopped, message: message))
    }
}
