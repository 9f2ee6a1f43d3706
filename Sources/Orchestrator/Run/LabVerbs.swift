import Glibc
import LabSpec
import VMProtocol

/// How `up` and `reset` start VMs.
public struct StartOptions: Sendable {
    /// VMs that may boot at once.
    public var parallelBoots: Int
    /// Whether to wait for `ready`.
    public var waitsForReady: Bool
    /// Whether overlays whose record is lost or damaged are taken as they are.
    public var adoptsOverlays = false
    /// Whether VMs that the host has no room for are refused.
    public var isStrict = false

    public init(parallelBoots: Int? = nil, waitsForReady: Bool = true) {
        self.parallelBoots = parallelBoots ?? max(4, 2 * sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        self.waitsForReady = waitsForReady
    }
}

extension LabOrchestrator {
    /// Brings VMs up, with those that they depend on. Run again, it changes only what differs.
    /// - Returns: an outcome for each VM, in the order of the lab file.
    public func up(_ names: [String], options: StartOptions = StartOptions()) throws(OrchestratorError) -> [VMOutcome] {
        let executable = try VMExecutable.find()
        let chosen = try withDependencies(instances(names))
        let lock = try lock("up")
        defer { withExtendedLifetime(lock) {} }
        return try run(
            try survey(chosen, adopting: options.adoptsOverlays), executable: executable, options: options)
    }

    /// The part that `up` and `reset` share; the caller holds the lab's lock.
    func run(
        _ found: Survey, executable: String, options: StartOptions, change: (inout VMPlan) -> Void = { _ in }
    ) throws(OrchestratorError) -> [VMOutcome] {
        var survey = found
        for warning in survey.plan.warnings { progress(.warning(warning)) }
        let findings = Admission(host: .current(folder.path)).findings(survey.plan)
        if options.isStrict, !findings.isEmpty {
            throw OrchestratorError(.host, findings.joined(separator: "; ") + "; nothing was started (--strict)")
        }
        for finding in findings { progress(.warning(finding)) }
        noteKilled(survey.plan.vms.map(\.instance))
        try recordLab(
            builtImages: survey.images.values.map(\.path).filter { $0.hasPrefix(state.imagesFolder) }.sorted())
        let failures = try images.make(survey.plan.images, images: &survey.images)
        let reasons = reasons(failures, survey.plan.vms.map(\.instance))
        for index in survey.plan.vms.indices {
            if let reason = reasons[survey.plan.vms[index].instance.name] {
                survey.plan.vms[index].decision = .refuse(reason: reason)
            } else if survey.definitions[survey.plan.vms[index].instance.name] != nil {
                change(&survey.plan.vms[index])
            }
        }
        try chooseSources(&survey, executable: executable)
        let executor = Executor(
            self, survey,
            options: Executor.Options(
                executable: executable, parallelBoots: options.parallelBoots, waitsForReady: options.waitsForReady))
        return executor.run()
    }

    /// Says which VMs ended without a word since they were last seen.
    private func noteKilled(_ chosen: [VMInstance]) {
        for instance in chosen {
            let vm = folder.vm(instance.name)
            guard !vm.isRunning, let record = vm.recordReading.known else { continue }
            let found = VMObservation(record: record, exit: vm.readExitRecord())
            guard found.phase == .killed else { continue }
            progress(
                .warning("\(instance.name) was not stopped in order: its process was killed or the host went down"))
            folder.record("killed", vm: instance.name)
        }
    }

    /// Locks the lab, waiting where that is asked for.
    private func takeLock(_ verb: String) throws(OrchestratorError) -> LabLock {
        var hasToldOf = false
        while true {
            do throws(OrchestratorError) {
                let lock = try LabLock.take(folder, verb: verb)
                recoverSnapshots()
                return lock
            } catch {
                guard error.kind == .locked, waitsForLock else { throw error }
                if !hasToldOf { progress(.warning("waiting: \(error.message)")) }
                hasToldOf = true
                _ = interruption.wait(for: [], milliseconds: 200)
                if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
            }
        }
    }

    /// Locks the lab for a verb that changes it; refuses one that a newer labctl keeps.
    func lock(_ verb: String) throws(OrchestratorError) -> LabLock {
        let lock = try takeLock(verb)
        if let fault = folder.recordReading.fault, fault.kind == .newer {
            throw OrchestratorError(.state, "\(fault.sentence); use the newer labctl for this lab")
        }
        Overlays.clean(folder.path)
        return lock
    }

    func recordLab(builtImages: [String]) throws(OrchestratorError) {
        let reading = folder.recordReading
        if let fault = reading.fault {
            // All that is in it stands in the lab file and the VMs' records too.
            let kept = try fault.putAside()
            progress(.warning("\(fault.sentence); it is kept as \(kept) and written anew"))
        }
        var record =
            reading.known ?? LabRecord(name: lab.name, file: lab.path, project: project, createdAt: WallClock.now)
        let known = Set(record.builtImages)
        record.name = lab.name
        record.file = lab.path
        record.fileNumber = FileStamp.number(of: lab.path) ?? record.fileNumber
        record.builtImages += builtImages.filter { !known.contains($0) }
        if record != reading.known { try folder.write(record) }
        if let kept, kept != folder.keptFile.known { try folder.write(kept) }
    }

    /// Stops VMs: asks the guests to power off, then ends what has not done so in time. VMs that others depend on go
    /// down after those.
    /// - Parameters:
    ///   - limitMilliseconds: how long guests get; 0 does not ask them; nil: as the lab file says.
    public func down(_ names: [String], limitMilliseconds: UInt64?) throws(OrchestratorError) -> [VMOutcome] {
        let chosen = try instances(names).map(\.name)
        let lock = try takeLock("down")
        defer { withExtendedLifetime(lock) {} }
        let all = names.isEmpty ? chosen + orphans().map(\.name) : chosen
        let outcomes = PowerOff(self, all, limitMilliseconds: limitMilliseconds).run()
        folder.record("down")
        return outcomes
    }

    /// Gives VMs fresh overlays; VMs that ran come back running, at most `parallelBoots` of them down at once.
    public func reset(_ names: [String], options: StartOptions = StartOptions()) throws(OrchestratorError)
        -> [VMOutcome]
    {
        let chosen = try instances(names)
        let lock = try lock("reset")
        defer { withExtendedLifetime(lock) {} }
        let running = Set(chosen.filter { folder.vm($0.name).isRunning }.map(\.name))
        let executable = running.isEmpty ? "" : try VMExecutable.find()
        let outcomes = try run(try survey(chosen), executable: executable, options: options) { plan in
            plan.decision = .reset(startsAgain: running.contains(plan.instance.name))
            plan.missingOverlays = []
        }
        // What only the old overlays stood on.
        Layers(folder: folder).collect()
        return outcomes
    }

    /// Removes VMs with their overlays and state; the lab's record too when all go. Golden images stay.
    public func destroy(_ names: [String]) throws(OrchestratorError) -> [VMOutcome] {
        // A name that the lab file no longer has may still have a folder.
        let left = Set(orphans().map(\.name))
        let inFile = try instances(names.filter { !left.contains($0) }).map(\.name)
        let chosen =
            names.isEmpty
            ? inFile + left.sorted()
            : names.filter { left.contains($0) } + (names.allSatisfy { left.contains($0) } ? [] : inFile)
        guard Folder.isFolder(folder.path) else { return [] }
        let lock = try lock("destroy")
        defer { withExtendedLifetime(lock) {} }
        var outcomes = PowerOff(self, chosen, limitMilliseconds: 0).run()
        for (index, name) in chosen.enumerated() where outcomes[index].isGood {
            let vm = folder.vm(name)
            if let fault = vm.recordReading.fault, fault.kind == .newer {
                outcomes[index] = VMOutcome(
                    name, .failed, message: "\(fault.sentence); use the newer labctl for this lab")
                progress(.vm(name: name, .failed(fault.sentence)))
            } else if let error = Folder.remove(vm.runtime) ?? Folder.remove(vm.path) {
                outcomes[index] = VMOutcome(name, .failed, message: error.description)
                progress(.vm(name: name, .failed(error.description)))
            } else {
                progress(.vm(name: name, .removed))
            }
        }
        Layers(folder: folder).collect()
        if names.isEmpty, outcomes.allSatisfy(\.isGood) {
            if let error = Folder.remove(folder.path) { throw OrchestratorError(error) }
        } else {
            folder.record("destroyed", detail: chosen.joined(separator: " "))
        }
        return outcomes
    }
}
