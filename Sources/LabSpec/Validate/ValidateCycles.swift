/// `depends_on` and the image graph have no cycles. A cycle is shown whole, with the place of every step.

extension Validator {
    func checkCycles() {
        let vms = lab.vms.map { vm in
            (vm.name, vm.dependsOn.map { ($0, vm.spans.item($0, of: "depends_on")) })
        }
        for cycle in DependencyGraph(vms).cycles() {
            report(
                .dependencyCycle, "VMs wait for one another: \(cycle.description)", at: cycle.steps[0].span,
                label: cycle.steps.count == 1 ? "it waits for itself" : nil,
                notes: cycle.notes { "'\($0)' waits for '\($1)' here" }, help: "take one of these out of `depends_on`")
        }
        let images = lab.images.map { image in
            (
                image.name,
                ImageUse.uses(ofRecipe: image).compactMap { use -> (String, SourceSpan)? in
                    if case .named(let name) = use.reference { (name, use.span) } else { nil }
                }
            )
        }
        for cycle in DependencyGraph(images).cycles() {
            report(
                .imageCycle, "images are made from one another: \(cycle.description)", at: cycle.steps[0].span,
                label: cycle.steps.count == 1 ? "it is made from itself" : nil,
                notes: cycle.notes { "'\($0)' is made from '\($1)' here" })
        }
    }
}

/// A graph of names; every edge has its place.
struct DependencyGraph {
    /// A way from a name back to itself.
    struct Cycle {
        var steps: [(from: String, to: String, span: SourceSpan)]

        /// `a -> b -> a`; the middle of a long one is left out.
        var description: String {
            var names = steps.map(\.from)
            if names.count > 12 { names = names.prefix(6) + ["…"] + names.suffix(5) }
            return (names + [steps[0].from]).joined(separator: " -> ")
        }

        /// A note for every step after the first.
        func notes(_ text: (String, String) -> String) -> [Diagnostic.Note] {
            steps.dropFirst().prefix(10).map { Diagnostic.Note(text($0.from, $0.to), at: $0.span) }
        }
    }

    private var edges: [String: [(to: String, span: SourceSpan)]] = [:]
    private var order: [String] = []

    init(_ nodes: [(String, [(String, SourceSpan)])]) {
        for (name, targets) in nodes where edges[name] == nil {
            edges[name] = targets.map { (to: $0.0, span: $0.1) }
            order.append(name)
        }
    }

    /// One cycle for each edge that closes one in a depth-first walk: at least one for every knot of the graph.
    func cycles(limit: Int = 20) -> [Cycle] {
        var finished: Set<String> = []
        var found: [Cycle] = []
        for root in order where !finished.contains(root) {
            // The walk keeps its own stack: a chain of a thousand VMs must not depend on the thread's stack.
            var path: [(name: String, next: Int)] = [(root, 0)]
            var onPath: [String: Int] = [root: 0]
            while let (name, next) = path.last, found.count < limit {
                let targets = edges[name] ?? []
                guard next < targets.count else {
                    finished.insert(name)
                    onPath[name] = nil
                    path.removeLast()
                    continue
                }
                path[path.count - 1].next += 1
                let target = targets[next].to
                if let start = onPath[target] {
                    found.append(
                        Cycle(
                            steps: path[start...].map { entry in
                                let edge = (edges[entry.name] ?? [])[entry.next - 1]
                                return (from: entry.name, to: edge.to, span: edge.span)
                            }))
                } else if edges[target] != nil, !finished.contains(target) {
                    onPath[target] = path.count
                    path.append((target, 0))
                }
            }
        }
        return found
    }
}
