/// The forms in which diagnostics are shown.
public enum DiagnosticFormat: String, Sendable, Hashable, CaseIterable {
    /// For people, with source lines and carets.
    case pretty
    /// One JSON object for all of them.
    case json
    /// GitHub Actions' workflow commands (`::error file=…`).
    case github
    /// One line each, as compilers print them: `file:line:column: error: …`.
    case concise
}

extension LoadedLab {
    /// All diagnostics in one of the forms, without a newline at the end. Empty when there is nothing to say (JSON never is).
    public func rendered(as format: DiagnosticFormat, usesColor: Bool = false) -> String {
        switch format {
        case .pretty:
            let renderer = PrettyRenderer(source: source, usesColor: usesColor)
            return diagnostics.map { renderer.render($0) }.joined(separator: "\n\n")
        case .json: return json.description
        case .github: return diagnostics.map(github).joined(separator: "\n")
        case .concise: return diagnostics.map(concise).joined(separator: "\n")
        }
    }

    /// Errors and warnings in words: "2 errors, 1 warning". Nil when there are none.
    public var summary: String? {
        let errors = diagnostics.count { $0.severity == .error }
        let parts = [(errors, "error"), (diagnostics.count - errors, "warning")].filter { $0.0 > 0 }
        return parts.isEmpty ? nil : parts.map { "\($0) \($1)\($0 == 1 ? "" : "s")" }.joined(separator: ", ")
    }

    private func concise(_ diagnostic: Diagnostic) -> String {
        var line = "\(source.fileName):\(diagnostic.span.start.line):\(diagnostic.span.start.column): "
        line += "\(diagnostic.severity.rawValue)[\(diagnostic.code.rawValue)]: \(diagnostic.message)"
        if let label = diagnostic.label { line += " (\(label))" }
        for note in diagnostic.notes { line += "; \(note.message): line \(note.span.start.line)" }
        return line.safeToPrint
    }

    /// `::error file=…,line=…,col=…::message`; properties escape `%`, CR, LF, `:` and `,`, messages the first three.
    private func github(_ diagnostic: Diagnostic) -> String {
        func escaped(_ text: String, _ extra: [(String, String)]) -> String {
            var result = ""
            for character in text.unicodeScalars {
                let rows = [("%", "%25"), ("\r", "%0D"), ("\n", "%0A")] + extra
                result += rows.first { $0.0 == String(character) }?.1 ?? String(character)
            }
            return result
        }
        let property: (String) -> String = { escaped($0, [(":", "%3A"), (",", "%2C")]) }
        let span = diagnostic.span
        var message = diagnostic.message
        for extra in [diagnostic.label, diagnostic.help] { if let extra { message += "\n" + extra } }
        for note in diagnostic.notes { message += "\n\(note.message): line \(note.span.start.line)" }
        var place = "file=\(property(source.fileName)),line=\(span.start.line),col=\(span.start.column)"
        if span.end.line == span.start.line, span.end.column > span.start.column {
            place += ",endColumn=\(span.end.column)"
        }
        return "::\(diagnostic.severity.rawValue) \(place),title=\(diagnostic.code.rawValue)::\(escaped(message, []))"
    }

    /// `{"file", "valid", "diagnostics": [{code, severity, message, label, help, line, column, endLine, endColumn, notes}]}`
    private var json: JSONText {
        func place(_ span: SourceSpan) -> [(String, JSONText)] {
            [
                ("line", .integer(span.start.line)), ("column", .integer(span.start.column)),
                ("endLine", .integer(span.end.line)), ("endColumn", .integer(span.end.column)),
            ]
        }
        let rows = diagnostics.map { diagnostic in
            JSONText.object(
                [
                    ("code", .string(diagnostic.code.rawValue)), ("severity", .string(diagnostic.severity.rawValue)),
                    ("message", .string(diagnostic.message)),
                    ("label", diagnostic.label.map { .string($0) } ?? .null),
                    ("help", diagnostic.help.map { .string($0) } ?? .null),
                ] + place(diagnostic.span) + [
                    (
                        "notes",
                        .array(diagnostic.notes.map { .object([("message", .string($0.message))] + place($0.span)) })
                    )
                ])
        }
        return .object([
            ("file", .string(source.fileName)), ("valid", .boolean(isValid)), ("diagnostics", .array(rows)),
        ])
    }
}
