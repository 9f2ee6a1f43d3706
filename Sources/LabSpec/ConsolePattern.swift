import Glibc

/// What is looked for on a console, among what a person would see there: colours and other escape sequences do not count.
public enum ConsolePattern: Sendable, Hashable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// Any of these texts.
    case texts([String])
    /// A POSIX extended regular expression, with GNU's `\w`, `\s` and `\b`; it matches within a line.
    case regex(String)

    /// One text; the empty text looks for nothing.
    public init(stringLiteral value: String) { self = .texts(value.isEmpty ? [] : [value]) }
    public init(_ text: String) { self.init(stringLiteral: text) }

    /// For messages: `'login: '`, `'a' or 'b'`, `/^ok$/`.
    public var description: String {
        switch self {
        case .texts(let texts): texts.map { "'\($0)'" }.joined(separator: " or ")
        case .regex(let expression): "/\(expression)/"
        }
    }

    /// What is wrong with the regular expression, in the C library's words; nil for everything that is right.
    public var fault: String? {
        guard case .regex(let expression) = self else { return nil }
        var compiled = regex_t()
        let code = regcomp(&compiled, expression, REG_EXTENDED)
        guard code != 0 else {
            regfree(&compiled)
            return nil
        }
        var text = [CChar](repeating: 0, count: 256)
        regerror(code, &compiled, &text, text.count)
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

extension ConsolePattern {
    /// The pattern; nil where its regular expression is none, which is reported.
    func checked(at span: SourceSpan, _ scope: DecodingScope) -> ConsolePattern? {
        guard let fault, case .regex(let expression) = self else { return self }
        scope.report(
            .badRegex, "'\(expression.clippedForMessage)' is not a regular expression: \(fault)", at: span,
            help: "POSIX extended regular expressions; `man 7 regex` describes them")
        return nil
    }
}

/// `{ regex: … }` in place of a text.
struct RegexDraft: Sendable {
    var regex: String?
    var spans = SectionSpans()

    static let table = SectionTable<RegexDraft>(
        id: "regex", noun: "regex", plural: "regexes", "A regular expression.", spans: \.spans,
        keys: [
            LabKey(
                "regex", .text, \.regex, required: true,
                "A POSIX extended regular expression; it matches within a line.", synonyms: ["re", "regexp", "pattern"])
        ])
}

extension ValueType where Value == ConsolePattern {
    /// A text, a list of texts, or a regular expression.
    static let consolePattern: ValueType = {
        let list = ValueType<[String]>.list(of: .text, isUnique: true)
        let shape = ValueShape.anyOf([.text, list.shape, .section(RegexDraft.table.shape)])
        return ValueType(shape, describe: { $0.description }) { node, scope in
            switch node.content {
            case .sequence:
                guard let texts = list.decode(node, scope) else { return nil }
                guard !texts.isEmpty else {
                    scope.report(.outOfRange, "'\(scope.key)' in \(scope.place) is empty", at: node.span)
                    return nil
                }
                return .texts(texts)
            case .mapping:
                var inner = scope
                inner.place = "'\(scope.key)' of \(scope.place)"
                guard let expression = RegexDraft.table.decode(node, into: RegexDraft(), inner)?.regex else {
                    return nil
                }
                return ConsolePattern.regex(expression).checked(at: node.span, scope)
            default: return ValueType<String>.string(node, shape, scope).map { ConsolePattern($0) }
            }
        }
    }()
}
