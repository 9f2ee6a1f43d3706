/// The rows of the key tables. One row says everything about a key: its name, what it takes, where the value goes, what
/// it is for. Parser, defaults, guide and JSON Schema all read the row.

/// A key of a section that is decoded into a `Section`.
struct LabKey<Section>: Sendable {
    let shape: KeyShape
    /// Decodes a value into its place; reports what is wrong.
    let store: @Sendable (Node, DecodingScope, inout Section) -> Void

    /// A key whose default is what a fresh `Section` holds there.
    init<Value>(
        _ name: String, _ type: ValueType<Value>, _ path: any WritableKeyPath<Section, Value> & Sendable,
        defaultOf fresh: Section, _ documentation: String, synonyms: [String] = []
    ) {
        self.shape = KeyShape(
            name: name, value: type.shape, isRequired: false, defaultText: type.describe(fresh[keyPath: path]),
            documentation: documentation, synonyms: synonyms)
        self.store = { node, scope, section in
            if let value = type.decode(node, scope) { section[keyPath: path] = value }
        }
    }

    /// A key without a default.
    init<Value>(
        _ name: String, _ type: ValueType<Value>, _ path: any WritableKeyPath<Section, Value?> & Sendable,
        required: Bool = false, _ documentation: String, synonyms: [String] = []
    ) {
        self.shape = KeyShape(
            name: name, value: type.shape, isRequired: required, defaultText: nil, documentation: documentation,
            synonyms: synonyms)
        self.store = { node, scope, section in
            if let value = type.decode(node, scope) { section[keyPath: path] = value }
        }
    }
}

/// The table of a section's keys.
struct SectionTable<Section: Sendable>: Sendable {
    let shape: SectionShape
    let keys: [LabKey<Section>]
    /// Where the places of the keys are kept.
    let spans: any WritableKeyPath<Section, SectionSpans> & Sendable

    init(
        id: String, noun: String, plural: String, title: String? = nil, _ documentation: String,
        spans: any WritableKeyPath<Section, SectionSpans> & Sendable, rules: [SectionRule] = [],
        ignoredPrefix: String? = nil, keys: [LabKey<Section>]
    ) {
        self.keys = keys
        self.spans = spans
        self.shape = SectionShape(
            id: id, noun: noun, plural: plural, title: title, documentation: documentation, keys: keys.map(\.shape),
            rules: rules, ignoredPrefix: ignoredPrefix)
    }

    /// Decodes a mapping over `fresh`. Nil when it is not a mapping; mistakes inside it are reported and leave the
    /// values of `fresh`.
    func decode(_ node: Node, into fresh: Section, _ scope: DecodingScope, nameSpan: SourceSpan? = nil) -> Section? {
        guard case .mapping(let pairs) = node.content else {
            scope.reportWrongType(node, expected: .section(shape))
            return nil
        }
        var section = fresh
        let name = nameSpan ?? SourceSpan(start: node.span.start, end: node.span.start)
        section[keyPath: spans] = SectionSpans(name: name)
        var slips: Set<String> = []
        for pair in pairs {
            section[keyPath: spans].entries[pair.key] = .init(
                key: pair.keySpan, value: pair.value.span, items: pair.value.words)
            if pair.value.isBroken { continue }
            if let key = keys.first(where: { $0.shape.name == pair.key }) {
                key.store(pair.value, scope.entering(pair.key, value: key.shape.value), &section)
            } else if let prefix = shape.ignoredPrefix, pair.key.hasPrefix(prefix) {
                continue
            } else {
                slips.formUnion(scope.reportUnknownKey(pair, in: shape))
            }
        }
        checkRules(section[keyPath: spans], slips: slips, scope)
        return section
    }

    private func checkRules(_ spans: SectionSpans, slips: Set<String>, _ scope: DecodingScope) {
        let entries = spans.entries
        // A missing key that was only misspelled has been reported once already.
        for key in shape.keys where key.isRequired && entries[key.name] == nil && !slips.contains(key.name) {
            scope.report(
                .missingKey, "\(scope.capitalized) has no '\(key.name)'", at: spans.name,
                help: "write `\(key.name):` with \(key.value.description)")
        }
        for rule in shape.rules {
            switch rule {
            case .exactlyOne(let names):
                let present = names.filter { entries[$0] != nil }
                if present.isEmpty, slips.isDisjoint(with: names) {
                    let list = names.map { "'\($0)'" }.joined(separator: ", ")
                    scope.report(.missingKey, "\(scope.capitalized) has none of \(list)", at: spans.name)
                }
                for extra in present.dropFirst() {
                    scope.reportConflict(present[0], extra, because: "exclude one another", spans)
                }
            case .exclusive(let first, let second, let reason, let help):
                if spans.place(ofKey: first) != nil, spans.place(ofKey: second) != nil {
                    scope.reportConflict(first, second, because: reason, spans, help: help)
                }
            case .requires(let key, let needed):
                if entries[key] != nil, entries[needed] == nil, !slips.contains(needed) {
                    scope.report(
                        .missingCompanion, "'\(key)' in \(scope.place) has no meaning without '\(needed)'",
                        at: spans.key(key))
                }
            case .requiresAny(let key, let needed):
                if entries[key] != nil, needed.allSatisfy({ entries[$0] == nil && !slips.contains($0) }) {
                    scope.report(
                        .missingCompanion,
                        "'\(key)' in \(scope.place) has no meaning without "
                            + needed.map { "'\($0)'" }.joined(separator: " or "), at: spans.key(key))
                }
            case .needs(let key, let companion, let help):
                if entries[key] != nil, entries[companion] == nil, !slips.contains(companion) {
                    scope.report(
                        .missingCompanion, "'\(key)' in \(scope.place) needs '\(companion)' beside it",
                        at: spans.key(key), help: help)
                }
            }
        }
    }
}
