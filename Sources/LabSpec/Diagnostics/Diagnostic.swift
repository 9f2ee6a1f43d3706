/// One thing that is wrong with a lab file: what, where, and what to do.
public struct Diagnostic: Sendable, Equatable {
    public enum Severity: String, Sendable, Hashable {
        case error, warning
    }

    /// Another place that belongs to the problem.
    public struct Note: Sendable, Equatable {
        public var message: String
        public var span: SourceSpan

        public init(_ message: String, at span: SourceSpan) {
            self.message = message
            self.span = span
        }
    }

    public var severity: Severity
    public var code: DiagnosticCode
    /// A sentence without a full stop.
    public var message: String
    public var span: SourceSpan
    /// Said beside the caret: a suggestion or what stands there.
    public var label: String?
    public var notes: [Note]
    /// What to do.
    public var help: String?

    public init(
        _ code: DiagnosticCode, _ message: String, at span: SourceSpan, label: String? = nil, notes: [Note] = [],
        help: String? = nil, severity: Severity = .error
    ) {
        self.severity = severity
        self.code = code
        self.message = message
        self.span = span
        self.label = label
        self.notes = notes
        self.help = help
    }
}

/// Collects diagnostics while a file is read and checked.
final class DiagnosticSink {
    /// No reader gets further than this; what an alias repeats thirty times is not reported thirty times.
    static let limit = 200

    private(set) var all: [Diagnostic] = []
    private var seen: Set<Seen> = []
    private(set) var omitted = 0
    private(set) var hasErrors = false

    private struct Seen: Hashable {
        var code: DiagnosticCode
        var span: SourceSpan
        var label: String?
    }

    /// What is reported from here on is only counted: no need to search for suggestions.
    var isFull: Bool { all.count >= DiagnosticSink.limit }

    func report(_ diagnostic: Diagnostic) {
        if diagnostic.severity == .error { hasErrors = true }
        // One code at one place is one mistake, whichever alias or replica led there.
        guard seen.insert(Seen(code: diagnostic.code, span: diagnostic.span, label: diagnostic.label)).inserted else {
            return
        }
        if all.count < DiagnosticSink.limit { all.append(diagnostic) } else { omitted += 1 }
    }

    /// In file order, places clamped to the text.
    func sorted(in source: SourceText) -> [Diagnostic] {
        var result = all.map { diagnostic in
            var copy = diagnostic
            copy.span = source.clamped(diagnostic.span)
            copy.notes = diagnostic.notes.map { Diagnostic.Note($0.message, at: source.clamped($0.span)) }
            return copy
        }
        // The standard library's sort is stable, so causes stay before what follows from them at the same place.
        result.sort { $0.span.start < $1.span.start }
        if omitted > 0, let last = result.last {
            result.append(
                Diagnostic(.limit, "\(omitted) more problems are not shown", at: last.span, help: "repair these first"))
        }
        return result
    }
}
