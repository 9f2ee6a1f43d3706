/// The guide's tables of keys and diagnostics (Markdown), made from the key tables.
public enum LabGuide {
    /// One table for each section of the lab file.
    public static var keys: String {
        var done: Set<String> = []
        var parts: [String] = []
        add(LabSchema.root, title: "Top of the file", to: &parts, &done)
        return parts.joined(separator: "\n\n") + "\n"
    }

    /// The table of diagnostic codes.
    public static var codes: String {
        let rows = DiagnosticCode.allCases.map { "| \($0.rawValue) | \($0.summary) |" }
        return (["| code | what is wrong |", "| --- | --- |"] + rows).joined(separator: "\n") + "\n"
    }

    private static func add(
        _ section: SectionShape, title: String, to parts: inout [String], _ done: inout Set<String>
    ) {
        guard done.insert(section.id).inserted, !section.keys.isEmpty else { return }
        var lines = [
            "#### \(title)", "", section.documentation, "", "| key | takes | default | |", "| --- | --- | --- | --- |",
        ]
        for key in section.keys {
            let fallback = key.isRequired ? "required" : key.defaultText.map { "`\($0)`" } ?? ""
            lines.append("| `\(key.name)` | \(takes(key.value)) | \(fallback) | \(key.documentation) |")
        }
        for rule in section.rules { lines += ["", sentence(rule)] }
        parts.append(lines.joined(separator: "\n"))
        for key in section.keys {
            if let inner = inner(key.value) { add(inner.section, title: inner.title(section, key), to: &parts, &done) }
        }
    }

    private static func inner(
        _ value: ValueShape
    ) -> (section: SectionShape, title: (SectionShape, KeyShape) -> String)? {
        switch value {
        case .section(let section):
            (section, { outer, key in section.title ?? "`\(key.name)` of \(outer.nounWithArticle)" })
        case .named(let section, _): (section, { _, key in "An entry of `\(key.name)`" })
        case .list(let item, _): inner(item).map { inner in (inner.section, { _, key in "An item of `\(key.name)`" }) }
        case .oneOf(let section): (section, { _, key in "`\(key.name)`" })
        case .anyOf(let shapes): shapes.lazy.compactMap { inner($0) }.first
        default: nil
        }
    }

    private static func takes(_ value: ValueShape) -> String {
        switch value {
        case .choice(let words): words.map { "`\($0)`" }.joined(separator: " ")
        case .size(let range): "size, \(range.lowerBound) to \(range.upperBound)"
        case .duration(let range): "duration, \(range.lowerBound) to \(range.upperBound)"
        case .integer(let range): "number, \(range.lowerBound) to \(range.upperBound)"
        case .section, .oneOf, .mapping: "mapping"
        case .anyOf(let shapes): shapes.map { takes($0) }.joined(separator: ", or ")
        case .named: "mapping by name"
        case .list(let item, _): "list of " + (inner(item) == nil ? takes(item) + "s" : "mappings")
        case .name: "name"
        case .text: "text"
        case .pattern(_, let example): example
        case .path: "path"
        case .imageReference: "image name or path"
        case .boolean: "`true` `false`"
        }
    }

    private static func sentence(_ rule: SectionRule) -> String {
        func list(_ names: [String]) -> String { names.map { "`\($0)`" }.joined(separator: ", ") }
        return switch rule {
        case .exactlyOne(let names): "Exactly one of \(list(names))."
        case .exclusive(let first, let second, let reason, _): "Not both \(list([first, second])): they \(reason)."
        case .requires(let key, let needed), .needs(let key, let needed, _): "`\(key)` needs `\(needed)`."
        case .requiresAny(let key, let names):
            "`\(key)` needs one of \(list(names))."
        }
    }
}

extension SectionShape {
    /// "a VM", "an image".
    fileprivate var nounWithArticle: String { ("aeiou".contains(noun.prefix(1)) ? "an " : "a ") + noun }
}
