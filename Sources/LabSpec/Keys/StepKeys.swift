/// The steps of a build: a list of mappings with one action each, and how long it may take.

/// One step before it is known to be whole.
struct StepDraft: Sendable {
    var wait: ConsolePattern?
    var screen: ConsolePattern?
    var send: String?
    var keys: [KeyChord]?
    var run: String?
    var copy: CopyStep?
    var sleep: LabDuration?
    var eject: RemovableSlot?
    var screenshot: LabPath?
    var timeout: LabDuration?
    var spans = SectionSpans()

    var step: LabStep? {
        let actions: [LabStep.Action?] = [
            wait.map(LabStep.Action.wait), screen.map(LabStep.Action.screen),
            send.map(LabStep.Action.send), keys.map(LabStep.Action.keys),
            run.map(LabStep.Action.run), copy.map(LabStep.Action.copy), sleep.map(LabStep.Action.sleep),
            eject.map(LabStep.Action.eject), screenshot.map(LabStep.Action.screenshot),
        ]
        let action = actions.lazy.compactMap { $0 }.first
        return action.map { LabStep($0, timeout: timeout) }
    }

    static let durations = LabDuration.seconds(1)...LabDuration.minutes(60 * 24)

    static let table = SectionTable<StepDraft>(
        id: "step", noun: "step", plural: "steps", "One thing that is done with the VM.", spans: \.spans,
        rules: [
            .exactlyOne(["wait", "screen", "send", "keys", "run", "copy", "sleep", "eject", "screenshot"])
        ],
        keys: [
            LabKey(
                "wait", .consolePattern, \.wait,
                "Waits until the serial console has said this text, one of these texts, or what `{ regex: … }` matches.",
                synonyms: ["expect", "wait_for", "waitfor"]),
            LabKey(
                "screen", .consolePattern, \.screen,
                "Waits until the screen shows this, for guests without a serial console.",
                synonyms: ["wait_screen", "display"]),
            LabKey(
                "send", .line, \.send, "Types this text on the serial console; in double quotes `\\n` is Enter.",
                synonyms: ["type", "write", "input"]),
            LabKey(
                "keys", .keyChords, \.keys,
                "Presses keys on the keyboard, by QEMU's names: `ret`, `f2`, `ctrl-alt-delete`; a list presses them one "
                    + "after another.",
                synonyms: ["key", "press", "send_key", "sendkey"]),
            LabKey(
                "run", .text, \.run,
                "Runs a command in the shell that is logged in on the serial console; it has to end with 0, or power the "
                    + "guest off.",
                synonyms: ["shell", "exec", "command", "cmd"]),
            LabKey(
                "copy", copy, \.copy, "Copies a file or a folder into the guest, through that shell.",
                synonyms: ["file", "upload", "put"]),
            LabKey(
                "sleep", .duration(LabDuration(milliseconds: 1)...(.minutes(60 * 24))), \.sleep,
                "Lets the guest go on by itself.",
                synonyms: ["pause", "delay"]),
            LabKey("eject", .choice(RemovableSlot.allCases, slips: ["cd": "cdrom"]), \.eject, "Takes the disc out."),
            LabKey(
                "screenshot", .path, \.screenshot, "Saves the screen as a picture: a file that ends in .png or .ppm.",
                synonyms: ["screendump", "picture"]),
            LabKey(
                "timeout", .duration(durations), \.timeout,
                "How long the step may take; without it, as long as `timeout` of the whole leaves."),
        ])

    private static let copy = ValueType<CopyStep>.section(
        CopyDraft.table, fresh: CopyDraft(), help: { "write { from: \($0), to: /root/ }" },
        finish: { draft, scope in draft.finish(scope) })

    /// A step of a list; its place is that of the list.
    static let type = ValueType<LabStep>(.oneOf(table.shape)) { node, scope in
        var inner = scope
        inner.place = "a step of \(scope.place)"
        inner.key = ""
        guard let draft = table.decode(node, into: StepDraft(), inner) else { return nil }
        if let path = draft.screenshot, ![".png", ".ppm"].contains(where: path.written.lowercased().hasSuffix) {
            inner.report(
                .unknownChoice, "a screenshot is a .png or a .ppm file, not '\(path.written.clippedForMessage)'",
                at: draft.spans.value("screenshot"))
            return nil
        }
        return draft.step
    }
}

/// `copy`.
struct CopyDraft: Sendable {
    var from: LabPath?
    var to: String?
    var spans = SectionSpans()

    func finish(_ scope: DecodingScope) -> CopyStep? {
        guard let from, let to else { return nil }
        guard to.hasPrefix("/"), !to.unicodeScalars.contains("\0") else {
            scope.report(
                .wrongType,
                "'to' in \(scope.place) is a path of the guest from its root, not '\(to.clippedForMessage)'",
                at: spans.value("to"), help: "write /root/\(to.clippedForMessage)")
            return nil
        }
        var step = CopyStep(from: from, to: to)
        step.spans = spans
        return step
    }

    static let table = SectionTable<CopyDraft>(
        id: "copy", noun: "copy", plural: "copies", "Files of the host that get into the guest.", spans: \.spans,
        keys: [
            LabKey(
                "from", .path, \.from, required: true, "A file or a folder, relative to the lab file's folder.",
                synonyms: ["source", "src"]),
            LabKey(
                "to", .text, \.to, required: true,
                "Where it gets in the guest; with a `/` at its end, under its own name in that folder.",
                synonyms: ["dest", "destination", "target", "into"]),
        ])
}

extension ValueType where Value == [KeyChord] {
    /// One chord or several: `ctrl-alt-f2`, `[down, ret]`.
    static let keyChords: ValueType = {
        let chord = ValueShape.pattern(regex: "^[a-z0-9_]+(-[a-z0-9_]+)*$", example: "ret or ctrl-alt-delete")
        let shape = ValueShape.anyOf([chord, .list(of: chord, isUnique: false)])
        return ValueType(shape) { node, scope in
            let nodes: [Node]
            if case .sequence(let items) = node.content { nodes = items } else { nodes = [node] }
            guard !nodes.isEmpty else {
                scope.report(.outOfRange, "'\(scope.key)' in \(scope.place) is empty", at: node.span)
                return nil
            }
            var chords: [KeyChord] = []
            for node in nodes where !node.isBroken {
                // Digits are keys too, and YAML reads them as numbers.
                guard case .scalar(let scalar) = node.content, scalar.type != .null else {
                    scope.reportWrongType(node, expected: shape)
                    return nil
                }
                let keys = scalar.text.split(separator: "-", omittingEmptySubsequences: false).map(String.init)
                let isPlain = keys.allSatisfy { key in
                    !key.isEmpty
                        && key.utf8.allSatisfy {
                            (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F
                        }
                }
                guard isPlain, keys.count <= 8 else {
                    scope.report(
                        .badKeys, "'\(scalar.text.clippedForMessage)' in \(scope.place) names no keys", at: node.span,
                        help: "keys have QEMU's names, joined by '-': a, ret, esc, f2, ctrl-alt-delete")
                    return nil
                }
                chords.append(KeyChord(keys: keys))
            }
            return chords
        }
    }()
}
