/// The checks that need more than one section: names that refer to others, and what a VM lacks.

/// Checks a decoded lab. The lab may have holes where sections had mistakes; those have been reported already.
struct Validator {
    let lab: Lab
    /// Every name under `images`, also of entries with mistakes: they are declared all the same.
    let declaredImages: [ImageDraft]
    let sink: DiagnosticSink

    /// VMs in the whole lab, replicas counted.
    static let maximumInstances = 1000

    init(_ lab: Lab, declaredImages: [ImageDraft], sink: DiagnosticSink) {
        self.lab = lab
        self.declaredImages = declaredImages
        self.sink = sink
    }

    func validate(checksFiles: Bool, checksSupport: Bool) {
        checkNames()
        checkImageReferences()
        checkInstanceNames()
        checkCycles()
        checkWriters()
        checkOrigins()
        // A VM with a mistake in it may lack only what the mistake hides.
        if !sink.hasErrors { checkBoot() }
        if checksSupport { checkSupported() }
        if checksFiles { FileChecks(lab, sink: sink).check() }
    }

    func report(
        _ code: DiagnosticCode, _ message: String, at span: SourceSpan, label: String? = nil,
        notes: [Diagnostic.Note] = [], help: String? = nil, severity: Diagnostic.Severity = .error
    ) {
        sink.report(Diagnostic(code, message, at: span, label: label, notes: notes, help: help, severity: severity))
    }

    /// `depends_on` and `networks` name what is declared.
    private func checkNames() {
        let vmNames = Set(lab.vms.map(\.name))
        let networkNames = Set(lab.networks.map(\.name))
        for vm in lab.vms {
            for name in vm.dependsOn where !vmNames.contains(name) {
                // `student-02` is one of a group: a VM waits for all of it or for none.
                let prefix = name.lastIndex(of: "-").map { String(name[..<$0]) }
                let group = lab.vms.first { $0.name == prefix && $0.replicas != nil }?.name
                reportUnknown(
                    .unknownVM, "VM", name, in: "'depends_on' of VM '\(vm.name)'", known: lab.vms.map(\.name),
                    meant: group,
                    at: vm.spans.item(name, of: "depends_on"), declaredAt: { lab.vm(named: $0)?.spans.name })
            }
            for name in Set(vm.networks).sorted() where !networkNames.contains(name) {
                reportUnknown(
                    .unknownNetwork, "network", name, in: "'networks' of VM '\(vm.name)'",
                    known: lab.networks.map(\.name),
                    at: vm.spans.item(name, of: "networks"),
                    declaredAt: { near in lab.networks.first { $0.name == near }?.spans.name })
            }
        }
    }

    /// Images that are named are declared, and raw ones by path say so.
    private func checkImageReferences() {
        let names = Set(declaredImages.map(\.name))
        for use in ImageUse.all(in: lab) {
            switch use.reference {
            case .named(let name) where !names.contains(name):
                reportUnknown(
                    .unknownImage, "image", name, in: use.place, known: declaredImages.map(\.name), at: use.span,
                    declaredAt: { near in declaredImages.first { $0.name == near }?.spans.name },
                    help: "a path has a '/' or a '.' in it: write './\(name)' if you mean a file")
            case .path(let path) where !use.isRawByNature:
                let ending = path.written.lowercased().split(separator: ".").last ?? ""
                guard ["raw", "dd", "bin", "img"].contains(ending) else { continue }
                report(
                    .rawFormat,
                    "'\(path.written.clippedForMessage)' in \(use.place) \(ending == "img" ? "may be" : "looks") raw, "
                        + "but cannot say so here", at: use.span,
                    help: "declare it under `images` with `path` and `format`, and refer to it by its name",
                    severity: ending == "img" ? .warning : .error)
            default: break
            }
        }
    }

    private func reportUnknown(
        _ code: DiagnosticCode, _ noun: String, _ name: String, in place: String, known: [String],
        meant: String? = nil, at span: SourceSpan, declaredAt: (String) -> SourceSpan?, help: String? = nil
    ) {
        if sink.isFull { return report(code, "unknown name", at: span) }
        let near = meant ?? Suggestion.nearest(to: name, among: known)
        let list = known.isEmpty ? "none is declared" : "declared are " + known.prefix(20).joined(separator: ", ")
        report(
            code, "\(place) refers to the \(noun) '\(name.clippedForMessage)', which is not declared", at: span,
            label: near.map { "did you mean '\($0)'?" },
            notes: near.flatMap { near in declaredAt(near).map { [.init("'\(near)' is declared here", at: $0)] } }
                ?? section(of: code),
            help: near == nil ? (help ?? list) : nil)
    }

    /// Where such names are declared, if anywhere.
    private func section(of code: DiagnosticCode) -> [Diagnostic.Note] {
        let sections: [DiagnosticCode: String] = [.unknownImage: "images", .unknownNetwork: "networks"]
        guard let name = sections[code], let entry = lab.spans.entries[name] else { return [] }
        return [.init("\(name) are declared here", at: entry.key)]
    }

    /// No two VMs have one name once replicas are numbered, and they are not too many.
    private func checkInstanceNames() {
        var owners: [String: VM] = [:]
        var count = 0
        for vm in lab.vms {
            count += vm.replicas ?? 1
            if count > Validator.maximumInstances {
                report(
                    .limit,
                    "with VM '\(vm.name)' the lab has \(count) VMs; at most \(Validator.maximumInstances) can be",
                    at: vm.spans.entries["replicas"]?.value ?? vm.spans.name)
                return
            }
            for name in vm.instanceNames {
                guard let owner = owners[name] else {
                    owners[name] = vm
                    continue
                }
                report(
                    .nameCollision, "VM '\(vm.name)' and VM '\(owner.name)' both make a VM called '\(name)'",
                    at: vm.spans.name, notes: [.init("'\(owner.name)' is here", at: owner.spans.name)],
                    help: "rename one of them")
                break
            }
        }
    }

    /// Warnings about VMs that cannot boot as they are written.
    private func checkBoot() {
        for vm in lab.vms {
            let written = vm.spans.entries
            let hasDisk = written["disks"] != nil
            if !hasDisk, ["cdrom", "fda", "kernel", "networks"].allSatisfy({ written[$0] == nil }) {
                report(
                    .nothingToBoot, "VM '\(vm.name)' has no disk, CD, floppy or kernel: nothing will boot",
                    at: vm.spans.name, help: "add `disks`, `cdrom`, `fda` or `kernel`", severity: .warning)
                continue
            }
            guard let boot = written["boot"], vm.kernel == nil else { continue }
            let devices: [(device: BootDevice, isThere: Bool, key: String)] = [
                (.floppy, written["fda"] != nil, "fda"), (.disk, hasDisk, "disks"),
                (.cdrom, written["cdrom"] != nil, "cdrom"), (.network, written["networks"] != nil, "networks"),
            ]
            for row in devices where vm.boot.contains(row.device) && !row.isThere {
                report(
                    .badBootOrder, "VM '\(vm.name)' boots from '\(row.device.rawValue)', but has no '\(row.key)'",
                    at: boot.value, severity: .warning)
            }
        }
    }
}
