/// Plain words for what libyaml and the variables complain about.
enum SyntaxAdvice {
    /// libyaml's sentence and what most often lies behind it.
    private static let help: [(problem: String, help: String)] = [
        ("found character that cannot start any token", "quote a value that begins with one of @ ` % & * ! | >"),
        (
            "mapping values are not allowed in this context",
            "quote a value that contains ': ', or check the indentation"
        ),
        ("could not find expected ':'", "a key needs a colon and a space after it, as in `memory: 256M`"),
        ("did not find expected key", "check the indentation: keys of one section begin in one column"),
        ("did not find expected '-' indicator", "check the indentation: items of one list begin in one column"),
        ("did not find expected ',' or '}'", "a `{` is not closed, or a comma is missing"),
        ("did not find expected ',' or ']'", "a `[` is not closed, or a comma is missing"),
        ("found unexpected end of stream", "a quote or a bracket is not closed"),
        (
            "found unknown escape character",
            "in double quotes a backslash begins an escape: double it, or use single quotes"
        ),
    ]

    static func diagnostic(for error: YAMLSyntaxError, in source: SourceText) -> Diagnostic {
        if let offset = error.byteOffset {
            let place = source.position(utf8Offset: offset)
            return Diagnostic(
                .syntax, "not valid YAML: \(error.problem)", at: SourceSpan(start: place, end: place),
                help: "in double quotes such a character is written as an escape: \"\\x1B\"")
        }
        let span = SourceSpan(start: error.position, end: error.position)
        let line = source.line(error.position.line)
        let indent = line.prefix { $0 == " " || $0 == "\t" }
        if indent.contains("\t") {
            var place = error.position
            place.column = line.distance(from: line.startIndex, to: indent.firstIndex(of: "\t") ?? line.startIndex) + 1
            return Diagnostic(
                .syntax, "a tab in the indentation", at: SourceSpan(start: place, end: place),
                help: "YAML indents with spaces only")
        }
        if let variable = unquotedVariable(before: error.position, on: line) {
            return Diagnostic(
                .syntax, "inside { } and [ ] a value with '${' has to be quoted", at: span,
                help: "write \"\(variable)\": it is a number, a size or a text as its key takes it")
        }
        var notes: [Diagnostic.Note] = []
        if let context = error.context, let position = error.contextPosition, position.line != error.position.line {
            notes.append(Diagnostic.Note(context, at: SourceSpan(start: position, end: position)))
        }
        return Diagnostic(
            .syntax, "not valid YAML: \(error.problem)", at: span, notes: notes,
            help: advice(for: error, in: source) ?? help.first { $0.problem == error.problem }?.help)
    }

    /// What is meant where a colon stands without its space, or at the end of a value inside braces.
    private static func advice(for error: YAMLSyntaxError, in source: SourceText) -> String? {
        let line = String(source.line(error.position.line))
        let isInBraces = line.contains("{") || line.contains("[")
        if isInBraces, let word = line.split(separator: " ").adjacentPairEndingInColon {
            return "quote a value that has a colon in it: \"\(word)\""
        }
        for number in [error.position.line, error.position.line - 1] where number >= 1 {
            let text = String(source.line(number)).trimmedLeft
            let key = text.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == "-") }
            let rest = text.dropFirst(key.count)
            if !key.isEmpty, rest.hasPrefix(":"), let next = rest.dropFirst().first, next != " ", next != "/" {
                return "a key needs a space after its colon: `\(key): \(rest.dropFirst())`"
            }
        }
        return nil
    }

    /// A variable in a flow mapping or list of this line, outside of quotes, where YAML takes its brace for one of its own.
    private static func unquotedVariable(
        before position: SourcePosition, on line: Substring.UnicodeScalarView
    ) -> String? {
        let text = String(line)
        guard let open = text.firstIndex(where: { $0 == "{" || $0 == "[" }),
            let start = text.range(of: "${", from: open), text[..<start].last != "\"", text[..<start].last != "'"
        else { return nil }
        let end = text[start...].firstIndex(of: "}").map { text.index(after: $0) } ?? text.endIndex
        return String(text[start..<end])
    }

    static func diagnostic(
        for failure: Substitution.Failure, at span: SourceSpan, variables: LabVariables
    ) -> Diagnostic {
        switch failure {
        case .unset(let name):
            let near = Suggestion.nearest(to: name, among: variables.set.keys.sorted())
            return Diagnostic(
                .variable, "the variable '\(name)' is not set", at: span, label: near.map { "did you mean '\($0)'?" },
                help: "pass `--set \(name)=VALUE`, or give a default: `${\(name):-VALUE}`")
        case .noColumn(let column, let known) where known.isEmpty:
            return Diagnostic(
                .variable, "'${row.\(column.clippedForMessage)}' stands in a VM without a roster", at: span,
                help: "write `replicas: { from: roster.csv }`")
        case .noColumn(let column, let known):
            let near = Suggestion.nearest(to: column, among: known)
            return Diagnostic(
                .variable, "the roster has no column '\(column.clippedForMessage)'", at: span,
                label: near.map { "did you mean '\($0)'?" },
                help: "its columns are " + known.prefix(20).joined(separator: ", "))
        case .unterminated:
            return Diagnostic(
                .variable, "a variable begins with '${', but no '}' ends it", at: span,
                help: "write `$${` for the characters '${' themselves")
        case .badName(let body):
            return Diagnostic(
                .variable, "'\(body.clippedForMessage)' is not a variable", at: span,
                help: "write `${NAME}` or `${NAME:-default}`; `$${` stands for the characters '${' themselves")
        case .tooLong:
            return Diagnostic(
                .limit, "with its variables replaced this text is longer than \(Substitution.maximumLength) bytes",
                at: span)
        }
    }
}

extension SourceText {
    /// Where `text` stands inside a span that is on one line; nil when it is not there letter for letter.
    func find(_ text: String, in span: SourceSpan) -> SourceSpan? {
        guard !text.isEmpty, let excerpt = excerpt(span) else { return nil }
        let haystack = Array(excerpt.unicodeScalars)
        let needle = Array(text.unicodeScalars)
        guard haystack.count >= needle.count else { return nil }
        for start in 0...(haystack.count - needle.count) where haystack[start...].starts(with: needle) {
            var result = span
            result.start.column += start
            result.start.offset += start
            result.end = result.start
            result.end.column += needle.count
            result.end.offset += needle.count
            return result
        }
        return nil
    }
}

extension String {
    /// Where a text begins, at or behind a place.
    fileprivate func range(of text: String, from start: Index) -> Index? {
        var place = start
        while place < endIndex {
            if self[place...].hasPrefix(text) { return place }
            place = index(after: place)
        }
        return nil
    }
}

extension String {
    fileprivate var trimmedLeft: Substring { drop { $0 == " " } }
}

extension [Substring] {
    /// The second of two words in a row that both end in a colon: `console: login:`.
    fileprivate var adjacentPairEndingInColon: Substring? {
        zip(self, dropFirst()).first { $0.hasSuffix(":") && $1.hasSuffix(":") && $1.count > 1 }?.1
    }
}
