/// Diagnostics for people: the line, the caret, the suggestion.
///
/// ```
/// error[L012]: unknown key 'disk' in VM 'student'
///   --> intro.lab.yaml:31:5
/// 31 |     disk: { base: patched }
///    |     ^^^^ did you mean 'disks'?
/// ```
struct PrettyRenderer {
    let source: SourceText
    let usesColor: Bool

    private enum Style: String {
        case error = "1;31"
        case warning = "1;33"
        case bold = "1"
        case gutter = "1;34"
        case help = "1;36"
    }

    func render(_ diagnostic: Diagnostic) -> String {
        let style: Style = diagnostic.severity == .error ? .error : .warning
        let title = "\(diagnostic.severity.rawValue)[\(diagnostic.code.rawValue)]"
        var lines = [paint(title, style) + paint(": " + diagnostic.message.safeToPrint, .bold)]
        if diagnostic.code.isAboutWholeFile {
            lines.append("  " + paint("-->", .gutter) + " " + source.fileName.safeToPrint)
            if let help = diagnostic.help { lines.append(paint("  = help: ", .help) + help.safeToPrint) }
            return lines.joined(separator: "\n")
        }
        // One gutter for all places of a diagnostic, so that they stand under one another.
        let spans = [diagnostic.span] + diagnostic.notes.map(\.span)
        let width = spans.map { String($0.start.line).count }.max() ?? 1
        lines += place(diagnostic.span, arrow: "-->", label: diagnostic.label, width: width, style: style)
        for note in diagnostic.notes {
            lines += place(note.span, arrow: ":::", label: note.message, width: width, style: .gutter)
        }
        if let help = diagnostic.help {
            lines.append(String(repeating: " ", count: width) + paint(" = help: ", .help) + help.safeToPrint)
        }
        return lines.joined(separator: "\n")
    }

    private func place(_ span: SourceSpan, arrow: String, label: String?, width: Int, style: Style) -> [String] {
        let position = "\(source.fileName.safeToPrint):\(span.start.line):\(span.start.column)"
        var lines = [String(repeating: " ", count: width) + " " + paint(arrow, .gutter) + " " + position]
        if source.text.isEmpty { return lines }
        let number = String(span.start.line)
        let gutter = String(repeating: " ", count: width - number.count) + number
        let excerpt = SourceExcerpt(source.line(span.start.line), span: span)
        let marked = paint(excerpt.caret, style) + (label.map { " " + paint($0.safeToPrint, style) } ?? "")
        lines.append(paint("\(gutter) | ", .gutter) + excerpt.text)
        lines.append(paint(String(repeating: " ", count: width) + " | ", .gutter) + excerpt.indent + marked)
        return lines.map { String($0.reversed().drop { $0 == " " }.reversed()) }
    }

    private func paint(_ text: String, _ style: Style) -> String {
        usesColor ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
    }
}

/// One line of the file made fit to print, with the caret under a part of it.
private struct SourceExcerpt {
    var text = ""
    /// White space up to the caret; tabs stay tabs.
    var indent = ""
    var caret = ""

    /// Longer lines are shown in part.
    private static let maximumLength = 160

    init(_ line: Substring.UnicodeScalarView, span: SourceSpan) {
        let start = span.start.column - 1
        let end = span.end.line == span.start.line ? max(span.end.column - 1, start + 1) : Int.max
        // Of a long line the part from a little before the span.
        let first = line.count > SourceExcerpt.maximumLength ? max(0, start - 40) : 0
        if first > 0 { (text, indent) = ("…", " ") }
        var carets = 0
        for (column, scalar) in line.enumerated().dropFirst(first) {
            if column >= first + SourceExcerpt.maximumLength {
                text += "…"
                break
            }
            let isTab = scalar == "\t"
            let columns = isTab ? 1 : scalar.printedColumns
            if isTab || !scalar.isUnsafeToPrint { text.unicodeScalars.append(scalar) } else { text += "\u{FFFD}" }
            if column < start {
                indent += isTab ? "\t" : String(repeating: " ", count: columns)
            } else if column < end {
                carets += columns
            }
        }
        caret = String(repeating: "^", count: max(1, carets))
    }
}

extension Unicode.Scalar {
    /// Columns on a terminal: 0 for combining marks, 2 for East Asian wide characters and emoji, else 1.
    fileprivate var printedColumns: Int {
        switch value {
        case 0..<0x300: 1
        case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60,
            0xFFE0...0xFFE6, 0x1F300...0x1FAFF, 0x20000...0x3FFFD:
            2
        default:
            switch properties.generalCategory {
            case .nonspacingMark, .enclosingMark: 0
            default: 1
            }
        }
    }
}

extension String {
    /// Control characters replaced: text from a file must not drive the reader's terminal.
    var safeToPrint: String {
        guard unicodeScalars.contains(where: \.isUnsafeToPrint) else { return self }
        return String(String.UnicodeScalarView(unicodeScalars.map { $0.isUnsafeToPrint ? "\u{FFFD}" : $0 }))
    }
}
