import LabSpec
import VMProtocol

/// From what is asked for and what is there to what has to be done. Pure: it looks at nothing on the host.
public enum Planner {
    /// - Parameters:
    ///   - instances: the VMs that were asked for, in the order of the lab file.
    ///   - missingImages: images that are not there yet and can be made, inputs first.
    ///   - definitions: each VM as the lab file has it now.
    ///   - bases: path of the image below each overlay of a VM, by VM and slot.
    ///   - observations: each VM as it was found.
    ///   - orphans: running VMs of this lab that the lab file no longer has.
    public static func plan(
        instances: [VMInstance], missingImages: [ImageNode], definitions: [String: VMDefinition],
        bases: [String: [DiskSlot: String]], observations: [String: VMObservation], orphans: [String] = []
    ) -> Plan {
        var plan = Plan(images: missingImages, vms: [], warnings: [])
        for instance in instances {
            let observation = observations[instance.name] ?? VMObservation()
            guard let definition = definitions[instance.name] else { continue }
            let vm = decide(instance, definition, bases: bases[instance.name] ?? [:], observation)
            if observation.isRunning, case .leave = vm.decision, let drift = observation.drift.values.sorted().first {
                plan.warnings.append("\(instance.name) runs on, but \(drift)")
            }
            plan.vms.append(vm)
        }
        for name in orphans {
            plan.warnings.append("\(name) runs but is no longer in the lab file; 'labctl destroy \(name)' removes it")
        }
        return plan
    }

    private static func decide(
        _ instance: VMInstance, _ definition: VMDefinition, bases: [DiskSlot: String], _ observation: VMObservation
    ) -> VMPlan {
        let overlaySlots = instance.spec.disks.filter { $0.value.mode == .overlay }.keys.sorted()
        // An overlay without a record was being made when its maker died: nothing ever ran on it.
        let missing = overlaySlots.filter { slot in
            !observation.overlays.contains(slot) || observation.record?.overlays[slot.rawValue] == nil
        }
        func plan(_ decision: VMPlan.Decision) -> VMPlan {
            VMPlan(instance: instance, decision: decision, missingOverlays: missing)
        }

        let isSame = observation.isRunning && observation.record?.run?.definition == definition.digest
        if isSame, missing.isEmpty {
            let awaits = instance.spec.ready != nil && observation.record?.run?.readyAt == nil
            return VMPlan(instance: instance, decision: awaits ? .awaitReady : .leave, missingOverlays: [])
        }
        if let reason = wrongBase(instance, overlaySlots, missing, bases, observation) {
            return VMPlan(instance: instance, decision: .refuse(reason: reason), missingOverlays: [])
        }
        if observation.isRunning {
            guard let old = observation.record?.run?.description else {
                return plan(.restart(reason: "nothing is known about the process that runs"))
            }
            return plan(.restart(reason: VMDefinition.changes(from: old, to: definition.description)))
        }
        switch observation.phase {
        case .absent: return plan(.start(reason: "new"))
        case .killed: return plan(.start(reason: "its process was killed or the host went down"))
        case .failed: return plan(.start(reason: "failed: \(observation.exit?.message ?? "no reason given")"))
        case .stopped, .running, .ready: return plan(.start(reason: "stopped"))
        }
    }

    /// Why the overlays of a VM cannot be used with the images that the lab names now; nil when they can.
    private static func wrongBase(
        _ instance: VMInstance, _ slots: [DiskSlot], _ missing: [DiskSlot], _ bases: [DiskSlot: String],
        _ observation: VMObservation
    ) -> String? {
        for slot in slots where !missing.contains(slot) {
            let wayOut = "'labctl reset \(instance.name)' starts over with a fresh overlay"
            if let drift = observation.drift[slot] { return "\(drift); \(wayOut)" }
            guard let base = bases[slot], let recorded = observation.record?.overlays[slot.rawValue] else { continue }
            if recorded.basePath != base {
                return
                    "the overlay of \(slot.rawValue) was made on \(recorded.basePath), the lab file now says \(base); "
                    + wayOut
            }
        }
        return nil
    }
}
