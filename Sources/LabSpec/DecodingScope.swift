/// Where in the file a decoder is, and how it says what is wrong there.
struct DecodingScope {
    let sink: DiagnosticSink
    /// Folder of the lab file, absolute.
    let folder: String
    /// The user's home folder, for paths that begin with `~/`.
    let home: String?
    /// Replaces variables that mean something else in each VM.
    var expansion: VariableExpansion?
    /// Reads lists of names.
    var rosters: RosterReader
    /// In messages, after "in": "VM 'student'", "'ready' of VM 'student'".
    var place: String
    /// The key whose value is decoded.
    var key: String = ""

    /// The place at the start of a sentence.
    var capitalized: String { place.prefix(1).uppercased() + place.dropFirst() }

    /// The scope of a key's value. Sections get a place of their own.
    func entering(_ key: String, value: ValueShape) -> DecodingScope {
        var inner = self
        inner.key = key
        switch value {
        case .section: inner.place = "'\(key)' of \(place)"
        default: break
        }
        return inner
    }

    /// The scope of an entry with a name of its own.
    func entering(_ noun: String, named name: String) -> DecodingScope {
        var inner = self
        inner.place = "\(noun) '\(name.clippedForMessage)'"
        return inner
    }

    func report(
        _ code: DiagnosticCode, _ message: String, at span: SourceSpan, label: String? = nil,
        notes: [Diagnostic.Note] = [], help: String? = nil
    ) {
        sink.report(Diagnostic(code, message, at: span, label: label, notes: notes, help: help))
    }

    func reportWrongType(_ node: Node, expected shape: ValueShape, help: String? = nil) {
        // The scope of a section already has the key in its place.
        let subject = key.isEmpty || place.hasPrefix("'\(key)' of") ? "\(capitalized) is" : "'\(key)' in \(place) is"
        report(.wrongType, "\(subject) \(shape.description), not \(node.kindDescription)", at: node.span, help: help)
    }

    func reportConflict(
        _ first: String, _ second: String, because reason: String, _ spans: SectionSpans, help: String? = nil
    ) {
        func name(_ path: String) -> String { path.split(separator: ".").last.map(String.init) ?? path }
        let places = [first, second].map { (name: name($0), span: spans.place(ofKey: $0) ?? spans.name) }
        let (early, late) =
            places[0].span.start < places[1].span.start ? (places[0], places[1]) : (places[1], places[0])
        report(
            .conflict, "'\(places[0].name)' and '\(places[1].name)' in \(place) \(reason)", at: late.span,
            label: "'\(late.name)' is here", notes: [.init("'\(early.name)' is here", at: early.span)], help: help)
    }

    /// Reports a key that does not exist. Returns the key that was probably meant.
    func reportUnknownKey(_ pair: Node.Pair, in section: SectionShape) -> Set<String> {
        let written = pair.key
        if sink.isFull {
            report(.unknownKey, "unknown key", at: pair.keySpan)
            return []
        }
        var label: String?
        var meant: Set<String> = []
        let synonym = section.keys.first { $0.synonyms.contains(written.lowercased()) }?.name
        if synonym == nil, let parent = section.keys.first(where: { $0.value.hasKey(written) }) {
            label = "'\(written)' stands under '\(parent.name)'"
            meant = [parent.name]
        } else if let near = synonym ?? Suggestion.nearest(to: written, among: section.keys.map(\.name)) {
            label = "did you mean '\(near)'?"
            meant = [near]
        }
        let known = section.keys.map(\.name).joined(separator: ", ")
        report(
            .unknownKey, "unknown key '\(written.clippedForMessage)' in \(place)", at: pair.keySpan, label: label,
            help: label == nil ? (known.isEmpty ? "it takes no keys" : "known keys are \(known)") : nil)
        return meant
    }
}

extension ValueShape {
    /// Whether this is a section with the given key.
    fileprivate func hasKey(_ name: String) -> Bool {
        if case .section(let section) = self { return section.keys.contains { $0.name == name } }
        return false
    }
}
