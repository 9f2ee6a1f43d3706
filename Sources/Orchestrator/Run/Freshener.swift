import LabSpec
import VMProtocol

/// Gives VMs that do not run fresh overlays.
final class Freshener {
    private let orchestrator: LabOrchestrator
    private let images: [ImageReference: ResolvedImage]
    private var golden: [ImageReference: [GoldenFile]] = [:]

    init(_ orchestrator: LabOrchestrator, _ images: [ImageReference: ResolvedImage]) {
        self.orchestrator = orchestrator
        self.images = images
    }

    /// Replaces every overlay of a VM; the caller holds its lock.
    ///
    /// The fresh ones are made first, so that an image that cannot be used costs nothing. Then the old ones go, the record
    /// is written and the fresh ones get their names: at no moment does the record speak of another image than the one
    /// that an overlay in its place was made on. A crash in between leaves no overlay, and the next `up` makes it.
    /// - Parameter source: the machine whose disks they stand on; nil: the golden images.
    func refresh(_ instance: VMInstance, _ vm: VMFolder, source: StartSource? = nil) throws(OrchestratorError) {
        var record = try usableRecord(vm)
        let fresh = try prepare(instance, vm, source)
        do throws(OrchestratorError) {
            try removeOverlays(vm)
            record.overlays = [:]
            record.instanceID = nil
            record.provisionedAt = nil
            if case .restored(let saved) = source { record.instanceID = saved.instanceID }
            for overlay in fresh { record.overlays[overlay.slot.rawValue] = overlay.overlay }
            try vm.write(record)
        } catch {
            for overlay in fresh { overlay.discard() }
            throw error
        }
        for overlay in fresh { try overlay.commit() }
    }

    /// Removes every overlay of a VM; the caller holds its lock.
    func clear(_ vm: VMFolder) throws(OrchestratorError) {
        var record = try usableRecord(vm)
        try removeOverlays(vm)
        record.overlays = [:]
        record.instanceID = nil
        try vm.write(record)
    }

    /// The record, or a new one in place of one that is damaged.
    private func usableRecord(_ vm: VMFolder) throws(OrchestratorError) -> VMRecord {
        let reading = vm.recordReading
        if let fault = reading.fault {
            let kept = try fault.putAside()
            orchestrator.progress(.warning("\(fault.sentence); it is kept as \(kept) and written anew"))
        }
        return reading.known ?? VMRecord()
    }

    /// Makes the fresh overlays. A disk too full for both has the old ones removed first: they are what is to go.
    private func prepare(
        _ instance: VMInstance, _ vm: VMFolder, _ source: StartSource?
    ) throws(OrchestratorError) -> [Overlays.Prepared] {
        do throws(OrchestratorError) {
            return try prepareOnce(instance, vm, source)
        } catch {
            guard error.kind == .noSpace, DiskSlot.allCases.contains(where: { Folder.exists(vm.overlay($0)) }) else {
                throw error
            }
            try removeOverlays(vm)
            return try prepareOnce(instance, vm, source)
        }
    }

    private func prepareOnce(
        _ instance: VMInstance, _ vm: VMFolder, _ source: StartSource?
    ) throws(OrchestratorError) -> [Overlays.Prepared] {
        let overlays = Overlays(images: orchestrator.images)
        var prepared: [Overlays.Prepared] = []
        do throws(OrchestratorError) {
            if let saved = source?.saved {
                for slot in DiskSlot.allCases {
                    if let overlay = try overlays.prepare(slot, of: vm, from: saved) { prepared.append(overlay) }
                }
                return prepared
            }
            for (slot, disk) in instance.spec.disks.sorted(by: { $0.key < $1.key }) where disk.mode == .overlay {
                guard let base = images[disk.image] else { continue }
                let overlay = try overlays.prepare(
                    slot, of: vm, on: base, label: disk.image.label, golden: golden[disk.image])
                golden[disk.image] = overlay.overlay.golden
                prepared.append(overlay)
            }
        } catch {
            for overlay in prepared { overlay.discard() }
            throw error
        }
        return prepared
    }

    private func removeOverlays(_ vm: VMFolder) throws(OrchestratorError) {
        for slot in DiskSlot.allCases {
            guard HostCall.unlink(vm.overlay(slot)) else {
                throw OrchestratorError(HostError("remove", vm.overlay(slot)))
            }
        }
    }
}
