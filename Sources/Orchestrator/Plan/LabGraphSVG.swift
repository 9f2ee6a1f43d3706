/// The graph as a picture that any browser shows: columns from what needs nothing to what stands on it.
extension LabGraph {
    /// Lengths in pixels.
    private enum Measure {
        static let character = 7.0, line = 16.0
        static let padding = 10.0, columnGap = 120.0, rowGap = 18.0, margin = 16.0
        static let narrowest = 80.0
    }

    private struct Box {
        var node: Node
        var x = 0.0, y = 0.0, width = 0.0
        var height: Double { 2 * Measure.line + Measure.padding }
        var middle: Double { y + height / 2 }
    }

    public var svg: String {
        let boxes = placed()
        let width = (boxes.map { $0.x + $0.width }.max() ?? 0) + Measure.margin
        let height = (boxes.map { $0.y + $0.height }.max() ?? 0) + Measure.margin
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(number(width))\" height=\"\(number(height))\" "
                + "viewBox=\"0 0 \(number(width)) \(number(height))\" font-family=\"sans-serif\" font-size=\"12\">",
            "  <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" "
                + "orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#555\"/></marker></defs>",
            "  <rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
        ]
        for edge in edges {
            guard let from = boxes.first(where: { $0.node.name == edge.from }),
                let to = boxes.first(where: { $0.node.name == edge.to })
            else { continue }
            lines += drawn(edge, from, to)
        }
        for box in boxes { lines += drawn(box) }
        return (lines + ["</svg>"]).map { $0 + "\n" }.joined()
    }

    /// Columns by the longest way from a node that needs nothing; within one, the order of the lab file.
    private func placed() -> [Box] {
        var depth: [String: Int] = [:]
        for _ in nodes {
            var isSettled = true
            for edge in edges {
                let deeper = min((depth[edge.from] ?? 0) + 1, nodes.count)
                if deeper > depth[edge.to] ?? 0 {
                    depth[edge.to] = deeper
                    isSettled = false
                }
            }
            if isSettled { break }
        }
        var boxes = nodes.map { node in
            let longest = max(node.name.count, node.detail.count)
            return Box(
                node: node, width: max(Measure.narrowest, Double(longest) * Measure.character + 2 * Measure.padding))
        }
        var x = Measure.margin
        for column in 0...(depth.values.max() ?? 0) {
            let members = boxes.indices.filter { depth[boxes[$0].node.name] ?? 0 == column }
            var y = Measure.margin
            for index in members {
                boxes[index].x = x
                boxes[index].y = y
                y += boxes[index].height + Measure.rowGap
            }
            guard let widest = members.map({ boxes[$0].width }).max() else { continue }
            x += widest + Measure.columnGap
        }
        return boxes
    }

    private func drawn(_ box: Box) -> [String] {
        let isVM = box.node.kind == .vm
        let style = isVM ? "fill=\"#e8f0fe\" stroke=\"#3367d6\"" : "fill=\"#fef7e0\" stroke=\"#b06000\""
        let center = number(box.x + box.width / 2)
        return [
            "  <rect x=\"\(number(box.x))\" y=\"\(number(box.y))\" width=\"\(number(box.width))\" "
                + "height=\"\(number(box.height))\" rx=\"\(isVM ? 2 : 12)\" \(style)/>",
            "  <text x=\"\(center)\" y=\"\(number(box.y + Measure.line))\" text-anchor=\"middle\" "
                + "font-weight=\"bold\">\(escaped(box.node.name))</text>",
            "  <text x=\"\(center)\" y=\"\(number(box.y + 2 * Measure.line))\" text-anchor=\"middle\" "
                + "fill=\"#555\">\(escaped(box.node.detail))</text>",
        ]
    }

    private func drawn(_ edge: Edge, _ from: Box, _ to: Box) -> [String] {
        let (x1, y1, x2, y2) = (from.x + from.width, from.middle, to.x, to.middle)
        let bend = (x1 + x2) / 2
        let dashes = edge.role == "depends_on" ? " stroke-dasharray=\"4 3\"" : ""
        return [
            "  <path d=\"M\(number(x1)) \(number(y1))C\(number(bend)) \(number(y1)) \(number(bend)) \(number(y2)) "
                + "\(number(x2)) \(number(y2))\" fill=\"none\" stroke=\"#555\"\(dashes) marker-end=\"url(#tip)\"/>",
            "  <text x=\"\(number(bend))\" y=\"\(number((y1 + y2) / 2 - 4))\" text-anchor=\"middle\" fill=\"#555\" "
                + "font-size=\"10\">\(escaped(edge.role))</text>",
        ]
    }

    private func number(_ value: Double) -> String { String(Int(value.rounded())) }

    private func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }
}
