/// Places in a lab file: what every diagnostic points at.

/// One place in the text. Lines and columns count from 1; a column is one Unicode scalar, as libyaml counts them.
public struct SourcePosition: Sendable, Hashable, Comparable {
    /// Line, from 1.
    public var line: Int
    /// Column in Unicode scalars, from 1.
    public var column: Int
    /// Unicode scalars from the start of the file, from 0.
    public var offset: Int

    public init(line: Int, column: Int, offset: Int) {
        self.line = line
        self.column = column
        self.offset = offset
    }

    /// Where a file starts.
    public static let start = SourcePosition(line: 1, column: 1, offset: 0)

    public static func < (left: SourcePosition, right: SourcePosition) -> Bool {
        (left.line, left.column) < (right.line, right.column)
    }
}

/// A stretch of the text, end exclusive.
public struct SourceSpan: Sendable, Hashable {
    public var start: SourcePosition
    public var end: SourcePosition

    public init(start: SourcePosition, end: SourcePosition) {
        self.start = start
        self.end = end
    }

    /// The empty stretch at the start of a file, for what has no place of its own.
    public static let fileStart = SourceSpan(start: .start, end: .start)
}

/// Where a section of the lab file and each of its keys stand.
///
/// Places take no part in equality: a lab that is only laid out differently is the same lab, and comparing two models
/// says whether something has to be done.
public struct SectionSpans: Sendable, Equatable {
    /// One key with its value.
    public struct Entry: Sendable {
        /// The key itself (`memory`).
        public var key: SourceSpan
        /// What stands after it (`256M`).
        public var value: SourceSpan
        /// Where the value is a list of words or a section: the place of each word or key.
        public var items: [String: SourceSpan]

        public init(key: SourceSpan, value: SourceSpan, items: [String: SourceSpan] = [:]) {
            self.key = key
            self.value = value
            self.items = items
        }
    }

    /// The name of the section (`student` in `student: { … }`), or its start where it has none.
    public var name: SourceSpan
    /// Keys that stand in the file, by key.
    public var entries: [String: Entry]

    public init(name: SourceSpan = .fileStart, entries: [String: Entry] = [:]) {
        self.name = name
        self.entries = entries
    }

    /// The place of a key, or of the section where the key is not written.
    public func key(_ name: String) -> SourceSpan { entries[name]?.key ?? self.name }
    /// The place of a key's value, or of the section where the key is not written.
    public func value(_ name: String) -> SourceSpan { entries[name]?.value ?? self.name }

    /// The place of a word in a key's list, or of the whole value.
    public func item(_ word: String, of name: String) -> SourceSpan { entries[name]?.items[word] ?? value(name) }

    /// The place of `key`, or of `key.inner`; nil where it is not written.
    func place(ofKey path: String) -> SourceSpan? {
        let parts = path.split(separator: ".").map(String.init)
        guard let entry = parts.first.flatMap({ entries[$0] }) else { return nil }
        return parts.count > 1 ? entry.items[parts[1]] : entry.key
    }

    public static func == (left: SectionSpans, right: SectionSpans) -> Bool { true }
}
