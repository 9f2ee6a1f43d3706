import Glibc
import Images
import LabSpec
import VMProtocol

/// Grades VMs in throw-away clones: a clone's disks are overlays on the VM's own, so that whatever a check does is gone with
/// it. A VM has to be off: what a running guest has not written yet is on no disk.
public struct IsolatedChecks: Sendable {
    private let orchestrator: LabOrchestrator
    private let survey: LabOrchestrator.Survey
    private let executable: String
    private let folder: String

    /// How long a clone gets to obey `quit`.
    private static let quitMilliseconds: UInt64 = 3000
    private static let folderPrefix = "isolated-"

    public init(_ orchestrator: LabOrchestrator, _ instances: [VMInstance]) throws(OrchestratorError) {
        self.orchestrator = orchestrator
        survey = try orchestrator.survey(instances)
        executable = try VMExecutable.find()
        folder = "\(orchestrator.folder.path)/\(Self.folderPrefix)\(getpid())"
        removeLeftovers()
    }

    /// What a killed labctl left; its clones have ended with it.
    private func removeLeftovers() {
        for name in Folder.names(in: orchestrator.folder.path) where name.hasPrefix(Self.folderPrefix) {
            guard let owner = Int32(name.dropFirst(Self.folderPrefix.count)), kill(owner, 0) != 0, errno == ESRCH else {
                continue
            }
            Folder.remove("\(orchestrator.folder.path)/\(name)")
        }
    }

    /// Removes what is left when all have run.
    public func finish() { Folder.remove(folder) }

    /// Boots a clone, runs the VM's checks in it and throws it away.
    public func run(_ instance: VMInstance) -> [CheckResult] {
        let vm = orchestrator.folder.vm(instance.name)
        guard !vm.isRunning else {
            return CheckRunner.failed(
                instance,
                "\(vm.name) runs: 'labctl down \(vm.name)' before it is checked isolated, or leave out --isolated")
        }
        let path = "\(folder)/\(vm.name)"
        let clone = VMFolder(
            name: vm.name, path: path, runtime: "\(orchestrator.folder.runtime)/\(SHA256Digest.of(path).prefix(12))")
        defer { for left in [clone.path, clone.runtime] { Folder.remove(left) } }
        do throws(OrchestratorError) {
            let process = try start(instance, vm, clone)
            defer { stop(process, clone) }
            try awaitReady(instance, process, clone)
            return CheckRunner(instance, clone, interruption: orchestrator.interruption).run(as: vm.name)
        } catch {
            return CheckRunner.failed(instance, error.message)
        }
    }

    private func start(
        _ instance: VMInstance, _ vm: VMFolder, _ clone: VMFolder
    ) throws(OrchestratorError) -> VMProcess {
        if case .refuse(let reason)? = survey.plan.vms.first(where: { $0.instance.name == vm.name })?.decision {
            throw OrchestratorError(.vm, reason)
        }
        guard var description = survey.definitions[vm.name]?.description else {
            throw OrchestratorError(.image, "its images cannot be used")
        }
        if let error = Folder.make(clone.path) ?? Folder.make(clone.runtime) { throw OrchestratorError(error) }
        for index in description.disks.indices where !description.disks[index].readOnly {
            let slot = description.disks[index].slot.rawValue
            let below = try source(of: description.disks[index], instance, vm)
            let overlay = "\(clone.path)/\(slot).qcow2"
            try withImageErrors { () throws(ImageError) in
                try DiskImage.createOverlay(overlay, backing: below.path, backingFormat: below.format)
            }
            description.disks[index].path = overlay
            description.disks[index].format = "qcow2"
            let record = vm.recordReading.known?.overlays[slot]
            let isOverlay = below.path.hasPrefix(vm.path + "/")
            let layers = isOverlay ? try Layers.declared(below.path, record) : []
            description.imageRules?.files += [below.path] + layers
        }
        description.restart = nil
        description.endsWithParent = true
        description.stateFolder = clone.path
        description.runtimeFolder = clone.runtime
        let lock = try withHostErrors { () throws(HostError) in try FileLock.tryLock(clone.file(.lock)) }
        guard let lock else { throw OrchestratorError(.vm, "a clone of \(vm.name) runs already") }
        return try withHostErrors { () throws(HostError) in
            try VMProcess(executable: executable, description: description, lock: lock, log: clone.file(.processLog))
        }
    }

    /// What a disk of the clone stands on: the VM's own disk, or its golden image where it never ran.
    private func source(
        of disk: VMDescription.Disk, _ instance: VMInstance, _ vm: VMFolder
    ) throws(OrchestratorError) -> (path: String, format: String) {
        if Folder.exists(disk.path) { return (disk.path, disk.format ?? "raw") }
        let slot = DiskSlot(rawValue: disk.slot.rawValue)
        guard let spec = slot.flatMap({ instance.spec.disks[$0] }), let image = survey.images[spec.image],
            image.isPresent,
            let format = image.format
        else {
            throw OrchestratorError(
                .vm, "\(vm.name) has no disk \(disk.slot.rawValue) yet: 'labctl up \(vm.name)' makes it")
        }
        return (image.path, format)
    }

    private func awaitReady(
        _ instance: VMInstance, _ process: VMProcess, _ clone: VMFolder
    ) throws(OrchestratorError) {
        let interruption = orchestrator.interruption
        var isStarted = false
        while !isStarted {
            switch process.news() {
            case .nothing: _ = interruption.wait(for: [process.report.raw], milliseconds: 1000)
            case .started: isStarted = true
            case .failed(let reason): throw OrchestratorError(.vm, reason)
            case .gone: throw OrchestratorError(.vm, "its clone's process ended before the guest ran")
            }
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
        guard let ready = instance.spec.ready else { return }
        var probe = ReadinessProbe(ready, clone, from: 0)
        let deadline = WallClock.monotonicNanoseconds + ready.timeout.milliseconds * 1_000_000
        while !probe.find() {
            guard clone.isRunning else { throw OrchestratorError(.vm, "its clone ended before it was ready") }
            guard WallClock.monotonicNanoseconds < deadline else {
                throw OrchestratorError(.timeout, "its clone is not ready: \(ReadinessProbe.missed(ready))")
            }
            _ = interruption.wait(for: [], milliseconds: 20)
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
    }

    private func stop(_ process: VMProcess, _ clone: VMFolder) {
        _ = Stopper(orchestrator).quit(clone)
        let deadline = WallClock.monotonicNanoseconds + Self.quitMilliseconds * 1_000_000
        while clone.isRunning, WallClock.monotonicNanoseconds < deadline { usleep(10_000) }
        if clone.isRunning { kill(process.processID, SIGKILL) }
        var status: Int32 = 0
        waitpid(process.processID, &status, 0)
    }
}
