import LabSpec

/// The images and VMs of a lab and what stands on what, for people.
public struct LabGraph: Sendable, Equatable, Encodable {
    public struct Node: Sendable, Equatable, Encodable {
        public enum Kind: String, Sendable, Encodable { case image, vm }
        public var kind: Kind
        public var name: String
        /// How an image is made, or how many VMs these are.
        public var detail: String
    }

    public struct Edge: Sendable, Equatable, Encodable {
        /// What is needed.
        public var from: String
        /// Who needs it.
        public var to: String
        /// `hda`, `cdrom`, `convert`, `build`, `depends_on`.
        public var role: String
    }

    public private(set) var nodes: [Node] = []
    public private(set) var edges: [Edge] = []

    public init(_ lab: Lab) {
        for image in lab.images {
            nodes.append(Node(kind: .image, name: image.name, detail: Self.words(image.source)))
            for (input, role) in Self.inputs(image.source) { connect(input, to: image.name, role) }
        }
        for vm in lab.vms {
            let detail = vm.replicas.map { "\($0) VMs" } ?? "VM"
            nodes.append(Node(kind: .vm, name: vm.name, detail: detail))
            for (slot, disk) in vm.disks.sorted(by: { $0.key < $1.key }) {
                connect(disk.image, to: vm.name, "\(slot.rawValue) \(disk.mode.rawValue)")
            }
            if let cdrom = vm.cdrom { connect(cdrom, to: vm.name, "cdrom") }
            if let floppy = vm.floppy { connect(floppy, to: vm.name, "fda") }
            for other in vm.dependsOn { edges.append(Edge(from: other, to: vm.name, role: "depends_on")) }
        }
    }

    private mutating func connect(_ reference: ImageReference, to name: String, _ role: String) {
        let label = reference.label
        if case .path = reference, !nodes.contains(where: { $0.name == label }) {
            nodes.append(Node(kind: .image, name: label, detail: "file"))
        }
        edges.append(Edge(from: label, to: name, role: role))
    }

    private static func words(_ source: ImageSource) -> String {
        switch source {
        case .file(let file): "file \(file.path.written)"
        case .download(let source): "downloaded \(source.address.fileName)"
        case .create(let recipe): "empty \(recipe.format.rawValue), \(recipe.size)"
        case .convert(let recipe): "converted to \(recipe.compress ? "compressed " : "")\(recipe.format.rawValue)"
        case .build(let recipe):
            if case .emptyDisk(let size) = recipe.start { "built on an empty disk of \(size)" } else { "built" }
        }
    }

    private static func inputs(_ source: ImageSource) -> [(ImageReference, String)] {
        switch source {
        case .file, .download, .create: return []
        case .convert(let recipe): return [(recipe.from, "convert")]
        case .build(let recipe):
            var inputs: [(ImageReference, String)] = []
            if case .image(let from) = recipe.start { inputs.append((from, "build")) }
            if let cdrom = recipe.cdrom { inputs.append((cdrom, "build cdrom")) }
            return inputs
        }
    }

    /// A tree for each node that needs nothing; what stands on a node is indented below it.
    public var text: String {
        let needy = Set(edges.filter { $0.role != "depends_on" }.map(\.to))
        var lines: [String] = []
        func show(_ node: Node, role: String, depth: Int) {
            let indent = String(repeating: "  ", count: depth)
            let arrow = role.isEmpty ? "" : "└ \(role): "
            lines.append("\(indent)\(arrow)\(node.name) (\(node.kind == .vm ? "" : "image, ")\(node.detail))")
            guard depth < 32 else { return }
            for edge in edges where edge.from == node.name && edge.role != "depends_on" {
                if let next = nodes.first(where: { $0.name == edge.to }) {
                    show(next, role: edge.role, depth: depth + 1)
                }
            }
        }
        for node in nodes where !needy.contains(node.name) { show(node, role: "", depth: 0) }
        for edge in edges where edge.role == "depends_on" { lines.append("\(edge.to) starts after \(edge.from)") }
        return lines.map { $0 + "\n" }.joined()
    }

    /// Graphviz's language.
    public var dot: String {
        func quoted(_ text: String) -> String {
            "\""
                + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
                .replacing("\n", with: "\\n") + "\""
        }
        var lines = ["digraph lab {", "  rankdir=LR;"]
        for node in nodes {
            let shape = node.kind == .vm ? "box" : "cylinder"
            lines.append("  \(quoted(node.name)) [shape=\(shape), label=\(quoted("\(node.name)\n\(node.detail)"))];")
        }
        for edge in edges {
            let style = edge.role == "depends_on" ? ", style=dashed" : ""
            lines.append("  \(quoted(edge.from)) -> \(quoted(edge.to)) [label=\(quoted(edge.role))\(style)];")
        }
        return (lines + ["}"]).map { $0 + "\n" }.joined()
    }
}
