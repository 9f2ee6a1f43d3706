import Glibc
import Images
import LabSpec
import VMProtocol

/// The machine that the VMs of a group begin as: one like them is booted until it is ready, its steps are done, and it is saved. It
/// lies in the cache under a digest of all that it is made of:
///
/// | file | content |
/// | --- | --- |
/// | `warm/DIGEST/warm.json` | `SavedVM` |
/// | `warm/DIGEST/state` | memory, devices, processor (docs/STATE.md) |
/// | `warm/DIGEST/hda.qcow2` … | its disks, never written again |
/// | `warm/DIGEST.new` | one that is being made |
struct WarmMachine {
    private let orchestrator: LabOrchestrator
    private let survey: LabOrchestrator.Survey
    private let instance: VMInstance
    private let recipe: WarmRecipe
    private let executable: String
    private let label: String
    /// Among the lab's VMs, under a name that no VM can have, so that `console` and `logs` work with it.
    private let folder: VMFolder

    init(
        _ orchestrator: LabOrchestrator, _ survey: LabOrchestrator.Survey, _ instance: VMInstance, _ recipe: WarmRecipe,
        executable: String
    ) {
        self.orchestrator = orchestrator
        self.survey = survey
        self.instance = instance
        self.recipe = recipe
        self.executable = executable
        label = "warm:\(instance.spec.name)"
        folder = orchestrator.folder.vm(label)
    }

    /// The machine, made where it is not there.
    func saved() throws(OrchestratorError) -> SavedVM {
        let place = "\(orchestrator.state.warmFolder)/\(try digest())"
        if let known = try usable(place) { return known }
        if let error = Folder.make(orchestrator.state.warmFolder) { throw OrchestratorError(error) }
        // Another lab may want the same machine at the same time.
        let lock = try orchestrator.images.waitForLock("\(place).lock", label: label)
        defer { withExtendedLifetime(lock) { _ = unlink("\(place).lock") } }
        if let known = try usable(place) { return known }
        do throws(OrchestratorError) {
            let saved = try make(at: place)
            orchestrator.progress(.image(name: label, .ready))
            return saved
        } catch {
            let lines = ConsoleLog.lastLines(folder.file(.consoleLog), from: 0, count: 12)
            try? remove()
            Folder.remove(place + LabFolder.unfinishedSuffix)
            orchestrator.progress(.image(name: label, .failed(error.message)))
            let said = lines.isEmpty ? "" : "; its console said:" + lines.map { "\n  | \($0)" }.joined()
            throw OrchestratorError(
                error.kind, "the machine that '\(instance.spec.name)' begins as cannot be made: \(error.message)\(said)"
            )
        }
    }

    /// The one that is there; nil where there is none, or its golden image is no longer the same.
    private func usable(_ place: String) throws(OrchestratorError) -> SavedVM? {
        guard let saved = RecordFile.read(SavedVM.self, from: "\(place)/warm.json").known else { return nil }
        for overlay in saved.overlays.values {
            if try orchestrator.images.drift(overlay, mayRead: true) != nil { return nil }
        }
        return saved
    }

    // MARK: What it is made of

    private var definition: VMDefinition? { survey.definitions[instance.name] }

    private func base(_ disk: Disk) throws(OrchestratorError) -> ResolvedImage {
        guard let image = survey.images[disk.image] else {
            throw OrchestratorError(.image, "image '\(disk.image.label)' is not known")
        }
        return image
    }

    private func digest() throws(OrchestratorError) -> String {
        guard var description = definition?.description else {
            throw OrchestratorError(.image, "its images are not known")
        }
        let digests = orchestrator.state.digests
        var inputs = ["warm 1", try digests.digest(of: executable).sha256]
        for index in description.disks.indices {
            guard let slot = DiskSlot(rawValue: description.disks[index].slot.rawValue),
                let disk = instance.spec.disks[slot]
            else { continue }
            let image = try base(disk)
            inputs += try orchestrator.images.goldenFiles(image, label: disk.image.label).map(\.sha256)
            description.disks[index].path = slot.rawValue
        }
        for path in [description.kernel, description.initrd, description.bios].compactMap({ $0 }) {
            inputs.append(try digests.digest(of: path).sha256)
        }
        // The disc of the seed is each VM's own, and made when it starts.
        if let path = description.cdrom, description.cdromContent == nil { inputs.append(path) }
        description.name = label
        description.cdrom = description.cdrom.map { _ in "cdrom" }
        (description.stateFolder, description.runtimeFolder, description.imageRules) = (nil, nil, nil)
        (description.restart, description.sandbox) = (nil, nil)
        inputs.append(String(decoding: JSONCoding.encode(description), as: UTF8.self))
        inputs += recipe.steps.map { "\($0.action)" }
        inputs.append(instance.spec.ready.map { "\($0.console) \($0.screen.map { "\($0)" } ?? "")" } ?? "")
        return String(SHA256Digest.of(inputs.joined(separator: "\n")).prefix(40))
    }

    // MARK: Making

    private func make(at place: String) throws(OrchestratorError) -> SavedVM {
        orchestrator.progress(.image(name: label, .building(step: "starting")))
        let draft = place + LabFolder.unfinishedSuffix
        try remove()
        if let error = Folder.remove(draft) ?? Folder.make(draft) ?? Folder.make(folder.path)
            ?? Folder.make(folder.runtime)
        {
            throw OrchestratorError(error)
        }
        let (process, run, overlays) = try start()
        orchestrator.folder.record("warm", vm: label)
        let deadline = WallClock.monotonicNanoseconds + recipe.timeout.milliseconds * 1_000_000
        try process.waitUntilItRuns(folder, orchestrator)
        if let ready = instance.spec.ready {
            orchestrator.progress(.image(name: label, .building(step: "until it is ready")))
            let own = WallClock.monotonicNanoseconds + ready.timeout.milliseconds * 1_000_000
            try awaitReady(ready, until: min(deadline, own))
        }
        let runner = StepRunner(
            vm: folder, login: instance.spec.login, interruption: orchestrator.interruption)
        do throws(StepFailure) {
            try runner.run(recipe.steps, until: deadline) {
                orchestrator.progress(.image(name: label, .building(step: $0)))
            }
        } catch {
            throw OrchestratorError(error.error.kind, "\(error.place): \(error.error.message)")
        }
        orchestrator.progress(.image(name: label, .building(step: "saving")))
        try save(to: "\(draft)/state")
        var stop = StopTask(folder, orchestrator, limitMilliseconds: 0)
        try stop.finish()
        var saved = SavedVM(
            layers: [:], overlays: overlays, state: "\(place)/state", description: run.description,
            definition: run.definition, wasReady: true, instanceID: nil)
        for name in overlays.keys.sorted() {
            guard let slot = DiskSlot(rawValue: name) else { continue }
            let layer = "\(draft)/\(name).qcow2"
            guard HostCall.rename(folder.overlay(slot), to: layer) else {
                throw OrchestratorError(HostError("make", layer))
            }
            // Golden from here on.
            chmod(layer, 0o444)
            saved.layers[name] = "\(place)/\(name).qcow2"
        }
        try withHostErrors { () throws(HostError) in try RecordFile.write(saved, to: "\(draft)/warm.json") }
        if let error = Folder.remove(place) { throw OrchestratorError(error) }
        guard HostCall.rename(draft, to: place) else { throw OrchestratorError(HostError("make", place)) }
        try remove()
        return saved
    }

    private func start() throws(OrchestratorError) -> (VMProcess, VMRecord.Run, [String: VMRecord.Overlay]) {
        guard let definition else { throw OrchestratorError(.image, "its images are not known") }
        let lock = try withHostErrors { () throws(HostError) in try FileLock.tryLock(folder.file(.lock)) }
        guard let lock else { throw OrchestratorError(.vm, "\(label) was started by somebody else just now") }
        var description = definition.description
        var record = VMRecord()
        for index in description.disks.indices {
            guard let slot = DiskSlot(rawValue: description.disks[index].slot.rawValue),
                let disk = instance.spec.disks[slot], disk.mode == .overlay
            else { continue }
            let overlay = try Overlays(images: orchestrator.images).prepare(
                slot, of: folder, on: base(disk), label: disk.image.label)
            try overlay.commit()
            record.overlays[slot.rawValue] = overlay.overlay
            description.disks[index].path = folder.overlay(slot)
        }
        if let seed = instance.spec.seed {
            try SeedDisc(seed, hostName: instance.spec.name).write(
                to: SeedDisc.path(in: folder), instanceID: SeedDisc.freshInstanceID(instance.spec.name))
            description.cdrom = SeedDisc.path(in: folder)
        }
        description.name = label
        description.restart = nil
        description.stateFolder = folder.path
        description.runtimeFolder = folder.runtime
        let run = VMRecord.Run(
            description: description, definition: definition.digest, startedAt: WallClock.now, consoleStart: 0)
        record.run = run
        try folder.write(record)
        let process = try withHostErrors { () throws(HostError) in
            try VMProcess(
                executable: executable, description: description, lock: lock, log: folder.file(.processLog))
        }
        lock.annotate("process \(process.processID)")
        return (process, run, record.overlays)
    }

    private func awaitReady(_ ready: Readiness, until deadline: UInt64) throws(OrchestratorError) {
        var probe = ReadinessProbe(ready, folder, from: 0)
        while !probe.find() {
            guard folder.isRunning else { throw OrchestratorError(.vm, "it ended before it was ready") }
            guard WallClock.monotonicNanoseconds < deadline else {
                throw OrchestratorError(.timeout, ReadinessProbe.missed(ready))
            }
            _ = orchestrator.interruption.wait(for: [], milliseconds: 20)
            if orchestrator.interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
    }

    /// Saves the machine, which stands still from then on; its disks are written when it ends.
    private func save(to path: String) throws(OrchestratorError) {
        let client = try QMPClient(folder, limitMilliseconds: 600_000)
        let file = try withHostErrors { () throws(HostError) in try Descriptor.open(path, O_RDWR | O_CREAT | O_EXCL) }
        try client.execute("x-snapshot-begin")
        try client.execute("x-snapshot-save", on: file) { ["state": .string($0), "disks": .array([])] }
        guard HostCall.sync(file.raw) else { throw OrchestratorError(HostError("write", path)) }
        chmod(path, 0o444)
    }

    /// Ends the process, where it runs, and removes everything.
    private func remove() throws(OrchestratorError) {
        guard Folder.exists(folder.path) else { return }
        if folder.isRunning {
            var task = StopTask(folder, orchestrator, limitMilliseconds: 0)
            try task.finish()
        }
        if let error = Folder.remove(folder.runtime) ?? Folder.remove(folder.path) { throw OrchestratorError(error) }
    }
}
