/// What a lab file may say and this version cannot run. One table: what `up` refuses, `validate` refuses.
extension Validator {
    func checkSupported() {
        for vm in lab.vms {
            func refuse(_ key: String, _ what: String, _ help: String, spans: SectionSpans? = nil) {
                report(
                    .unsupported, "VM '\(vm.name)': \(what) not supported by this version",
                    at: (spans ?? vm.spans).value(key), help: help)
            }
            if !vm.networks.isEmpty { refuse("networks", "'networks' is", "remove the key") }
            if vm.cpus > 1 { refuse("cpus", "\(vm.cpus) CPUs are", "use 1") }
        }
        let used = Set(ImageUse.all(in: lab).map(\.reference))
        for image in lab.images where used.contains(.named(image.name)) {
            guard case .build = image.source else { continue }
            report(
                .unsupported, "image '\(image.name)': 'build' is not supported by this version",
                at: image.spans.value("build"), help: "build it once by hand and name the file with `path`")
        }
    }
}
