import Glibc
import Images
import LabSpec
import VMProtocol

/// Brings VMs up: in dependency order, as many at once as allowed, until each is ready or has failed.
///
/// One thread drives every VM through its stages and waits for report pipes, console logs and signals together.
final class Executor {
    /// How the verb wants it done.
    struct Options: Sendable {
        var executable: String
        /// VMs that may boot at once; those without `ready` do not count.
        var parallelBoots: Int
        /// Whether to wait for `ready`.
        var waitsForReady: Bool
    }

    private enum Stage {
        case waiting
        /// It runs as it was and is on its way down.
        case stopping(StopTask)
        /// The process was started and has not said that it runs.
        case starting(VMProcess)
        /// Runs; what `ready` asks for is looked for until the deadline (monotonic nanoseconds).
        case booting(VMProcess?, ReadinessProbe, deadline: UInt64)
        /// Is ready since so many seconds from its start; its `provision` is done.
        case provisioning(ProvisionTask, seconds: Double)
        /// A clone that becomes another machine.
        case becoming(IdentityTask)
        case done(VMOutcome)
    }

    private struct Entry {
        var plan: VMPlan
        var folder: VMFolder
        /// Nil for a VM that is refused.
        var definition: VMDefinition?
        var stage: Stage = .waiting
        var startedAt: UInt64 = 0
        var hasAnnouncedWait = false
        /// It ran when the verb began: a verb that is interrupted does not take it away.
        var ranBefore = false
    }

    private let orchestrator: LabOrchestrator
    private let survey: LabOrchestrator.Survey
    private let options: Options
    private var entries: [Entry]
    /// What was said about the host already.
    private var told: Set<String> = []
    private var overlayBases: [ImageReference: VMRecord.Overlay] = [:]
    private let freshener: Freshener

    /// How often logs are looked at while VMs boot.
    private static let pollMilliseconds: Int32 = 20

    init(_ orchestrator: LabOrchestrator, _ survey: LabOrchestrator.Survey, options: Options) {
        self.orchestrator = orchestrator
        self.survey = survey
        self.options = options
        freshener = Freshener(orchestrator, survey.images)
        entries = survey.plan.vms.map { plan in
            Entry(
                plan: plan, folder: orchestrator.folder.vm(plan.instance.name),
                definition: survey.definitions[plan.instance.name])
        }
    }

    /// Runs to the end.
    /// - Returns: an outcome for each VM, in the order of the lab file.
    func run() -> [VMOutcome] {
        while true {
            if orchestrator.interruption.isRequested { interruptAll() }
            for index in entries.indices { advance(index) }
            if entries.allSatisfy({ if case .done = $0.stage { true } else { false } }) { break }
            waitForNews()
        }
        return entries.compactMap { if case .done(let outcome) = $0.stage { outcome } else { nil } }
    }

    private func waitForNews() {
        var pipes: [Int32] = []
        var isFollowing = false
        for entry in entries {
            switch entry.stage {
            case .starting(let process): pipes.append(process.report.raw)
            case .booting, .stopping, .provisioning, .becoming: isFollowing = true
            case .waiting, .done: break
            }
        }
        _ = orchestrator.interruption.wait(
            for: pipes, milliseconds: isFollowing || pipes.isEmpty ? Self.pollMilliseconds : 1000)
    }

    private func advance(_ index: Int) {
        switch entries[index].stage {
        case .done: break
        case .waiting: begin(index)
        case .stopping(var task):
            let outcome = task.advance()
            entries[index].stage = .stopping(task)
            switch outcome {
            case nil: break
            case .stopped: attempt(index) { () throws(OrchestratorError) in try start(index) }
            case .failed(let reason): fail(index, reason)
            }
        case .starting(let process): listen(index, process)
        case .becoming(let task):
            switch task.ended {
            case nil: break
            case .done: ready(index)
            case .failed(let error): fail(index, error.message)
            }
        case .booting(let process, var probe, let deadline):
            let isReady = probe.find()
            entries[index].stage = .booting(process, probe, deadline: deadline)
            if isReady { ready(index) } else { checkBoot(index, process, deadline) }
        case .provisioning(let task, let seconds): checkProvision(index, task, seconds)
        }
    }

    // MARK: Starting

    private func begin(_ index: Int) {
        let entry = entries[index]
        switch entry.plan.decision {
        case .leave where needsProvision(index) && options.waitsForReady:
            // What an earlier verb did not get done.
            guard hasRoom else { return }
            return provision(index, seconds: 0)
        case .leave:
            report(index, .unchanged)
            return finish(index, VMOutcome(entry.plan.instance.name, .unchanged))
        case .refuse(let reason): return fail(index, reason)
        case .awaitReady: return follow(index, process: nil, from: entry.folder.knownRun?.consoleStart ?? 0)
        case .reset:
            if let fault = entry.folder.recordReading.fault, fault.kind == .newer {
                return fail(index, "\(fault.sentence); use the newer labctl for this lab")
            }
        case .start, .restart: break
        }
        if case .reset(startsAgain: false) = entry.plan.decision {
            return attempt(index) { () throws(OrchestratorError) in try start(index) }
        }
        guard dependenciesAreUp(index), entry.plan.source?.saved.state != nil || mayBoot(index) else { return }
        guard entry.folder.isRunning else {
            return attempt(index) { () throws(OrchestratorError) in try start(index) }
        }
        var limit = entry.plan.instance.spec.stopGracePeriod.milliseconds
        // What is about to be thrown away needs no orderly shutdown.
        if case .reset = entry.plan.decision { limit = 0 }
        report(index, .stopping)
        entries[index].ranBefore = true
        entries[index].stage = .stopping(StopTask(entry.folder, orchestrator, limitMilliseconds: limit))
    }

    private func attempt(_ index: Int, _ body: () throws(OrchestratorError) -> Void) {
        do throws(OrchestratorError) {
            try body()
        } catch {
            fail(index, error.message)
        }
    }

    /// Whether every VM that this one depends on is up; fails it when one of them is not going to be.
    private func dependenciesAreUp(_ index: Int) -> Bool {
        var missing: [String] = []
        for name in entries[index].plan.instance.dependsOn {
            guard let other = entries.first(where: { $0.plan.instance.name == name }) else { continue }
            if case .done(let outcome) = other.stage {
                guard outcome.isGood else {
                    let reason = "it depends on \(name), which is not up"
                    report(index, .skipped(reason))
                    finish(index, VMOutcome(entries[index].plan.instance.name, .skipped, message: reason))
                    return false
                }
            } else {
                missing.append(name)
            }
        }
        if !missing.isEmpty, !entries[index].hasAnnouncedWait {
            entries[index].hasAnnouncedWait = true
            report(index, .waiting(on: missing))
        }
        return missing.isEmpty
    }

    private func mayBoot(_ index: Int) -> Bool {
        // VMs that are taken down for it count whatever they wait for: no more of a class is down than asked for.
        let isTakenDown = entries[index].folder.isRunning
        guard isTakenDown || entries[index].plan.instance.spec.ready != nil && options.waitsForReady else {
            return true
        }
        return hasRoom
    }

    /// Whether another VM may be at work.
    private var hasRoom: Bool {
        let busy = entries.filter {
            switch $0.stage {
            case .stopping, .provisioning: true
            case .starting, .booting: $0.ranBefore || $0.plan.instance.spec.ready != nil
            case .waiting, .becoming, .done: false
            }
        }
        return busy.count < options.parallelBoots
    }

    private func start(_ index: Int) throws(OrchestratorError) {
        let entry = entries[index]
        let name = entry.plan.instance.name
        guard let definition = entry.definition else { return fail(index, "its images are not known") }
        if let error = Folder.make(entry.folder.path) ?? Folder.make(entry.folder.runtime) {
            throw OrchestratorError(error)
        }
        guard
            let lock = try withHostErrors({ () throws(HostError) in
                try FileLock.tryLock(entry.folder.file(.lock))
            })
        else { throw OrchestratorError(.vm, "\(name) was started by somebody else just now") }
        Overlays.clean(entry.folder.path)
        if case .reset(let startsAgain) = entry.plan.decision {
            if !startsAgain, entry.plan.source == nil, entry.plan.instance.spec.origin != nil {
                // It begins as the saved machine when it is started again.
                try freshener.clear(entry.folder)
            } else {
                try freshener.refresh(entry.plan.instance, entry.folder, source: entry.plan.source)
            }
            report(index, .reset)
            orchestrator.folder.record("reset", vm: name)
            guard startsAgain else { return finish(index, VMOutcome(name, .reset)) }
        }
        report(index, .starting)
        // Read again, now that the lock is held: a record that has gone bad since the plan was made stops the start.
        var record = try entry.folder.recordReading.required() ?? VMRecord()
        let overlays = try prepareOverlays(entry, record)
        for overlay in overlays { record.overlays[overlay.slot.rawValue] = overlay.overlay }
        if !overlays.isEmpty { (record.instanceID, record.provisionedAt) = (nil, nil) }
        if entry.plan.instance.spec.forgetsEverything { record.provisionedAt = nil }
        if let seed = entry.plan.instance.spec.seed {
            let id = record.instanceID ?? SeedDisc.freshInstanceID(name)
            record.instanceID = id
            try SeedDisc(seed, hostName: name).write(to: SeedDisc.path(in: entry.folder), instanceID: id)
        }
        let consoleStart = ConsoleLog.length(entry.folder.file(.consoleLog))
        let (description, digest) = try described(entry, definition, record, overlays)
        record.run = VMRecord.Run(
            description: description, definition: digest, startedAt: WallClock.now, consoleStart: consoleStart)
        do throws(OrchestratorError) {
            try entry.folder.write(record)
        } catch {
            for overlay in overlays { overlay.discard() }
            throw error
        }
        for overlay in overlays { try overlay.commit() }
        for file in [VMFile.exitRecord, .restarts, .stopRequest] { HostCall.unlink(entry.folder.file(file)) }
        HostCall.unlink(entry.folder.file(.condition))
        HostCall.unlink(entry.folder.cursorPath)
        let process = try withHostErrors { () throws(HostError) in
            try VMProcess(
                executable: options.executable, description: description, lock: lock,
                log: entry.folder.file(.processLog))
        }
        lock.annotate("process \(process.processID)")
        entries[index].startedAt = WallClock.monotonicNanoseconds
        entries[index].stage = .starting(process)
    }

    /// What the process gets: the definition, or the machine that it goes on from, and which files its overlays stand on.
    private func described(
        _ entry: Entry, _ definition: VMDefinition, _ record: VMRecord, _ fresh: [Overlays.Prepared]
    ) throws(OrchestratorError) -> (VMDescription, digest: String) {
        var description = definition.description, digest = definition.digest
        if let source = entry.plan.source {
            if case .restored(let saved) = source {
                description = saved.description
                description.stateFolder = entry.folder.path
                description.runtimeFolder = entry.folder.runtime
                description.imageRules = definition.description.imageRules
                digest = saved.definition
            }
            description.savedState = source.saved.state
        }
        var below: [String] = []
        for (name, overlay) in record.overlays {
            guard let slot = DiskSlot(rawValue: name) else { continue }
            let path = fresh.first { $0.slot == slot }?.temporary ?? entry.folder.overlay(slot)
            guard Folder.exists(path) else { continue }
            below += try Layers.declared(path, overlay)
        }
        if !below.isEmpty, let files = description.imageRules?.files {
            description.imageRules?.files = Set(files + below).sorted()
        }
        return (description, digest)
    }

    /// Overlays of one base differ in nothing but their name; what is recorded of the base is found out once.
    private func prepareOverlays(
        _ entry: Entry, _ record: VMRecord
    ) throws(OrchestratorError) -> [Overlays.Prepared] {
        let overlays = Overlays(images: orchestrator.images)
        var prepared: [Overlays.Prepared] = []
        do throws(OrchestratorError) {
            for slot in entry.plan.missingOverlays {
                if let saved = entry.plan.source?.saved {
                    if let overlay = try overlays.prepare(slot, of: entry.folder, from: saved) {
                        prepared.append(overlay)
                    }
                    continue
                }
                guard let disk = entry.plan.instance.spec.disks[slot], let base = survey.images[disk.image] else {
                    continue
                }
                // The plan is older than the lock.
                guard !Folder.exists(entry.folder.overlay(slot)) else {
                    throw OrchestratorError(.vm, "\(entry.folder.overlay(slot)) was made by somebody else just now")
                }
                if record.run != nil, record.overlays[slot.rawValue] != nil {
                    orchestrator.progress(
                        .warning(
                            "\(entry.folder.name): its overlay \(slot.rawValue).qcow2 was gone, it gets a fresh one"))
                }
                let overlay = try overlays.prepare(
                    slot, of: entry.folder, on: base, label: disk.image.label,
                    golden: overlayBases[disk.image]?.golden)
                overlayBases[disk.image] = overlay.overlay
                prepared.append(overlay)
            }
        } catch {
            for overlay in prepared { overlay.discard() }
            throw error
        }
        return prepared
    }

    // MARK: While it boots

    private func listen(_ index: Int, _ process: VMProcess) {
        switch process.news() {
        case .nothing: break
        case .started(let warnings):
            // What is true of the host is said once, not for each VM.
            for warning in warnings where !warning.hasPrefix(StartReport.hostNotice) || told.insert(warning).inserted {
                orchestrator.progress(.warning("\(entries[index].plan.instance.name): \(warning)"))
            }
            let start = entries[index].folder.knownRun?.consoleStart ?? 0
            updateRun(index) { $0.processID = process.processID }
            follow(index, process: process, from: start)
        case .failed(let reason): fail(index, reason)
        case .gone:
            let log = ConsoleLog.lastLines(entries[index].folder.file(.processLog), from: 0, count: 1).last
            fail(index, "its process ended before the guest ran" + (log.map { ": \($0)" } ?? ""))
        }
    }

    private func follow(_ index: Int, process: VMProcess?, from start: UInt64) {
        let spec = entries[index].plan.instance.spec
        if case .clone = entries[index].plan.source, let identity = spec.identity, process != nil {
            report(index, .booting)
            entries[index].stage = .becoming(
                IdentityTask(
                    identity, entries[index].plan.instance, entries[index].folder,
                    interruption: orchestrator.interruption))
            return
        }
        guard let ready = spec.ready else { return self.ready(index) }
        // It will not say again what it said before it was saved.
        if let saved = entries[index].plan.source?.saved, saved.state != nil, saved.wasReady, process != nil {
            return self.ready(index)
        }
        guard options.waitsForReady else { return runs(index) }
        report(index, .booting)
        if entries[index].startedAt == 0 { entries[index].startedAt = WallClock.monotonicNanoseconds }
        let probe = ReadinessProbe(ready, entries[index].folder, from: start)
        entries[index].stage = .booting(
            process, probe, deadline: entries[index].startedAt + ready.timeout.milliseconds * 1_000_000)
        advance(index)
    }

    private func checkBoot(_ index: Int, _ process: VMProcess?, _ deadline: UInt64) {
        let entry = entries[index]
        let isGone: Bool
        if let process, case .gone = process.news() { isGone = true } else { isGone = !entry.folder.isRunning }
        let start = entry.folder.knownRun?.consoleStart ?? 0
        if isGone {
            // It may have said its last words after the latest look.
            let exit = entry.folder.readExitRecord()
            let why = exit.map { $0.message ?? $0.reason.words } ?? "its process was killed"
            return fail(
                index, "it ended before it was ready: \(why)",
                console: ConsoleLog.lastLines(entry.folder.file(.consoleLog), from: start))
        }
        guard WallClock.monotonicNanoseconds > deadline, let ready = entry.plan.instance.spec.ready else { return }
        let condition = VMCondition.read(in: entry.folder.path)?.sentences(isReady: false) ?? []
        let reason = ([ReadinessProbe.missed(ready)] + condition)
            .joined(separator: "; ")
        report(index, .failed(reason))
        orchestrator.folder.record("not-ready", vm: entry.plan.instance.name, detail: reason)
        finish(
            index,
            VMOutcome(
                entry.plan.instance.name, .notReady, message: reason,
                console: ConsoleLog.lastLines(entry.folder.file(.consoleLog), from: start)))
    }

    // MARK: Ends

    private func ready(_ index: Int) {
        let entry = entries[index]
        let seconds = Double(WallClock.monotonicNanoseconds - entry.startedAt) / 1e9
        updateRun(index) { $0.readyAt = WallClock.now }
        if entry.plan.instance.spec.ready != nil {
            orchestrator.folder.record("ready", vm: entry.plan.instance.name)
        }
        guard needsProvision(index), options.waitsForReady else { return up(index, seconds) }
        provision(index, seconds: seconds)
    }

    /// All that is to be done with a VM is done.
    private func up(_ index: Int, _ seconds: Double) {
        let entry = entries[index]
        report(index, .ready(seconds: seconds))
        let result: VMOutcome.Result = [.awaitReady, .leave].contains(entry.plan.decision) ? .unchanged : .started
        finish(index, VMOutcome(entry.plan.instance.name, result, seconds: seconds))
    }

    private func needsProvision(_ index: Int) -> Bool {
        let entry = entries[index]
        return !entry.plan.instance.spec.provision.isEmpty && entry.folder.recordReading.known?.provisionedAt == nil
    }

    private func provision(_ index: Int, seconds: Double) {
        let entry = entries[index]
        entries[index].stage = .provisioning(
            ProvisionTask(entry.plan.instance, entry.folder, orchestrator), seconds: seconds)
    }

    private func checkProvision(_ index: Int, _ task: ProvisionTask, _ seconds: Double) {
        let entry = entries[index]
        switch task.current {
        case .running: break
        case .failed(let error) where error.kind == .interrupted: break
        case .failed(let error):
            let start = entry.folder.knownRun?.consoleStart ?? 0
            fail(
                index, "\(error.message); it runs on, and the next 'labctl up' begins with the first step",
                console: ConsoleLog.lastLines(entry.folder.file(.consoleLog), from: start))
        case .done:
            updateRecord(index) { $0.provisionedAt = WallClock.now }
            orchestrator.folder.record("provisioned", vm: entry.plan.instance.name)
            up(index, seconds)
        }
    }

    /// It runs, and nobody waits for more: whether it becomes ready is the next verb's to find out.
    private func runs(_ index: Int) {
        let plan = entries[index].plan
        report(index, .running)
        finish(index, VMOutcome(plan.instance.name, plan.decision == .awaitReady ? .unchanged : .started))
    }

    private func updateRun(_ index: Int, _ change: (inout VMRecord.Run) -> Void) {
        updateRecord(index) { record in
            guard var run = record.run else { return }
            change(&run)
            record.run = run
        }
    }

    private func updateRecord(_ index: Int, _ change: (inout VMRecord) -> Void) {
        let folder = entries[index].folder
        guard var record = folder.recordReading.known else { return }
        change(&record)
        do {
            try folder.write(record)
        } catch {
            orchestrator.progress(.warning(error.message))
        }
    }

    private func fail(_ index: Int, _ reason: String, console: [String] = []) {
        let name = entries[index].plan.instance.name
        report(index, .failed(reason))
        orchestrator.folder.record("failed", vm: name, detail: reason)
        finish(index, VMOutcome(name, .failed, message: reason, console: console))
    }

    /// The first Ctrl-C: nothing new starts, and what this verb started and is not ready is stopped again.
    private func interruptAll() {
        for index in entries.indices {
            let entry = entries[index]
            let name = entry.plan.instance.name
            switch entry.stage {
            case .done: continue
            case .waiting:
                let runs = entry.folder.isRunning
                finish(
                    index, VMOutcome(name, .interrupted, message: runs ? "not begun; it runs as it was" : "not started")
                )
            case .stopping:
                finish(
                    index,
                    VMOutcome(
                        name, .interrupted, message: "it was being stopped; 'labctl up \(name)' starts it again"))
            case .provisioning(let task, _):
                task.wait()
                finish(
                    index,
                    VMOutcome(
                        name, .interrupted,
                        message: "it runs, its 'provision' was interrupted; 'labctl up \(name)' begins it again"))
            case .starting where entry.ranBefore, .booting where entry.ranBefore:
                finish(index, VMOutcome(name, .interrupted, message: "it runs again, not seen ready"))
            case .becoming: finish(index, VMOutcome(name, .interrupted, message: "it runs, with its twin's identity"))
            case .booting(nil, _, _): finish(index, VMOutcome(name, .interrupted, message: "not seen ready"))
            case .starting, .booting:
                do throws(OrchestratorError) {
                    var task = StopTask(entry.folder, orchestrator, limitMilliseconds: 0)
                    try task.finish()
                    report(index, .stopped(forced: true))
                    finish(index, VMOutcome(name, .interrupted, message: "stopped again before it was ready"))
                } catch {
                    finish(index, VMOutcome(name, .interrupted, message: error.message))
                }
            }
        }
    }

    private func finish(_ index: Int, _ outcome: VMOutcome) { entries[index].stage = .done(outcome) }

    private func report(_ index: Int, _ progress: VMProgress) {
        orchestrator.progress(.vm(name: entries[index].plan.instance.name, progress))
    }
}
