/// What a lab file may say and this version cannot run. One table: what `up` refuses, `validate` refuses.
extension Validator {
    func checkSupported() {
        for vm in lab.distinctVMs {
            func refuse(_ key: String, _ what: String, _ help: String, spans: SectionSpans? = nil) {
                report(
                    .unsupported, "VM '\(vm.name)': \(what) not supported by this version",
                    at: (spans ?? vm.spans).value(key), help: help)
            }
            if !vm.networks.isEmpty { refuse("networks", "'networks' is", "remove the key") }
            if vm.cpus > 1, vm.accelerator == .verify {
                refuse("cpus", "\(vm.cpus) CPUs with `accel: verify` are", "use 1, or another `accel`")
            }
        }
    }
}
