import LabSpec
import VMProtocol

/// Gives stopped VMs fresh overlays.
final class Freshener {
    private let orchestrator: LabOrchestrator
    private let images: [ImageReference: ResolvedImage]
    private var golden: [ImageReference: [GoldenFile]] = [:]

    init(_ orchestrator: LabOrchestrator, _ images: [ImageReference: ResolvedImage]) {
        self.orchestrator = orchestrator
        self.images = images
    }

    /// Ends the VM if it runs and replaces every overlay. Each is made beside the old one and renamed over it, so that
    /// a crash leaves the one or the other.
    func reset(_ instance: VMInstance) throws(OrchestratorError) {
        let vm = orchestrator.folder.vm(instance.name)
        // What is about to be thrown away needs no orderly shutdown.
        try Stopper(orchestrator).stopNow(vm, powerDownFor: 0)
        if let error = Folder.make(vm.path) { throw OrchestratorError(error) }
        guard let lock = try withHostErrors({ () throws(HostError) in try FileLock.tryLock(vm.file(.lock)) }) else {
            throw OrchestratorError(.vm, "\(vm.name) was started by somebody else just now")
        }
        defer { withExtendedLifetime(lock) {} }
        Overlays.clean(vm)
        var record = vm.readRecord() ?? VMRecord()
        record.overlays = [:]
        let overlays = Overlays(images: orchestrator.images)
        for (slot, disk) in instance.spec.disks.sorted(by: { $0.key < $1.key }) where disk.mode == .overlay {
            guard let base = images[disk.image] else { continue }
            let overlay = try overlays.make(
                slot, of: vm, on: base, label: disk.image.label, golden: golden[disk.image])
            golden[disk.image] = overlay.golden
            record.overlays[slot.rawValue] = overlay
        }
        try vm.write(record)
    }
}
