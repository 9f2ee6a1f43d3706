/// VMs that go on from a saved machine.

extension Validator {
    func checkOrigins() {
        for vm in lab.vms {
            guard let origin = vm.origin else { continue }
            if case .snapshot(let name) = origin, vm.spans.entries["warm"] != nil {
                report(
                    .conflict, "'warm' and 'from_snapshot: \(name)' in VM '\(vm.name)' exclude one another",
                    at: vm.spans.key("warm"), help: "write `from_snapshot: warm`, or leave out 'warm'")
            }
            if case .warm(let recipe) = origin, recipe.steps.isEmpty, vm.ready == nil {
                let key = vm.spans.entries["from_snapshot"] == nil ? "warm" : "from_snapshot"
                report(
                    .missingCompanion, "nothing says when the machine of VM '\(vm.name)' is warm",
                    at: vm.spans.key(key),
                    help: "add `ready`, or `warm: { steps: [ … ] }`")
            }
            for (slot, disk) in vm.disks.sorted(by: { $0.key < $1.key }) where disk.mode == .direct {
                report(
                    .conflict,
                    "VM '\(vm.name)' goes on from a saved machine and writes to the image of \(slot.rawValue) itself",
                    at: disk.spans.value("mode"), help: "give it an overlay with `base`, or `mode: read-only`")
            }
        }
    }
}
