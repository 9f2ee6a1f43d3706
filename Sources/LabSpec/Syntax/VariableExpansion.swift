/// Replaces the variables in the values of a syntax tree.
///
/// | where | what `${index}`, `${name}` and `${row.COLUMN}` mean |
/// | --- | --- |
/// | in an entry of `vms` | the VM's own values: they stay as they are until the VM is decoded |
/// | in a key `x-…` of the top | the same: what is anchored there ends in an entry of `vms` |
/// | elsewhere | variables like any other |
final class VariableExpansion {
    private let source: SourceText
    private let sink: DiagnosticSink
    private var variables: LabVariables
    /// Bytes of all values in which variables were replaced.
    private var bytes = 0
    /// Names of variables that the text uses; not those of single VMs.
    private(set) var used: Set<String> = []

    init(_ source: SourceText, _ variables: LabVariables, sink: DiagnosticSink) {
        self.source = source
        self.variables = variables
        self.sink = sink
    }

    /// The value of a variable; nil when it is not set.
    func value(_ name: String) -> String? { variables.value(name) }

    /// Replaces what can be replaced in the whole file: its `vars` first, which the other values may use.
    func expand(file root: Node) -> Node {
        guard case .mapping(var pairs) = root.content else { return expand(root, defers: false) }
        for index in pairs.indices where pairs[index].key == LabDraft.variablesKey {
            pairs[index].value = expand(pairs[index].value, defers: false)
            variables.defaults = VariableDefaults.values(pairs[index].value)
        }
        for index in pairs.indices where pairs[index].key != LabDraft.variablesKey {
            let mayDefer = pairs[index].key == "vms" || pairs[index].key.hasPrefix("x-")
            pairs[index].value = expand(pairs[index].value, defers: mayDefer)
        }
        return Node(content: .mapping(pairs), span: root.span, weight: root.weight)
    }

    /// Replaces what was left for a VM to say.
    func expand(_ node: Node, of member: GroupMember) -> Node {
        let outer = variables
        defer { variables = outer }
        variables.member = member
        return expand(node, defers: false)
    }

    private func expand(_ node: Node, defers: Bool) -> Node {
        var node = node
        switch node.content {
        case .scalar(let scalar):
            guard scalar.isExpandable else { return node }
            node.content = .scalar(expand(scalar, at: node.span, defers: defers))
        case .sequence(let items):
            guard node.isExpandable else { return node }
            node.content = .sequence(items.map { expand($0, defers: defers) })
        case .mapping(var pairs):
            guard node.isExpandable else { return node }
            for index in pairs.indices { pairs[index].value = expand(pairs[index].value, defers: defers) }
            node.content = .mapping(pairs)
        }
        return node
    }

    private func expand(_ scalar: Node.Scalar, at span: SourceSpan, defers: Bool) -> Node.Scalar {
        let substitution = Substitution(scalar.text, variables: variables)
        var scalar = scalar
        if defers, substitution.usesMember {
            scalar.isDeferred = true
            return scalar
        }
        used.formUnion(substitution.used)
        for (failure, written) in substitution.failures {
            let place = source.find(written, in: span) ?? span
            sink.report(SyntaxAdvice.diagnostic(for: failure, at: place, variables: variables))
        }
        scalar.text = substitution.text
        scalar.hasVariable = !substitution.used.isEmpty || substitution.usesMember
        scalar.isExpandable = false
        scalar.isDeferred = false
        // Inside { } and [ ] a variable has to be quoted: it is what its key takes all the same.
        if scalar.hasVariable { scalar.isPlain = true }
        scalar.isBroken = !substitution.failures.isEmpty
        bytes += substitution.text.utf8.count
        if bytes > SyntaxLimits.substitutedBytes {
            sink.report(
                Diagnostic(
                    .limit,
                    "the lab file is larger than \(SyntaxLimits.substitutedBytes) bytes once its variables are replaced",
                    at: span))
            scalar.text = ""
            scalar.isBroken = true
        }
        return scalar
    }
}

/// `vars`: what variables mean that nobody sets.
enum VariableDefaults {
    /// What is written; mistakes are reported when the key is decoded.
    static func values(_ node: Node) -> [String: String] {
        guard case .mapping(let pairs) = node.content else { return [:] }
        var values: [String: String] = [:]
        for pair in pairs {
            if case .scalar(let scalar) = pair.value.content, !pair.value.isNull { values[pair.key] = scalar.text }
        }
        return values
    }

    /// Whether a variable may be called so.
    static func isName(_ name: String) -> Bool {
        guard let first = name.unicodeScalars.first, first.properties.numericType == nil else { return false }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x5F, 0x61...0x7A: true
            default: false
            }
        }
    }

    /// A mapping from names to values; nothing at all has to be set by somebody.
    static let type = ValueType<[String: String]>(.mapping) { node, scope in
        guard case .mapping(let pairs) = node.content else {
            scope.reportWrongType(node, expected: .mapping)
            return nil
        }
        for pair in pairs {
            if GroupMember.isOwn(pair.key) || pair.key == "row" {
                scope.report(
                    .badName, "a variable of 'vars' cannot be called '\(pair.key)': in a VM that is the VM's own value",
                    at: pair.keySpan)
            } else if !isName(pair.key) {
                scope.report(
                    .badName, "'\(pair.key.clippedForMessage)' in 'vars' is no name of a variable", at: pair.keySpan,
                    help: "names are made of letters, digits and '_'")
            }
            if case .scalar = pair.value.content { continue }
            scope.report(
                .wrongType,
                "the variable '\(pair.key.clippedForMessage)' in 'vars' is a text or a number, not "
                    + pair.value.kindDescription, at: pair.value.span)
        }
        return values(node)
    }
}
