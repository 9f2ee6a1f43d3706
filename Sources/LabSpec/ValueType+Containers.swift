/// Decoders of lists, sections, tables of named sections, boot orders.

extension ValueType {
    /// A list. Items with mistakes are left out.
    static func list<Item>(of item: ValueType<Item>, isUnique: Bool = false) -> ValueType where Value == [Item] {
        let shape = ValueShape.list(of: item.shape, isUnique: isUnique)
        return ValueType(shape) { node, scope in
            guard case .sequence(let nodes) = node.content else {
                var help: String?
                if case .scalar(let scalar) = node.content, scalar.type != .null {
                    help = "write [ \(scalar.text.clippedForMessage) ]"
                }
                scope.reportWrongType(node, expected: shape, help: help)
                return nil
            }
            var first: [String: SourceSpan] = [:]
            return nodes.compactMap { node in
                if node.isBroken { return nil }
                if isUnique, case .scalar(let scalar) = node.content {
                    if let earlier = first[scalar.text] {
                        scope.report(
                            .duplicateKey,
                            "'\(scalar.text.clippedForMessage)' stands twice in '\(scope.key)' of \(scope.place)",
                            at: node.span, notes: [.init("first written here", at: earlier)])
                        return nil
                    }
                    first[scalar.text] = node.span
                }
                return item.decode(node, scope)
            }
        }
    }

    /// A mapping with fixed keys. `help` is for those who wrote a scalar in its place.
    static func section<Draft>(
        _ table: SectionTable<Draft>, fresh: Draft, help: (@Sendable (String) -> String)? = nil,
        finish: @escaping @Sendable (Draft, DecodingScope) -> Value?
    ) -> ValueType {
        ValueType(.section(table.shape)) { node, scope in
            guard case .mapping = node.content else {
                var advice: String?
                if let help, case .scalar(let scalar) = node.content, scalar.type != .null {
                    advice = help(scalar.text.clippedForMessage)
                }
                scope.reportWrongType(node, expected: .section(table.shape), help: advice)
                return nil
            }
            return table.decode(node, into: fresh, scope, nameSpan: nil).flatMap { finish($0, scope) }
        }
    }

    /// A mapping from names to sections; every name gives an entry, also one whose section is not right.
    static func named<Entry>(
        _ table: SectionTable<Entry>, minimumCount: Int = 0, maximumCount: Int, acceptsNull: Bool = false,
        fresh: @escaping @Sendable (String) -> Entry,
        finish: @escaping @Sendable (inout Entry, DecodingScope) -> Void = { _, _ in }
    ) -> ValueType where Value == [Entry] {
        let shape = ValueShape.named(table.shape, minimumCount: minimumCount)
        return ValueType(shape) { node, scope in
            guard case .mapping(let pairs) = node.content else {
                if minimumCount == 0, node.isNull { return [] }
                scope.reportWrongType(node, expected: shape)
                return nil
            }
            if pairs.count < minimumCount {
                scope.report(
                    .outOfRange, "'\(scope.key)' in \(scope.place) is empty", at: node.span,
                    help: "write at least one \(table.shape.noun)")
            }
            if pairs.count > maximumCount {
                scope.report(
                    .limit, "'\(scope.key)' in \(scope.place) has more than \(maximumCount) entries", at: node.span)
                return nil
            }
            return pairs.map { pair in
                var inner = scope.entering(table.shape.noun, named: pair.key)
                inner.key = ""
                _ = Names.check(pair.key, at: pair.keySpan, inner)
                var entry = fresh(pair.key)
                entry[keyPath: table.spans].name = pair.keySpan
                if acceptsNull, pair.value.isNull { return entry }
                if let decoded = table.decode(pair.value, into: entry, inner, nameSpan: pair.keySpan) {
                    entry = decoded
                    finish(&entry, inner)
                }
                return entry
            }
        }
    }
}

/// What people write for a boot letter.
private let bootWords = ["disk": "c", "hd": "c", "hda": "c", "cdrom": "d", "cd": "d", "floppy": "a", "network": "n"]

extension ValueType where Value == [BootDevice] {
    /// Boot letters in order: `c`, `dc`.
    static let bootOrder = ValueType(
        .pattern(regex: "^[acdn]{1,4}$", example: "c or dc"),
        describe: { $0.map(\.rawValue).joined() },
        decode: { node, scope in
            guard let text = ValueType<String>.string(node, .pattern(regex: "", example: "c or dc"), scope) else {
                return nil
            }
            var order: [BootDevice] = []
            for letter in text {
                let help = "the letters are a (floppy), c (disk), d (CD) and n (network); several are an order"
                guard let device = BootDevice(rawValue: String(letter)) else {
                    scope.report(
                        .badBootOrder, "'\(String(letter).clippedForMessage)' is not a boot letter", at: node.span,
                        label: bootWords[text.lowercased()].map { "did you mean '\($0)'?" }, help: help)
                    return nil
                }
                guard !order.contains(device) else {
                    scope.report(
                        .badBootOrder, "the boot letter '\(letter)' stands twice in '\(text.clippedForMessage)'",
                        at: node.span, help: help)
                    return nil
                }
                order.append(device)
            }
            return order
        })
}
