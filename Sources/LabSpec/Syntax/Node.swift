/// The syntax tree: YAML's representation graph with aliases and merge keys resolved, every node with its place.

/// A YAML node.
struct Node {
    enum Content {
        case scalar(Scalar)
        case sequence([Node])
        case mapping([Pair])
    }

    struct Scalar {
        /// The text, quotes and escapes removed, variables replaced.
        var text: String
        /// Plain scalars are given a type by their spelling; all others are strings.
        var isPlain: Bool
        /// A variable stood in it: then a string may be meant whatever the value looks like.
        var hasVariable: Bool
        /// `${` stands in it, and nobody has looked at it yet.
        var isExpandable = false
        /// It means something else in each VM: it is replaced when a VM is decoded.
        var isDeferred = false
        /// A variable in it could not be replaced, which has been reported: the value is not looked at further.
        var isBroken = false
    }

    struct Pair {
        var key: String
        var keySpan: SourceSpan
        var value: Node
        /// Came in through `<<`.
        var isMerged = false
    }

    var content: Content
    var span: SourceSpan
    /// Whether `${` stands anywhere in it.
    private(set) var isExpandable: Bool
    /// Number of nodes with all aliases expanded: what a walk over the tree costs.
    var weight: Int

    init(content: Content, span: SourceSpan, weight: Int) {
        self.content = content
        self.span = span
        self.weight = weight
        isExpandable =
            switch content {
            case .scalar(let scalar): scalar.isExpandable
            case .sequence(let items): items.contains(where: \.isExpandable)
            case .mapping(let pairs): pairs.contains(where: \.value.isExpandable)
            }
    }

    /// What the node is, for messages: `a list`, `the number 12`.
    var kindDescription: String {
        switch content {
        case .sequence: "a list"
        case .mapping: "a mapping"
        case .scalar(let scalar): scalar.kindDescription
        }
    }

    /// Null and nothing at all (`ready:` with no value).
    var isNull: Bool {
        if case .scalar(let scalar) = content { return scalar.type == .null }
        return false
    }

    /// Whether something in it means something else in each VM.
    var isDeferred: Bool {
        switch content {
        case .scalar(let scalar): scalar.isDeferred
        case .sequence(let items): isExpandable && items.contains(where: \.isDeferred)
        case .mapping(let pairs): isExpandable && pairs.contains(where: \.value.isDeferred)
        }
    }

    /// A scalar whose variables could not be replaced.
    var isBroken: Bool {
        if case .scalar(let scalar) = content { return scalar.isBroken }
        return false
    }

    /// The words of a list, or the keys of a mapping, with their places; the first of equal ones.
    var words: [String: SourceSpan] {
        let words: [(String, SourceSpan)]
        switch content {
        case .scalar: return [:]
        case .mapping(let pairs): words = pairs.map { ($0.key, $0.keySpan) }
        case .sequence(let items):
            words = items.compactMap { item in
                if case .scalar(let scalar) = item.content { (scalar.text, item.span) } else { nil }
            }
        }
        return Dictionary(words, uniquingKeysWith: { first, _ in first })
    }
}
