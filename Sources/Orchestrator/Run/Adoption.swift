import Images
import LabSpec
import VMProtocol

/// Takes on overlays whose record is lost or damaged: what they were made on stands in their own headers.
struct Adoption {
    private let orchestrator: LabOrchestrator
    private let images: [ImageReference: ResolvedImage]

    init(_ orchestrator: LabOrchestrator, _ images: [ImageReference: ResolvedImage]) {
        self.orchestrator = orchestrator
        self.images = images
    }

    /// Makes a record for a VM that has overlays and no record that knows them. Does nothing for other VMs, and nothing
    /// for one that runs.
    func adopt(_ instance: VMInstance) throws(OrchestratorError) {
        let vm = orchestrator.folder.vm(instance.name)
        let found = try orchestrator.observe(vm, checksGolden: false)
        if let fault = found.fault, fault.kind == .newer { return }
        let slots = instance.spec.disks.filter { $0.value.mode == .overlay && found.strays.contains($0.key) }
        guard !slots.isEmpty || found.fault != nil else { return }
        guard !found.isRunning else {
            throw OrchestratorError(
                .vm,
                "\(vm.name) runs: 'labctl down \(vm.name)' stops it, then 'labctl up --adopt \(vm.name)' takes it on")
        }
        var record = found.record ?? VMRecord()
        for (slot, disk) in slots.sorted(by: { $0.key < $1.key }) {
            guard let base = images[disk.image] else { continue }
            record.overlays[slot.rawValue] = try overlay(slot, of: vm, on: base, label: disk.image.label)
        }
        if let fault = found.fault {
            let kept = try fault.putAside()
            orchestrator.progress(.warning("\(vm.name): the damaged record is kept as \(kept)"))
        }
        try vm.write(record)
        orchestrator.folder.record("adopted", vm: vm.name)
        orchestrator.progress(
            .warning("\(vm.name) goes on with its overlays and the golden images as they are now"))
    }

    private func overlay(
        _ slot: DiskSlot, of vm: VMFolder, on base: ResolvedImage, label: String
    ) throws(OrchestratorError) -> VMRecord.Overlay {
        let path = vm.overlay(slot)
        guard let below = try Overlays.base(of: path), below.file == base.path, let format = below.format else {
            throw OrchestratorError(
                .image,
                "\(path) is no overlay of \(base.path), on which the lab file has '\(label)'; "
                    + "'labctl image info \(path)' shows what it is")
        }
        return VMRecord.Overlay(
            basePath: base.path, baseFormat: format, golden: try orchestrator.images.goldenFiles(base, label: label))
    }
}
