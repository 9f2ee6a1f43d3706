/// libyaml's event stream as Swift values. libyaml's marks count lines, columns and indices from 0, in characters.
import CLibYAML

/// One event of the YAML stream.
struct YAMLEvent {
    enum Kind {
        case documentStart
        case documentEnd
        case alias(String)
        case scalar(text: String, isPlain: Bool, tag: String?)
        case sequenceStart(isFlow: Bool, tag: String?)
        case sequenceEnd
        case mappingStart(isFlow: Bool, tag: String?)
        case mappingEnd
        case streamEnd
    }

    var kind: Kind
    var anchor: String?
    var span: SourceSpan
}

/// What libyaml refuses, and where.
struct YAMLSyntaxError: Error {
    /// libyaml's sentence about the problem.
    var problem: String
    var position: SourcePosition
    /// What it was reading then ("while parsing a block mapping"), and where that began.
    var context: String?
    var contextPosition: SourcePosition?
    /// Set for characters that YAML does not allow: their place in UTF-8 bytes. `position` is only near it, as libyaml
    /// reads ahead of its marks.
    var byteOffset: Int?
}

/// Reads events one at a time.
struct YAMLEventReader: ~Copyable {
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let input: UnsafeMutableBufferPointer<UInt8>

    init(_ text: String) {
        let utf8 = Array(text.utf8)
        // SAFETY: both allocations live until deinit; libyaml keeps a pointer to the input and never frees it.
        do {
            input = .allocate(capacity: max(1, utf8.count))
            _ = input.initialize(from: utf8)
            parser = .allocate(capacity: 1)
            parser.initialize(to: yaml_parser_t())
            yaml_parser_initialize(parser)
            yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
            yaml_parser_set_input_string(parser, input.baseAddress, utf8.count)
        }
    }

    deinit {
        // SAFETY: initialised in init, used nowhere else; yaml_parser_delete frees what libyaml allocated.
        yaml_parser_delete(parser)
        parser.deallocate()
        input.deallocate()
    }

    /// The next event; the stream's start and document markers without meaning here are left to the caller.
    func next() throws(YAMLSyntaxError) -> YAMLEvent {
        while true {
            var event = yaml_event_t()
            // SAFETY: the parser is initialised; on success the event is ours until yaml_event_delete below.
            guard yaml_parser_parse(parser, &event) != 0 else { throw syntaxError() }
            defer { yaml_event_delete(&event) }
            if let result = YAMLEventReader.convert(event) { return result }
        }
    }

    /// Copies an event out of libyaml's memory. Nil for the stream's start.
    private static func convert(_ event: yaml_event_t) -> YAMLEvent? {
        let span = SourceSpan(start: SourcePosition(event.start_mark), end: SourcePosition(event.end_mark))
        // SAFETY: `type` says which member of the union is valid; strings in it are null-terminated or have a length.
        switch event.type {
        case YAML_DOCUMENT_START_EVENT: return YAMLEvent(kind: .documentStart, span: span)
        case YAML_DOCUMENT_END_EVENT: return YAMLEvent(kind: .documentEnd, span: span)
        case YAML_STREAM_END_EVENT: return YAMLEvent(kind: .streamEnd, span: span)
        case YAML_SEQUENCE_END_EVENT: return YAMLEvent(kind: .sequenceEnd, span: span)
        case YAML_MAPPING_END_EVENT: return YAMLEvent(kind: .mappingEnd, span: span)
        case YAML_ALIAS_EVENT:
            return YAMLEvent(kind: .alias(string(event.data.alias.anchor) ?? ""), span: span)
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            let text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
            let kind = YAMLEvent.Kind.scalar(
                text: text, isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE, tag: string(scalar.tag))
            return YAMLEvent(kind: kind, anchor: string(scalar.anchor), span: span)
        case YAML_SEQUENCE_START_EVENT:
            let start = event.data.sequence_start
            let isFlow = start.style == YAML_FLOW_SEQUENCE_STYLE
            return YAMLEvent(
                kind: .sequenceStart(isFlow: isFlow, tag: string(start.tag)), anchor: string(start.anchor), span: span)
        case YAML_MAPPING_START_EVENT:
            let start = event.data.mapping_start
            let isFlow = start.style == YAML_FLOW_MAPPING_STYLE
            return YAMLEvent(
                kind: .mappingStart(isFlow: isFlow, tag: string(start.tag)), anchor: string(start.anchor), span: span)
        default: return nil
        }
    }

    private static func string(_ pointer: UnsafeMutablePointer<UInt8>?) -> String? {
        // SAFETY: libyaml's strings are null-terminated.
        pointer.map { String(cString: $0) }
    }

    /// The parser's error fields; valid after a call has failed.
    private func syntaxError() -> YAMLSyntaxError {
        let state = parser.pointee
        // SAFETY: problem and context point to libyaml's static strings, or are null.
        let problem = state.problem.map { String(cString: $0) } ?? "the file is not YAML"
        if state.error == YAML_READER_ERROR {
            return YAMLSyntaxError(
                problem: problem, position: SourcePosition(state.mark), byteOffset: Int(state.problem_offset))
        }
        let position = SourcePosition(state.problem_mark)
        guard let context = state.context else { return YAMLSyntaxError(problem: problem, position: position) }
        return YAMLSyntaxError(
            problem: problem, position: position, context: String(cString: context),
            contextPosition: SourcePosition(state.context_mark))
    }
}

extension SourcePosition {
    fileprivate init(_ mark: yaml_mark_t) {
        self.init(line: Int(mark.line) + 1, column: Int(mark.column) + 1, offset: Int(mark.index))
    }
}
