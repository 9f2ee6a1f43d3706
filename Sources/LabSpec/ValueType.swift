/// Decoders of values: each knows its shape, reads a node, and writes a value back as text for the guide's defaults.
struct ValueType<Value>: Sendable {
    let shape: ValueShape
    /// Nil after a mistake, which has been reported.
    let decode: @Sendable (Node, DecodingScope) -> Value?
    /// How a default reads in the lab file; nil when there is nothing to say.
    let describe: @Sendable (Value) -> String?

    init(
        _ shape: ValueShape, describe: @escaping @Sendable (Value) -> String? = { _ in nil },
        decode: @escaping @Sendable (Node, DecodingScope) -> Value?
    ) {
        self.shape = shape
        self.decode = decode
        self.describe = describe
    }
}

extension ValueType where Value == String {
    /// Text that is not empty.
    static let text = ValueType(.text) { node, scope in string(node, .text, scope) }

    /// Text that may be empty.
    static let line = ValueType(.text) { node, scope in string(node, .text, scope, allowEmpty: true) }

    /// A name of something.
    static let name = ValueType(.name) { node, scope in
        guard let text = string(node, .name, scope) else { return nil }
        return Names.check(text, at: node.span, scope) ? text : nil
    }

    /// A SHA-256 digest, turned to lower case. Any spelling is text here: 64 digits are no number.
    static let sha256 = ValueType(.pattern(regex: "^[0-9a-fA-F]{64}$", example: "the output of sha256sum")) {
        node, scope in
        guard case .scalar(let scalar) = node.content, scalar.type != .null else {
            scope.reportWrongType(node, expected: .pattern(regex: "", example: "the output of sha256sum"))
            return nil
        }
        let digits = scalar.text.unicodeScalars.count
        guard scalar.text.utf8.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }) else {
            scope.report(
                .badDigest, "a SHA-256 digest has hex digits only", at: node.span,
                help: "`sha256sum FILE` prints it")
            return nil
        }
        guard digits == 64 else {
            scope.report(
                .badDigest, "a SHA-256 digest has 64 hex digits, this has \(digits)", at: node.span,
                help: "`sha256sum FILE` prints it")
            return nil
        }
        return scalar.text.lowercased()
    }

    /// The text of a scalar that is a string.
    static func string(_ node: Node, _ shape: ValueShape, _ scope: DecodingScope, allowEmpty: Bool = false) -> String? {
        guard case .scalar(let scalar) = node.content else {
            scope.reportWrongType(node, expected: shape)
            return nil
        }
        if scalar.type != .string, !scalar.hasVariable {
            let help = scalar.type == .null ? nil : "quote it to make it text: \"\(scalar.text)\""
            scope.reportWrongType(node, expected: shape, help: help)
            return nil
        }
        if scalar.text.isEmpty, !allowEmpty {
            scope.report(.outOfRange, "'\(scope.key)' in \(scope.place) is empty", at: node.span)
            return nil
        }
        return scalar.text
    }
}

extension ValueType where Value == Int {
    /// A whole number.
    static func integer(_ range: ClosedRange<Int>) -> ValueType {
        ValueType(.integer(range), describe: { String($0) }) { node, scope in
            guard case .scalar(let scalar) = node.content, case .integer(let value) = scalar.type else {
                scope.reportWrongType(node, expected: .integer(range))
                return nil
            }
            guard let value, range.contains(value) else {
                scope.report(
                    .outOfRange,
                    "'\(scope.key)' in \(scope.place) is from \(range.lowerBound) to \(range.upperBound), not "
                        + scalar.text.clippedForMessage, at: node.span)
                return nil
            }
            return value
        }
    }
}

extension ValueType where Value == Bool {
    /// `true` or `false`.
    static let boolean = ValueType(.boolean, describe: { String($0) }) { node, scope in
        guard case .scalar(let scalar) = node.content, case .boolean(let value) = scalar.type else {
            var help: String?
            if case .scalar(let scalar) = node.content {
                switch scalar.text.lowercased() {
                case "yes", "on", "y": help = "YAML 1.2 knows only true and false: write true"
                case "no", "off", "n": help = "YAML 1.2 knows only true and false: write false"
                default: break
                }
            }
            scope.reportWrongType(node, expected: .boolean, help: help)
            return nil
        }
        return value
    }
}

extension ValueType where Value == ByteSize {
    /// A size within limits, a multiple of `granule` bytes.
    static func size(_ range: ClosedRange<ByteSize>, granule: ByteSize) -> ValueType {
        ValueType(.size(range), describe: { $0.bytes == 0 ? nil : $0.description }) { node, scope in
            guard case .scalar(let scalar) = node.content, scalar.type != .null else {
                scope.reportWrongType(node, expected: .size(range))
                return nil
            }
            let text = scalar.text
            func bad(_ why: String, label: String? = nil) {
                scope.report(
                    .badSize, "'\(text.clippedForMessage)' is not a size: \(why)", at: node.span, label: label,
                    help: "write a number with K, M, G or T, such as 256M or 1.5G")
            }
            switch ByteSize.parse(text) {
            case .failure(.notANumber): bad("it does not begin with a number")
            case .failure(.unknownUnit(let unit)): bad("the unit '\(unit.clippedForMessage)' is not known")
            case .failure(.fractionOfAByte): bad("it is not a whole number of bytes")
            case .failure(.tooLarge): bad("it is more than 2^63 bytes")
            case .success(let size):
                if range.contains(size), size.bytes.isMultiple(of: granule.bytes) { return size }
                var label: String?
                // QEMU's -m counts in MiB, so a bare number is most often meant so.
                if text.allSatisfy({ $0.isASCII && $0.isNumber }), size < range.lowerBound {
                    label = "this is \(text) bytes; did you mean \(text)M?"
                }
                let want =
                    range.contains(size)
                    ? "a multiple of \(granule)" : "from \(range.lowerBound) to \(range.upperBound)"
                scope.report(
                    .outOfRange, "'\(scope.key)' in \(scope.place) is \(want), not \(text.clippedForMessage)",
                    at: node.span, label: label)
            }
            return nil
        }
    }
}

extension ValueType where Value == LabDuration {
    /// A duration within limits.
    static func duration(_ range: ClosedRange<LabDuration>) -> ValueType {
        ValueType(.duration(range), describe: { $0.description }) { node, scope in
            guard case .scalar(let scalar) = node.content, scalar.type != .null else {
                scope.reportWrongType(node, expected: .duration(range))
                return nil
            }
            let text = scalar.text
            func bad(_ why: String, label: String? = nil) {
                scope.report(
                    .badDuration, "'\(text.clippedForMessage)' is not a duration: \(why)", at: node.span, label: label,
                    help: "write a number with s, m or h, such as 90s or 2m")
            }
            switch LabDuration.parse(text) {
            case .failure(.notANumber): bad("it does not begin with a number")
            case .failure(.missingUnit): bad("the unit is missing", label: "did you mean '\(text.clippedForMessage)s'?")
            case .failure(.unknownUnit(let unit)): bad("the unit '\(unit.clippedForMessage)' is not known")
            case .failure(.tooLong): bad("it is more than a year")
            case .success(let duration):
                if range.contains(duration) { return duration }
                scope.report(
                    .outOfRange,
                    "'\(scope.key)' in \(scope.place) is from \(range.lowerBound) to \(range.upperBound), not "
                        + text.clippedForMessage, at: node.span)
            }
            return nil
        }
    }
}

extension ValueType where Value == LabPath {
    /// The path of a file, relative to the lab file's folder.
    static let path = ValueType(.path) { node, scope in
        guard let text = ValueType<String>.string(node, .path, scope) else { return nil }
        return Paths.resolve(text, at: node.span, scope)
    }
}

extension ValueType where Value == ImageReference {
    /// An image's name, or a path.
    static let imageReference = ValueType(.imageReference) { node, scope in
        guard let text = ValueType<String>.string(node, .imageReference, scope) else { return nil }
        if text.contains("/") || text.contains(".") || text.hasPrefix("~") {
            return Paths.resolve(text, at: node.span, scope).map { .path($0) }
        }
        return Names.check(text, at: node.span, scope) ? .named(text) : nil
    }
}

extension ValueType where Value: RawRepresentable & Sendable, Value.RawValue == String {
    /// One of a few words; `slips` are words that other programs use for them.
    static func choice(_ values: [Value], slips: [String: String] = [:]) -> ValueType {
        let words = values.map(\.rawValue)
        return ValueType(.choice(words), describe: { $0.rawValue }) { node, scope in
            guard case .scalar(let scalar) = node.content, scalar.type != .null else {
                scope.reportWrongType(node, expected: .choice(words))
                return nil
            }
            if let value = values.first(where: { $0.rawValue == scalar.text }) { return value }
            let near = slips[scalar.text.lowercased()] ?? Suggestion.nearest(to: scalar.text, among: words)
            scope.report(
                .unknownChoice, "'\(scope.key)' in \(scope.place) cannot be '\(scalar.text.clippedForMessage)'",
                at: node.span, label: near.map { "did you mean '\($0)'?" },
                help: "it is one of " + words.joined(separator: ", "))
            return nil
        }
    }
}
