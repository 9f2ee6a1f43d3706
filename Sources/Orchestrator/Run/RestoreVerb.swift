import LabSpec
import VMProtocol

extension LabOrchestrator {
    /// Puts VMs back to what they were in a snapshot, their disks and, where they ran, their memory: also those that are down.
    /// - Parameter names: VMs of the snapshot; all of it when there are none.
    public func restore(
        _ name: String, _ names: [String], options: StartOptions = StartOptions()
    ) throws(OrchestratorError) -> [VMOutcome] {
        let executable = try VMExecutable.find()
        let lock = try lock("restore")
        defer { withExtendedLifetime(lock) {} }
        let record = try folder.snapshot(name)
        let known = lab.instances().map(\.name)
        let wanted = names.isEmpty ? record.vms.keys.filter(known.contains).sorted() : names
        let chosen = try instances(wanted)
        if names.isEmpty, let gone = record.vms.keys.filter({ !known.contains($0) }).sorted().first {
            progress(.warning("\(gone) is in the snapshot but no longer in the lab file; it is left alone"))
        }
        for instance in chosen {
            guard let saved = record.vms[instance.name] else {
                let vms = record.vms.keys.sorted().joined(separator: ", ")
                throw OrchestratorError(.vm, "snapshot '\(name)' has no VM '\(instance.name)'; it has \(vms)")
            }
            // Before anything is stopped.
            for overlay in saved.overlays.values {
                if let drift = try images.drift(overlay, mayRead: true) {
                    throw OrchestratorError(.image, "\(instance.name) cannot be put back: \(drift)")
                }
            }
            for path in saved.layers.values.sorted() + [saved.state].compactMap({ $0 }) where !Folder.exists(path) {
                throw OrchestratorError(.state, "\(instance.name) cannot be put back: \(path) is gone")
            }
        }
        let outcomes = try run(try survey(chosen), executable: executable, options: options) { plan in
            guard let saved = record.vms[plan.instance.name] else { return }
            plan.decision = .reset(startsAgain: saved.state != nil)
            plan.missingOverlays = []
            plan.source = .restored(saved)
        }
        Layers(folder: folder).collect()
        folder.record("restored", detail: name)
        return outcomes
    }

    /// Finds what VMs begin as that come from a snapshot and start on fresh disks.
    func chooseSources(_ survey: inout Survey, executable: String) throws(OrchestratorError) {
        // One machine for all VMs of a group.
        var warm: [String: SavedVM] = [:]
        for index in survey.plan.vms.indices where survey.plan.vms[index].source == nil {
            let plan = survey.plan.vms[index]
            guard let origin = plan.instance.spec.origin, plan.startsFresh,
                survey.definitions[plan.instance.name] != nil
            else { continue }
            do throws(OrchestratorError) {
                let saved: SavedVM
                switch origin {
                case .snapshot(let name): saved = try member(for: plan.instance, of: folder.snapshot(name))
                case .warm(let recipe):
                    let group = plan.instance.spec.name
                    if let known = warm[group] {
                        saved = known
                    } else {
                        saved = try WarmMachine(self, survey, plan.instance, recipe, executable: executable).saved()
                    }
                    warm[group] = saved
                }
                try check(saved, fits: plan.instance, survey)
                survey.plan.vms[index].source = .clone(saved)
            } catch {
                if error.kind == .interrupted { throw error }
                survey.plan.vms[index].decision = .refuse(reason: error.message)
            }
        }
    }

    /// Which VM of a snapshot another begins as: the one of its name, one of its group, or the only one.
    private func member(
        for instance: VMInstance, of record: SnapshotRecord
    ) throws(OrchestratorError) -> SavedVM {
        if let own = record.vms[instance.name] { return own }
        let group = Set(instance.spec.instanceNames)
        let names = record.vms.keys.sorted()
        if let first = names.first(where: group.contains) ?? (names.count == 1 ? names[0] : nil),
            let saved = record.vms[first]
        {
            return saved
        }
        throw OrchestratorError(
            .vm,
            "snapshot '\(record.name)' has several VMs, none of them of '\(instance.spec.name)': "
                + names.joined(separator: ", "))
    }

    /// Refuses a machine whose disks are not those that the lab file gives the VM. What else differs the VM process finds.
    private func check(_ saved: SavedVM, fits instance: VMInstance, _ survey: Survey) throws(OrchestratorError) {
        guard saved.state != nil else {
            throw OrchestratorError(
                .vm, "\(saved.description.name) was off when the snapshot was made: no VM can begin as it")
        }
        for (slot, disk) in instance.spec.disks.sorted(by: { $0.key < $1.key }) where disk.mode == .overlay {
            let base = survey.images[disk.image]?.path ?? disk.image.label
            guard let overlay = saved.overlays[slot.rawValue] else {
                throw OrchestratorError(.vm, "the saved machine has no disk \(slot.rawValue)")
            }
            guard overlay.basePath == base else {
                throw OrchestratorError(
                    .image,
                    "the saved machine's \(slot.rawValue) stands on \(overlay.basePath), the lab file now says \(base)")
            }
        }
    }
}
