extension ValueType {
    /// A document for the guest, in the lab file or beside it: a mapping, text of several lines, or the path of a file.
    static func document(
        mapping: @escaping @Sendable (Node, [Node.Pair]) -> Value, text: @escaping @Sendable (String) -> Value,
        file: @escaping @Sendable (LabPath) -> Value
    ) -> ValueType {
        let shape = ValueShape.anyOf([.path, .mapping])
        return ValueType(shape) { node, scope in
            switch node.content {
            case .mapping(let pairs): return mapping(node, pairs)
            case .sequence:
                scope.reportWrongType(node, expected: shape)
                return nil
            case .scalar:
                guard let written = ValueType<String>.string(node, shape, scope) else { return nil }
                if written.contains("\n") { return text(written) }
                return Paths.resolve(written, at: node.span, scope).map(file)
            }
        }
    }
}
