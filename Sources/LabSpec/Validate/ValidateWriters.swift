/// One writer of an image file, and no reader beside it: what a guest writes would change under the others.

extension Validator {
    func checkWriters() {
        var groups: [String: [ImageUse]] = [:]
        var order: [String] = []
        for use in ImageUse.all(in: lab) {
            let key = identity(of: use.reference)
            if groups[key] == nil { order.append(key) }
            groups[key, default: []].append(use)
        }
        for key in order {
            let uses = groups[key] ?? []
            guard let writer = uses.first(where: { $0.purpose == .disk(.direct) }) else { continue }
            let others = uses.filter { $0.span != writer.span || $0.vm?.name != writer.vm?.name }
            if let vm = writer.vm, let replicas = vm.replicas, replicas > 1 {
                report(
                    .twoWriters, "\(replicas) replicas of VM '\(vm.name)' would write to one image", at: writer.span,
                    notes: [.init("the replicas are asked for here", at: vm.spans.value("replicas"))],
                    help: "give each an overlay of its own with `base`")
            } else if let vm = writer.vm, uses.count(where: { $0.span == writer.span && $0.vm?.name == vm.name }) > 1 {
                report(
                    .twoWriters, "several VMs of the group '\(vm.name)' would write to one image", at: writer.span,
                    help: "give each a file of its own, or an overlay with `base`")
            } else if others.isEmpty, case .named(let name) = writer.reference {
                report(
                    .goldenWrite, "\(writer.place) would write to the golden image '\(name)'", at: writer.span,
                    notes: declaredImages.first { $0.name == name }.map { [.init("declared here", at: $0.spans.name)] }
                        ?? [],
                    help:
                        "write `base: \(name)` for an overlay, or give the path of a file that is not declared as an image"
                )
            }
            for other in others {
                let message =
                    other.purpose == .disk(.direct)
                    ? "two writers of one image: \(writer.place) and \(other.place)"
                    : "\(other.place) uses an image that \(writer.place) writes to"
                report(
                    .twoWriters, message, at: other.span,
                    notes: [.init("the writer is here", at: writer.span)],
                    help: "use `base` for an overlay, or `mode: read-only` everywhere")
            }
        }
    }

    /// One text for one image, however it is spelled.
    private func identity(of reference: ImageReference) -> String {
        var path: LabPath
        switch reference {
        case .path(let written): path = written
        case .named(let name):
            guard case .file(let source)? = lab.image(named: name)?.source else { return "image:" + name }
            path = source.path
        }
        return Paths.real(path.absolute) ?? path.absolute
    }
}
