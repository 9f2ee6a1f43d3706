import LabSpec
import VMProtocol

/// An image of a lab after `build`.
public struct BuiltImage: Sendable, Equatable, Encodable {
    public var name: String
    /// Where it lies; nil where it could not be made.
    public var path: String?
    /// Whether it was there before.
    public var wasThere: Bool
    /// Bytes on the host's disk.
    public var allocatedBytes: UInt64
    /// Why it could not be made.
    public var failure: String?
}

extension LabOrchestrator {
    /// Makes images of the lab file without starting its VMs: those named, or all.
    /// - Parameter keepsFailed: whether the VM of a build that fails runs on.
    public func build(_ names: [String], keepsFailed: Bool) throws(OrchestratorError) -> [BuiltImage] {
        for name in names where lab.image(named: name) == nil {
            let near = Suggestion.nearest(to: name, among: lab.images.map(\.name)).map { "; did you mean '\($0)'?" }
            let known = lab.images.isEmpty ? "it has none" : "it has " + lab.images.map(\.name).joined(separator: ", ")
            throw OrchestratorError(.image, "the lab has no image '\(name)'\(near ?? "; \(known)")")
        }
        let chosen = names.isEmpty ? lab.images.map(\.name) : names
        let references = chosen.map { ImageReference.named($0) }
        let lock = try lock("build")
        defer { withExtendedLifetime(lock) {} }
        var store = images
        store.keepsFailedBuilds = keepsFailed
        let graph = try ImageGraph(lab: lab, needing: references)
        let found = try store.survey(graph)
        var resolved = found.images
        try recordLab(
            builtImages: resolved.values.map(\.path).filter { $0.hasPrefix(state.imagesFolder) }.sorted())
        let missing = graph.nodes.filter { resolved[$0.reference]?.isPresent == false }
        var failures = found.failures
        for (reference, reason) in try store.make(missing, images: &resolved) { failures[reference] = reason }
        let wasMissing = Set(missing.map(\.reference))
        return zip(chosen, references).map { name, reference in
            guard let path = resolved[reference]?.path, failures[reference] == nil else {
                return BuiltImage(
                    name: name, path: nil, wasThere: false, allocatedBytes: 0,
                    failure: failures[reference] ?? "it is not known")
            }
            return BuiltImage(
                name: name, path: path, wasThere: !wasMissing.contains(reference),
                allocatedBytes: Folder.allocatedBytes(path), failure: nil)
        }
    }
}
