/// The graph in Mermaid's language, as Markdown pages show it.
extension LabGraph {
    public var mermaid: String {
        var numbers: [String: Int] = [:]
        for (index, node) in nodes.enumerated() { numbers[node.name] = index }
        func quoted(_ text: String) -> String {
            let escaped = text.map { character in
                // Mermaid's own escapes: everything that ends a text or begins markup.
                switch character {
                case "\"": "#quot;"
                case "<": "#lt;"
                case ">": "#gt;"
                case "#": "#35;"
                case "\n": "<br/>"
                default: String(character)
                }
            }
            return "\"" + escaped.joined() + "\""
        }
        var lines = ["flowchart LR"]
        for (index, node) in nodes.enumerated() {
            let text = quoted("\(node.name)\n\(node.detail)")
            lines.append("  n\(index)" + (node.kind == .vm ? "[\(text)]" : "[(\(text))]"))
        }
        for edge in edges {
            guard let from = numbers[edge.from], let to = numbers[edge.to] else { continue }
            let arrow = edge.role == "depends_on" ? "-.->" : "-->"
            lines.append("  n\(from) \(arrow)|\(quoted(edge.role))| n\(to)")
        }
        return lines.map { $0 + "\n" }.joined()
    }
}
