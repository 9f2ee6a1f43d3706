/// `cloud_init`, `files` and `ssh_keys` of a VM.

/// `cloud_init`.
struct CloudInitDraft: Sendable {
    var seed = CloudSeed()

    static let table = SectionTable<CloudInitDraft>(
        id: "cloud_init", noun: "cloud_init", plural: "cloud_inits",
        "What cloud-init finds on a CD labelled `cidata` (NoCloud). A value is a mapping, text of several lines, or the path of "
            + "a file. A fresh overlay has an instance id of its own, so that cloud-init runs again after `reset`.",
        spans: \.seed.spans,
        keys: [
            LabKey(
                "user-data", .cloudSource, \.seed.userData,
                "`user-data`; a mapping becomes `#cloud-config`.", synonyms: ["user_data", "userdata"]),
            LabKey(
                "meta-data", .cloudSource, \.seed.metaData,
                "`meta-data`; `instance-id` and `local-hostname` are added where they are not.",
                synonyms: ["meta_data", "metadata"]),
            LabKey(
                "network-config", .cloudSource, \.seed.networkConfig, "`network-config`.",
                synonyms: ["network_config", "network"]),
        ])
}

/// An item of `files`.
struct GuestFileDraft: Sendable {
    var path: String?
    var content: String?
    var from: LabPath?
    var mode: String?
    var owner: String?
    var spans = SectionSpans()

    func finish(_ scope: DecodingScope) -> CloudSeed.File? {
        guard let path, path.hasPrefix("/") else {
            if let path {
                scope.report(
                    .wrongType,
                    "'path' in \(scope.place) is a path of the guest from its root, not '\(path.clippedForMessage)'",
                    at: spans.value("path"))
            }
            return nil
        }
        guard let content = content.map(CloudSeed.File.Content.text) ?? from.map(CloudSeed.File.Content.file) else {
            return nil
        }
        var file = CloudSeed.File(path: path, content: content, mode: mode, owner: owner)
        file.spans = spans
        return file
    }

    static let table = SectionTable<GuestFileDraft>(
        id: "guest_file", noun: "file", plural: "files", "A file that cloud-init writes in the guest.", spans: \.spans,
        rules: [.exactlyOne(["content", "from"])],
        keys: [
            LabKey(
                "path", .text, \.path, required: true, "Its path in the guest.", synonyms: ["to", "dest", "target"]),
            LabKey("content", .line, \.content, "Its text.", synonyms: ["text", "data"]),
            LabKey(
                "from", .path, \.from, "A file of the host that it is a copy of, up to 1 MiB.",
                synonyms: ["source", "src"]),
            LabKey("mode", .fileMode, \.mode, "Its mode in octal, in quotes: `\"0755\"`.", synonyms: ["permissions"]),
            LabKey("owner", .text, \.owner, "`USER:GROUP`."),
        ])

    static let type = ValueType<CloudSeed.File>(.section(table.shape)) { node, scope in
        var inner = scope
        inner.place = "a file of \(scope.place)"
        inner.key = ""
        return table.decode(node, into: GuestFileDraft(), inner)?.finish(inner)
    }
}

extension ValueType where Value == String {
    /// Three or four octal digits. In YAML a bare 0644 is the number 644.
    static let fileMode = ValueType(.pattern(regex: "^0?[0-7]{3,4}$", example: "\"0644\"")) { node, scope in
        guard case .scalar(let scalar) = node.content, scalar.type != .null else {
            scope.reportWrongType(node, expected: .pattern(regex: "", example: "\"0644\""))
            return nil
        }
        let digits = scalar.text
        guard (3...5).contains(digits.count), digits.utf8.allSatisfy({ (0x30...0x37).contains($0) }) else {
            scope.report(
                .outOfRange, "'\(digits.clippedForMessage)' in \(scope.place) is not an octal mode", at: node.span,
                help: "write \"0644\", \"0755\" or the like")
            return nil
        }
        return digits
    }
}

extension ValueType where Value == CloudSeed.PublicKey {
    /// A public key as `ssh-keygen` writes it, or the path of the file that holds it.
    static let publicKey = ValueType(.text) { node, scope in
        guard let text = ValueType<String>.string(node, .text, scope) else { return nil }
        if text.contains(" "), !text.contains("\n") { return .text(text) }
        if text.hasSuffix(".pub") || text.contains("/") {
            return Paths.resolve(text, at: node.span, scope).map { .file($0) }
        }
        scope.report(
            .wrongType, "'\(text.clippedForMessage)' in \(scope.place) is neither a public key nor the path of one",
            at: node.span, help: "write `ssh-ed25519 AAAA…`, or ~/.ssh/id_ed25519.pub")
        return nil
    }
}

extension ValueType where Value == CloudSeed.Source {
    /// A mapping, text of several lines, or a path.
    static let cloudSource = ValueType.document(
        mapping: { _, pairs in .mapping(pairs.map { CloudSeed.Entry(key: $0.key, value: $0.value.flowText) }) },
        text: { .text($0) }, file: { .file($0) })
}

extension Node {
    /// The node as YAML on one line. Plain scalars stay plain where that is safe: what they mean is the reader's to say.
    var flowText: String {
        switch content {
        case .sequence(let items): "[" + items.map(\.flowText).joined(separator: ", ") + "]"
        case .mapping(let pairs):
            "{" + pairs.map { JSONText.string($0.key).description + ": " + $0.value.flowText }.joined(separator: ", ")
                + "}"
        case .scalar(let scalar): Node.flowText(scalar)
        }
    }

    private static func flowText(_ scalar: Scalar) -> String {
        if scalar.isPlain, scalar.text.isEmpty { return "null" }
        let isSafe = scalar.text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2B, 0x2D, 0x2E, 0x2F, 0x5F: true
            default: false
            }
        }
        let isPlain = scalar.isPlain && isSafe && scalar.text != "-" && !scalar.text.hasPrefix("---")
        return isPlain || scalar.isPlain && scalar.text == "~" ? scalar.text : JSONText.string(scalar.text).description
    }
}
