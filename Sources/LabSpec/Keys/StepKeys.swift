/// The steps of a build: a list of mappings with one key each.

/// One step before it is known to be whole.
struct StepDraft: Sendable {
    var wait: String?
    var send: String?
    var spans = SectionSpans()

    var step: BuildStep? { wait.map { .wait($0) } ?? send.map { .send($0) } }

    static let table = SectionTable<StepDraft>(
        id: "step", noun: "step", plural: "steps", "One step on the serial console.", spans: \.spans,
        rules: [.exactlyOne(["wait", "send"])],
        keys: [
            LabKey(
                "wait", .text, \.wait, "Waits until the console has said this text.",
                synonyms: ["expect", "wait_for", "waitfor"]),
            LabKey(
                "send", .line, \.send, "Types this text; in double quotes `\\n` is Enter.",
                synonyms: ["type", "write", "input"]),
        ])

    /// A step of a list; its place is that of the list.
    static let type = ValueType<BuildStep>(.oneOf(table.shape)) { node, scope in
        var inner = scope
        inner.place = "a step of \(scope.place)"
        inner.key = ""
        return table.decode(node, into: StepDraft(), inner)?.step
    }
}
