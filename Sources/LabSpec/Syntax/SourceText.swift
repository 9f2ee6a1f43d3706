/// The text of a lab file, cut into lines the way libyaml counts them, so that its marks find their lines.

/// A lab file's name and text.
public struct SourceText: Sendable {
    /// The name that diagnostics show: the path as the user gave it.
    public let fileName: String
    /// The text without a byte order mark.
    public let text: String
    /// Lines without their line breaks.
    public let lines: [Substring.UnicodeScalarView]

    public init(fileName: String, text: String) {
        self.fileName = fileName
        self.text = text.unicodeScalars.first == "\u{FEFF}" ? String(text.unicodeScalars.dropFirst()) : text
        self.lines = SourceText.split(self.text)
    }

    /// YAML breaks lines at CR LF, CR, LF, NEL, LS and PS (YAML 1.1 section 5.4, which libyaml follows).
    private static func split(_ text: String) -> [Substring.UnicodeScalarView] {
        let scalars = text.unicodeScalars
        var lines: [Substring.UnicodeScalarView] = []
        var start = scalars.startIndex
        var index = start
        while index != scalars.endIndex {
            let scalar = scalars[index]
            let next = scalars.index(after: index)
            switch scalar {
            case "\r" where next != scalars.endIndex && scalars[next] == "\n":
                lines.append(scalars[start..<index])
                index = scalars.index(after: next)
                start = index
            case "\r", "\n", "\u{85}", "\u{2028}", "\u{2029}":
                lines.append(scalars[start..<index])
                index = next
                start = next
            default:
                index = next
            }
        }
        lines.append(scalars[start..<scalars.endIndex])
        return lines
    }

    /// The line with this number (from 1); empty beyond the last.
    public func line(_ number: Int) -> Substring.UnicodeScalarView {
        lines.indices.contains(number - 1) ? lines[number - 1] : Substring.UnicodeScalarView()
    }

    /// The place of a byte; the end of the text for one beyond it.
    func position(utf8Offset: Int) -> SourcePosition {
        let bytes = text.utf8
        let index = bytes.index(bytes.startIndex, offsetBy: utf8Offset, limitedBy: bytes.endIndex) ?? bytes.endIndex
        let line = lines.lastIndex { $0.startIndex <= index } ?? 0
        let column = text.unicodeScalars.distance(from: lines[line].startIndex, to: index)
        return SourcePosition(
            line: line + 1, column: min(column, lines[line].count) + 1,
            offset: text.unicodeScalars.distance(from: text.startIndex, to: index))
    }

    /// The text under a span that stays on one line; nil for others.
    func excerpt(_ span: SourceSpan) -> String? {
        guard span.start.line == span.end.line, span.start.column <= span.end.column else { return nil }
        return String(
            String.UnicodeScalarView(line(span.start.line).prefix(span.end.column - 1).dropFirst(span.start.column - 1))
        )
    }

    /// The nearest span that lies inside the text.
    func clamped(_ span: SourceSpan) -> SourceSpan {
        let start = clamped(span.start)
        return SourceSpan(start: start, end: max(start, clamped(span.end)))
    }

    private func clamped(_ position: SourcePosition) -> SourcePosition {
        var result = position
        result.line = min(max(1, position.line), lines.count)
        result.column = min(max(1, position.column), line(result.line).count + 1)
        return result
    }
}
