/// `checks` of a VM: a list of things that have to be true.

/// One check before it is known to be whole.
struct CheckDraft: Sendable {
    var id: String?
    var title: String?
    var points = 1
    var hint: String?
    var run: String?
    var exit = 0
    var console: ConsolePattern?
    var screen: ConsolePattern?
    var file: String?
    var expectation: Expectation?
    var timeout = LabDuration.seconds(30)
    var retries = 0
    var spans = SectionSpans()

    /// The check; nil after a mistake.
    var check: Check? {
        let subject: Check.Subject? =
            run.map { .run($0, exit: exit) } ?? console.map { .console($0) } ?? screen.map { .screen($0) }
            ?? file.map { .file($0) }
        guard let id, let subject else { return nil }
        var check = Check(id: id, subject: subject)
        (check.title, check.points, check.hint) = (title, points, hint)
        (check.expectation, check.timeout, check.retries) = (expectation, timeout, retries)
        check.spans = spans
        return check
    }

    static let table = SectionTable<CheckDraft>(
        id: "check", noun: "check", plural: "checks", title: "An item of `checks`",
        "Something that is true of a VM that is as it shall be; `labctl check` looks whether it is.", spans: \.spans,
        rules: [
            .exactlyOne(["run", "console", "screen", "file"]), .requires(key: "exit", needed: "run"),
            .exclusive(
                "expect", "console", because: "exclude one another", help: "`console` itself says what is expected"),
            .exclusive(
                "expect", "screen", because: "exclude one another", help: "`screen` itself says what is expected"),
        ],
        keys: [
            LabKey(
                "id", .name, \.id, required: true, "Its name in reports; unique in the VM.", synonyms: ["name", "key"]),
            LabKey("title", .text, \.title, "What is checked, for people.", synonyms: ["description", "label"]),
            LabKey(
                "points", .integer(0...1000), \.points, defaultOf: CheckDraft(), "What it is worth.",
                synonyms: ["score", "weight", "max_score"]),
            LabKey("hint", .text, \.hint, "Shown to those who did not pass.", synonyms: ["help", "advice"]),
            LabKey(
                "run", .text, \.run, "A command for the shell on the VM's console (see `login`).",
                synonyms: ["command", "cmd", "shell", "exec"]),
            LabKey(
                "exit", .integer(0...255), \.exit, defaultOf: CheckDraft(),
                "The exit status that `run` has to end with.",
                synonyms: ["status", "exit_code", "code"]),
            LabKey(
                "console", .consolePattern, \.console,
                "What the serial console has said since the VM was started, or says within `timeout`.",
                synonyms: ["serial"]),
            LabKey(
                "screen", .consolePattern, \.screen, "What the screen shows, or does within `timeout`.",
                synonyms: ["display", "vga"]),
            LabKey(
                "file", .text, \.file,
                "The path of a file in the VM. It has to be there, with what `expect` says in it.",
                synonyms: ["path"]),
            LabKey(
                "expect", .expectation, \.expectation,
                "What the output of `run` or the content of `file` has: a text, one of several, what `{ regex: … }` matches, "
                    + "or, with `{ min: …, max: … }`, a number in these limits.",
                synonyms: ["output", "contains", "stdout", "content", "expected"]),
            LabKey(
                "timeout", .duration(.seconds(1)...(.minutes(60))), \.timeout, defaultOf: CheckDraft(),
                "How long one try may take."),
            LabKey(
                "retries", .integer(0...100), \.retries, defaultOf: CheckDraft(),
                "How often it is tried again, a second later, when it did not pass.", synonyms: ["retry", "attempts"]),
        ])

    /// A check of a list; its place is that of the list.
    static let type = ValueType<Check>(.section(table.shape)) { node, scope in
        var inner = scope
        inner.place = "a check of \(scope.place)"
        inner.key = ""
        return table.decode(node, into: CheckDraft(), inner)?.check
    }

    /// The checks of a VM; no two of one name.
    static let listType: ValueType<[Check]> = {
        let list = ValueType<[Check]>.list(of: type)
        return ValueType(list.shape) { node, scope in
            guard let checks = list.decode(node, scope) else { return nil }
            var first: [String: SourceSpan] = [:]
            for check in checks {
                let span = check.spans.value("id")
                if let earlier = first[check.id] {
                    scope.report(
                        .duplicateKey, "two checks of \(scope.place) have the id '\(check.id)'", at: span,
                        notes: [.init("the first is here", at: earlier)])
                }
                first[check.id] = first[check.id] ?? span
            }
            return checks
        }
    }()
}

/// `{ regex: … }` or `{ min: …, max: … }` of `expect`.
struct ExpectDraft: Sendable {
    var regex: String?
    var minimum: Int?
    var maximum: Int?
    var spans = SectionSpans()

    static let numbers = -1_000_000_000_000_000...1_000_000_000_000_000

    static let table = SectionTable<ExpectDraft>(
        id: "expect", noun: "expect", plural: "expectations", "A regular expression, or the limits of a number.",
        spans: \.spans,
        rules: [
            .exclusive("regex", "min", because: "exclude one another", help: "write one of them"),
            .exclusive("regex", "max", because: "exclude one another", help: "write one of them"),
        ],
        keys: [
            LabKey(
                "regex", .text, \.regex, "A POSIX extended regular expression; it matches within a line.",
                synonyms: ["re", "regexp", "pattern"]),
            LabKey(
                "min", .integer(numbers), \.minimum, "The first number of the output is at least this.",
                synonyms: ["minimum", "from", "least"]),
            LabKey(
                "max", .integer(numbers), \.maximum, "The first number of the output is at most this.",
                synonyms: ["maximum", "to", "most"]),
        ])
}

extension ValueType where Value == Expectation {
    /// A text, a list of texts, a regular expression, or limits of a number.
    static let expectation: ValueType = {
        let texts = ValueType<[String]>.list(of: .text, isUnique: true)
        let shape = ValueShape.anyOf([.text, texts.shape, .section(ExpectDraft.table.shape)])
        return ValueType(shape) { node, scope in
            guard case .mapping = node.content else {
                return ValueType<ConsolePattern>.consolePattern.decode(node, scope).map { .pattern($0) }
            }
            var inner = scope
            inner.place = "'\(scope.key)' of \(scope.place)"
            guard let draft = ExpectDraft.table.decode(node, into: ExpectDraft(), inner) else { return nil }
            if let expression = draft.regex {
                return ConsolePattern.regex(expression).checked(at: node.span, scope).map { .pattern($0) }
            }
            if let minimum = draft.minimum, let maximum = draft.maximum, minimum > maximum {
                scope.report(
                    .outOfRange, "'min' of \(inner.place) is more than 'max'", at: draft.spans.value("min"))
                return nil
            }
            guard draft.minimum != nil || draft.maximum != nil else {
                if draft.spans.entries.isEmpty {
                    scope.report(
                        .missingKey, "\(inner.capitalized) has none of 'regex', 'min', 'max'", at: node.span)
                }
                return nil
            }
            return .number(minimum: draft.minimum, maximum: draft.maximum)
        }
    }()
}
