import LabSpec

/// One image that VMs of a lab need, and how it comes to be.
public struct ImageNode: Sendable, Equatable {
    public enum Recipe: Sendable, Equatable {
        /// A file that is there.
        case file(path: String, format: DiskFormat?, sha256: String?)
        /// A file that is downloaded.
        case download(address: ImageAddress, format: DiskFormat, sha256: String)
        /// An empty image.
        case create(format: DiskFormat, sizeBytes: UInt64)
        /// Another image in another format.
        case convert(from: ImageReference, format: DiskFormat, compress: Bool)
        /// What a VM makes of an image, or of an empty disk.
        case build(BuildRecipe)
    }

    /// How VMs refer to it.
    public var reference: ImageReference
    /// What people call it: its name in the lab file, or the path as written.
    public var label: String
    public var recipe: Recipe

    /// Images that must be there first.
    public var inputs: [ImageReference] {
        switch recipe {
        case .file, .download, .create: return []
        case .convert(let from, _, _): return [from]
        case .build(let recipe):
            var inputs: [ImageReference] = []
            if case .image(let from) = recipe.start { inputs.append(from) }
            if let cdrom = recipe.cdrom, !inputs.contains(cdrom) { inputs.append(cdrom) }
            return inputs
        }
    }

    /// Files and folders of the host, other than images, that decide what it becomes.
    public var files: [LabPath] {
        guard case .build(let recipe) = recipe else { return [] }
        let copied = recipe.steps.compactMap { step in
            if case .copy(let copy) = step.action { copy.from } else { nil }
        }
        return [recipe.kernel?.kernel, recipe.kernel?.initrd].compactMap { $0 } + copied
    }
}

/// The images that a set of VMs needs, each before those that are made from it.
public struct ImageGraph: Sendable, Equatable {
    /// Inputs stand before what is made from them.
    public private(set) var nodes: [ImageNode] = []

    /// - Throws: `.image` for a name that the lab file does not have.
    public init(lab: Lab, needing references: [ImageReference]) throws(OrchestratorError) {
        var done: Set<ImageReference> = []
        for reference in references { try visit(reference, of: lab, done: &done) }
    }

    /// The node of a reference that was asked for.
    public subscript(_ reference: ImageReference) -> ImageNode? { nodes.first { $0.reference == reference } }

    private mutating func visit(
        _ reference: ImageReference, of lab: Lab, done: inout Set<ImageReference>
    ) throws(OrchestratorError) {
        guard done.insert(reference).inserted else { return }
        let node = try ImageGraph.node(reference, of: lab)
        // A cycle was refused when the lab file was read; `done` keeps one from running forever all the same.
        for input in node.inputs { try visit(input, of: lab, done: &done) }
        nodes.append(node)
    }

    private static func node(_ reference: ImageReference, of lab: Lab) throws(OrchestratorError) -> ImageNode {
        switch reference {
        case .path(let path):
            return ImageNode(
                reference: reference, label: path.written,
                recipe: .file(path: path.absolute, format: nil, sha256: nil))
        case .named(let name):
            guard let image = lab.image(named: name) else {
                throw OrchestratorError(.image, "the lab file has no image '\(name)'")
            }
            return ImageNode(reference: reference, label: name, recipe: recipe(of: image))
        }
    }

    private static func recipe(of image: LabSpec.Image) -> ImageNode.Recipe {
        switch image.source {
        case .file(let file): .file(path: file.path.absolute, format: file.format, sha256: file.sha256)
        case .download(let source):
            .download(address: source.address, format: source.format, sha256: source.sha256)
        case .create(let recipe): .create(format: recipe.format, sizeBytes: recipe.size.bytes)
        case .convert(let recipe): .convert(from: recipe.from, format: recipe.format, compress: recipe.compress)
        case .build(let recipe): .build(recipe)
        }
    }
}

extension ImageNode {
    /// The name of the file that a recipe makes, from everything that decides its content: equal inputs and recipes
    /// give one file, whichever lab asks.
    /// - Parameter inputDigests: what stands for the content of each of `inputs`, then of each of `files`.
    /// - Returns: nil for a file that is not made.
    public func contentName(inputDigests: [String]) -> String? {
        let text: String
        let format: DiskFormat
        switch recipe {
        case .file: return nil
        case .download(let address, let unpacked, let sha256):
            // Where it comes from does not decide what it is.
            (text, format) = ("download 1 \(sha256) \(address.packing.rawValue)", unpacked)
        case .create(let created, let sizeBytes):
            (text, format) = ("create 1 \(created.rawValue) \(sizeBytes)", created)
        case .convert(_, let target, let compress):
            format = target
            text = "convert 1 \(target.rawValue) \(compress) \(inputDigests.joined(separator: " "))"
        case .build(let recipe):
            format = .qcow2
            text = recipe.digestText + inputDigests.joined(separator: " ")
        }
        return "\(SHA256Digest.of(text)).\(format.rawValue)"
    }
}

extension Lab {
    /// Images that these VMs use, in the order of the lab file, each once.
    public func imageReferences(of instances: [VMInstance]) -> [ImageReference] {
        var seen: Set<ImageReference> = []
        var references: [ImageReference] = []
        for instance in instances {
            let spec = instance.spec
            let used =
                spec.disks.sorted { $0.key < $1.key }.map(\.value.image) + [spec.cdrom, spec.floppy].compactMap { $0 }
            for reference in used where seen.insert(reference).inserted { references.append(reference) }
        }
        return references
    }
}
