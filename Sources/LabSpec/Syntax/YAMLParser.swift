/// From libyaml's events to the syntax tree: anchors, aliases, merge keys, limits.
///
/// An alias shares its anchor's node, so a file that doubles itself ten times over ("billion laughs") costs nothing to
/// hold. What it would cost to walk is counted in `Node.weight` and bounded before anybody walks it.

/// How large a lab file may be.
enum SyntaxLimits {
    /// Bytes of text.
    static let fileBytes = 1 << 20
    /// Lists and mappings in one another.
    static let depth = 32
    /// Nodes after the expansion of aliases and merge keys.
    static let nodes = 100_000
    /// Bytes of the values in which variables are replaced.
    static let substitutedBytes = 4 << 20
}

/// Builds the tree of one document.
struct YAMLParser: ~Copyable {
    private var reader: YAMLEventReader
    private let source: SourceText
    private let sink: DiagnosticSink
    private var anchors: [String: Node] = [:]
    /// Anchors whose node is not finished: an alias to one would contain itself.
    private var openAnchors: Set<String> = []
    /// Nodes so far, aliases expanded.
    private var total = 0

    /// Stops the parser; what is wrong has been reported.
    private struct Stop: Error {}

    static let emptyFile = Diagnostic(
        .document, "the lab file is empty", at: .fileStart, help: "`labctl init` writes one to start from")

    init(_ source: SourceText, sink: DiagnosticSink) {
        self.reader = YAMLEventReader(source.text)
        self.source = source
        self.sink = sink
    }

    /// The document's root. Nil after a mistake that leaves no tree; it has been reported.
    mutating func parse() -> Node? {
        do {
            return try parseDocument()
        } catch {
            return nil
        }
    }

    private mutating func parseDocument() throws(Stop) -> Node? {
        let start = try next()
        guard case .documentStart = start.kind else {
            sink.report(YAMLParser.emptyFile)
            return nil
        }
        let root = try node(from: try next(), depth: 0)
        _ = try next()
        let after = try next()
        if case .documentStart = after.kind {
            sink.report(
                Diagnostic(
                    .document, "a second document begins here; a lab file is one document",
                    at: SourceSpan(start: after.span.start, end: after.span.end)))
        }
        return root
    }

    private mutating func next() throws(Stop) -> YAMLEvent {
        do {
            return try reader.next()
        } catch {
            sink.report(SyntaxAdvice.diagnostic(for: error, in: source))
            throw Stop()
        }
    }

    /// The node that begins with `event`. Variables stand in values, not in keys.
    private mutating func node(from event: YAMLEvent, depth: Int, isKey: Bool = false) throws(Stop) -> Node {
        if depth > SyntaxLimits.depth {
            throw stop(.limit, "more than \(SyntaxLimits.depth) lists and mappings inside one another", at: event.span)
        }
        if let anchor = event.anchor { openAnchors.insert(anchor) }
        var result: Node
        switch event.kind {
        case .alias(let name): result = try alias(name, at: event.span)
        case .scalar(let text, let isPlain, let tag):
            result = scalar(text, isPlain: isPlain, tag: tag, span: event.span, mayHaveVariables: !isKey)
            try count(1, at: event.span)
        case .sequenceStart(let isFlow, let tag):
            check(tag: tag, allowed: "seq", span: event.span)
            result = try sequence(event, isFlow: isFlow, depth: depth)
        case .mappingStart(let isFlow, let tag):
            check(tag: tag, allowed: "map", span: event.span)
            result = try mapping(event, isFlow: isFlow, depth: depth)
        case .documentStart, .documentEnd, .sequenceEnd, .mappingEnd, .streamEnd:
            throw stop(.syntax, "a value is missing here", at: event.span)
        }
        if let anchor = event.anchor {
            openAnchors.remove(anchor)
            anchors[anchor] = result
        }
        return result
    }

    private mutating func alias(_ name: String, at span: SourceSpan) throws(Stop) -> Node {
        if openAnchors.contains(name) {
            throw stop(.alias, "'*\(name)' stands inside its own anchor '&\(name)'", at: span)
        }
        guard let target = anchors[name] else {
            let near = Suggestion.nearest(to: name, among: anchors.keys.sorted())
            throw stop(
                .alias, "no anchor '&\(name)' stands above this alias", at: span,
                label: near.map { "did you mean '*\($0)'?" })
        }
        try count(target.weight, at: span)
        return target
    }

    private mutating func count(_ weight: Int, at span: SourceSpan) throws(Stop) {
        total += weight
        if total > SyntaxLimits.nodes {
            throw stop(
                .limit, "the lab file has more than \(SyntaxLimits.nodes) values once its aliases are expanded",
                at: span)
        }
    }

    private mutating func sequence(_ start: YAMLEvent, isFlow: Bool, depth: Int) throws(Stop) -> Node {
        var items: [Node] = []
        var span = start.span
        try count(1, at: span)
        while true {
            let event = try next()
            if case .sequenceEnd = event.kind {
                if isFlow { span.end = event.span.end }
                break
            }
            let item = try node(from: event, depth: depth + 1)
            items.append(item)
            if case .alias = event.kind { span.end = event.span.end } else { span.end = max(span.end, item.span.end) }
        }
        return Node(content: .sequence(items), span: span, weight: items.reduce(1) { $0 + $1.weight })
    }

    private mutating func mapping(_ start: YAMLEvent, isFlow: Bool, depth: Int) throws(Stop) -> Node {
        var pairs = MappingBuilder()
        var span = start.span
        try count(1, at: span)
        while true {
            let keyEvent = try next()
            if case .mappingEnd = keyEvent.kind {
                if isFlow { span.end = keyEvent.span.end }
                break
            }
            let keyNode = try node(from: keyEvent, depth: depth + 1, isKey: true)
            let valueEvent = try next()
            let value = try node(from: valueEvent, depth: depth + 1)
            if case .alias = valueEvent.kind {
                span.end = valueEvent.span.end
            } else {
                span.end = max(span.end, keyEvent.span.end, value.span.end)
            }
            guard case .scalar(let key) = keyNode.content else {
                sink.report(
                    Diagnostic(
                        .wrongType, "a key is a word, but here stands \(keyNode.kindDescription)", at: keyEvent.span))
                continue
            }
            if key.isPlain, key.text == "<<" {
                pairs.merge(value, keySpan: keyEvent.span, valueSpan: valueEvent.span, sink: sink)
            } else {
                pairs.add(key: key.text, span: keyEvent.span, value: value, sink: sink)
            }
        }
        let content = pairs.pairs
        return Node(content: .mapping(content), span: span, weight: content.reduce(1) { $0 + 1 + $1.value.weight })
    }

    private func scalar(
        _ text: String, isPlain: Bool, tag: String?, span: SourceSpan, mayHaveVariables: Bool
    ) -> Node {
        var scalar = Node.Scalar(text: text, isPlain: isPlain, hasVariable: false)
        if let tag {
            let known = ["str", "int", "float", "bool", "null"].first { tag == "tag:yaml.org,2002:" + $0 }
            if known == "str" || tag == "!" {
                scalar.isPlain = false
            } else if known != nil {
                scalar.isPlain = true
            } else {
                check(tag: tag, allowed: "str", span: span)
            }
        }
        scalar.isExpandable = mayHaveVariables && text.contains("${")
        return Node(content: .scalar(scalar), span: span, weight: 1)
    }

    private func check(tag: String?, allowed: String, span: SourceSpan) {
        guard let tag, tag != "!", tag != "tag:yaml.org,2002:" + allowed else { return }
        sink.report(Diagnostic(.wrongType, "the tag '\(tag.clippedForMessage)' has no meaning in a lab file", at: span))
    }

    private func stop(
        _ code: DiagnosticCode, _ message: String, at span: SourceSpan, label: String? = nil
    ) -> Stop {
        sink.report(Diagnostic(code, message, at: span, label: label))
        return Stop()
    }
}

/// The pairs of one mapping: finds duplicates, lets written keys win over merged ones.
private struct MappingBuilder {
    private(set) var pairs: [Node.Pair] = []
    private var index: [String: Int] = [:]
    private var mergeSpan: SourceSpan?

    mutating func add(key: String, span: SourceSpan, value: Node, sink: DiagnosticSink) {
        let pair = Node.Pair(key: key, keySpan: span, value: value)
        guard let existing = index[key] else {
            index[key] = pairs.count
            pairs.append(pair)
            return
        }
        if pairs[existing].isMerged {
            pairs[existing] = pair
        } else {
            let note = Diagnostic.Note("first written here", at: pairs[existing].keySpan)
            sink.report(
                Diagnostic(
                    .duplicateKey, "the key '\(key.clippedForMessage)' stands here twice", at: span, notes: [note]))
        }
    }

    /// `<<: *mapping` or `<<: [*first, *second]`: the first that has a key wins (YAML merge key type, 2005).
    mutating func merge(_ value: Node, keySpan: SourceSpan, valueSpan: SourceSpan, sink: DiagnosticSink) {
        if let mergeSpan {
            let note = Diagnostic.Note("first written here", at: mergeSpan)
            sink.report(
                Diagnostic(
                    .duplicateKey, "the merge key '<<' stands here twice", at: keySpan, notes: [note],
                    help: "merge several mappings as `<<: [*first, *second]`"))
            return
        }
        mergeSpan = keySpan
        let sources: [Node]
        if case .sequence(let items) = value.content { sources = items } else { sources = [value] }
        for source in sources {
            guard case .mapping(let merged) = source.content else {
                // An alias in a list stands elsewhere: then the list's place has to do.
                let place = source.span.start >= valueSpan.start ? source.span : valueSpan
                sink.report(
                    Diagnostic(
                        .alias, "'<<' merges a mapping, but here stands \(source.kindDescription)", at: place,
                        help: "write the alias of a mapping, such as `<<: *student`"))
                continue
            }
            for pair in merged where index[pair.key] == nil {
                index[pair.key] = pairs.count
                pairs.append(Node.Pair(key: pair.key, keySpan: pair.keySpan, value: pair.value, isMerged: true))
            }
        }
    }
}
