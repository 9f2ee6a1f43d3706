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
    ///   - failures: why VMs cannot run, as their images cannot be used.
    ///   - orphans: running VMs of this lab that the lab file no longer has.
    public static func plan(
        instances: [VMInstance], missingImages: [ImageNode], definitions: [String: VMDefinition],
        bases: [String: [DiskSlot: String]], observations: [String: VMObservation],
        failures: [String: String] = [:], orphans: [String] = []
    ) -> Plan {
        var plan = Plan(images: missingImages, vms: [], warnings: [])
        for instance in instances {
            let observation = observations[instance.name] ?? VMObservation()
            if let reason = failures[instance.name] {
                plan.vms.append(VMPlan(instance: instance, decision: .refuse(reason: reason), missingOverlays: []))
                continue
            }
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
        // The record is written before an overlay gets its name: an overlay that is there is never made again.
        let missing = overlaySlots.filter { !observation.overlays.contains($0) }
        func plan(_ decision: VMPlan.Decision) -> VMPlan {
            VMPlan(instance: instance, decision: decision, missingOverlays: missing)
        }

        if let reason = unusableState(instance, overlaySlots, observation) {
            return VMPlan(instance: instance, decision: .refuse(reason: reason), missingOverlays: [])
        }
        let isSame = observation.isRunning && observation.record?.run?.definition == definition.digest
        if isSame, missing.isEmpty {
            // Its overlay stands on another image than the file says now: that is no "nothing changed".
            if let reason = otherBase(instance, overlaySlots, missing, bases, observation) {
                return VMPlan(
                    instance: instance, decision: .refuse(reason: "it runs on, but \(reason)"), missingOverlays: [])
            }
            let awaits = instance.spec.ready != nil && observation.record?.run?.readyAt == nil
            return VMPlan(instance: instance, decision: awaits ? .awaitReady : .leave, missingOverlays: [])
        }
        if let reason = wrongBase(instance, overlaySlots, missing, bases, observation) {
            return VMPlan(instance: instance, decision: .refuse(reason: reason), missingOverlays: [])
        }
        if observation.isRunning {
            guard let old = observation.record?.run?.description else {
                let wayOut = "'labctl down \(instance.name)' stops it, 'labctl up' starts it then"
                return VMPlan(
                    instance: instance,
                    decision: .refuse(reason: "it runs, and nothing is known about how it was started; \(wayOut)"),
                    missingOverlays: [])
            }
            return plan(.restart(reason: VMDefinition.changes(from: old, to: definition.description)))
        }
        switch observation.phase {
        case .absent: return plan(.start(reason: "new"))
        case .killed: return plan(.start(reason: "its process was killed or the host went down"))
        case .failed: return plan(.start(reason: "failed: \(observation.exit?.message ?? "no reason given")"))
        case .stopped, .running, .ready, .paused, .restarting, .unknown: return plan(.start(reason: "stopped"))
        }
    }

    /// Why nothing may be done to a VM: what is known about its overlays cannot be read, or they are not known. Nil where
    /// all is well.
    private static func unusableState(
        _ instance: VMInstance, _ slots: [DiskSlot], _ observation: VMObservation
    ) -> String? {
        let found: String
        if let fault = observation.fault {
            guard fault.kind == .damaged else { return "\(fault.sentence); use the newer labctl for this lab" }
            found = fault.sentence
        } else {
            let strays = slots.filter { observation.strays.contains($0) }
            guard !strays.isEmpty else { return nil }
            found = "its record does not know \(strays.map { "\($0.rawValue).qcow2" }.joined(separator: ", "))"
        }
        let running = observation.isRunning ? "it runs on and " : ""
        return "\(found); \(running)its overlays are kept. 'labctl up --adopt \(instance.name)' goes on with them as "
            + "they are, 'labctl reset \(instance.name)' throws them away"
    }

    /// Why the overlays of a VM cannot be used with the images that the lab names now; nil when they can.
    private static func wrongBase(
        _ instance: VMInstance, _ slots: [DiskSlot], _ missing: [DiskSlot], _ bases: [DiskSlot: String],
        _ observation: VMObservation
    ) -> String? {
        for slot in slots where !missing.contains(slot) {
            let wayOut = "'labctl reset \(instance.name)' starts over with a fresh overlay"
            if let drift = observation.drift[slot] { return "\(drift); \(wayOut)" }
        }
        return otherBase(instance, slots, missing, bases, observation)
    }

    /// Why an overlay does not stand on the image that the lab file names now; nil when all do.
    private static func otherBase(
        _ instance: VMInstance, _ slots: [DiskSlot], _ missing: [DiskSlot], _ bases: [DiskSlot: String],
        _ observation: VMObservation
    ) -> String? {
        for slot in slots where !missing.contains(slot) {
            let wayOut = "'labctl reset \(instance.name)' starts over with a fresh overlay"
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
