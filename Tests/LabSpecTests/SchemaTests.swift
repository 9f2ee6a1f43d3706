import Foundation
import Testing

@testable import LabSpec

@Suite struct SchemaTests {
    @Test func theSchemaFileIsUpToDate() throws {
        try GoldenFile.expect(
            LabSchema.text, equals: GoldenFile.repository.appending(path: "schemas/lab.schema.json"))
    }

    @Test func theGuidesTablesAreUpToDate() throws {
        let file = GoldenFile.repository.appending(path: "docs/GUIDE.md")
        var guide = try String(contentsOf: file, encoding: .utf8)
        for (name, table) in [("lab-file-keys", LabGuide.keys), ("lab-file-codes", LabGuide.codes)] {
            let (begin, end) = ("<!-- \(name): begin -->\n", "<!-- \(name): end -->")
            let first = try #require(guide.range(of: begin)).upperBound
            let last = try #require(guide.range(of: end)).lowerBound
            guide.replaceSubrange(first..<last, with: table)
        }
        try GoldenFile.expect(guide, equals: file)
    }

    @Test(arguments: GoldenFile.all.filter(\.isMeantValid))
    func validFilesFitTheSchema(_ file: GoldenFile) throws {
        let problems = try SchemaValidator().problems(in: file.text())
        #expect(problems.isEmpty, "\(problems)")
    }

    @Test func examplesFitTheSchema() throws {
        let folder = GoldenFile.repository.appending(path: "examples")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        for name in names where name.hasSuffix(".lab.yaml") {
            let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
            let problems = try SchemaValidator().problems(in: text)
            #expect(problems.isEmpty, "\(name): \(problems)")
            let loaded = LabFile.load(path: folder.appending(path: name).path, checksFiles: false)
            #expect(loaded.isValid, "\(loaded.rendered(as: .pretty))")
        }
    }

    @Test(arguments: [
        "vms: {m: {}}", "lab: a", "lab: a\nvms: {}", "lab: a\nvms: {m: {disk: {}}}", "lab: a\nvms: {m: {memory: 12Q}}",
        "lab: a\nvms: {m: {cpus: many}}", "lab: a\nvms: {m: {restart: never}}", "lab: a\nvms: {m: {boot: x}}",
        "lab: a\nvms: {'m m': {}}", "lab: a\nvms: {m: {initrd: x}}",
        "lab: a\nvms: {m: {cdrom: a.iso, disks: {hdc: {base: b.qcow2}}}}", "lab: a\nvms: {m: {ready: {timeout: 1m}}}",
        "lab: a\nvms: {m: {ready: {console: x, timeout: 90}}}", "lab: a\nvms: {m: {depends_on: [b, b]}}",
        "lab: a\nvms: {m: {disks: {hda: {base: a, image: b}}}}", "lab: a\nimages: {i: {}}\nvms: {m: {}}",
        "lab: a\nimages: {i: {path: a, create: {size: 1G}}}\nvms: {m: {}}",
        "lab: a\nimages: {i: {create: {size: 1G}, format: raw}}\nvms: {m: {}}",
    ])
    func schemaAndParserRefuseTheSame(text: String) throws {
        let problems = try SchemaValidator().problems(in: text)
        #expect(!problems.isEmpty)
        #expect(!load(text).isValid)
    }

    @Test func everyKeyHasDocumentationAndNoSynonymIsAKey() {
        var sections: [String: SectionShape] = [:]
        collect(.section(LabSchema.root), into: &sections)
        #expect(sections.count == 22)
        for section in sections.values {
            let names = Set(section.keys.map(\.name))
            #expect(names.count == section.keys.count)
            for key in section.keys {
                #expect(!key.documentation.isEmpty)
                #expect(names.isDisjoint(with: key.synonyms), "\(section.id).\(key.name)")
            }
        }
    }

    private func collect(_ shape: ValueShape, into sections: inout [String: SectionShape]) {
        switch shape {
        case .section(let section), .oneOf(let section), .named(let section, _):
            sections[section.id] = section
            for key in section.keys { collect(key.value, into: &sections) }
        case .list(let item, _): collect(item, into: &sections)
        case .anyOf(let shapes): for shape in shapes { collect(shape, into: &sections) }
        default: break
        }
    }
}

/// As much of JSON Schema draft-07 as the lab schema uses; a word it does not know is a problem of its own.
struct SchemaValidator {
    private let root: [String: Any]

    init() throws {
        root = try #require(try JSONSerialization.jsonObject(with: Data(LabSchema.text.utf8)) as? [String: Any])
    }

    func problems(in text: String) throws -> [String] {
        // An editor sees variables as they are written, so each stands for itself.
        let names = text.matches(of: /\$\{(\w+)\}/).map { String($0.1) }
        let variables = LabVariables(set: Dictionary(names.map { ($0, "${\($0)}") }, uniquingKeysWith: { $1 }))
        let sink = DiagnosticSink()
        let source = SourceText(fileName: "x", text: text)
        var parser = YAMLParser(source, sink: sink)
        guard let tree = parser.parse() else { return ["not YAML"] }
        let node = VariableExpansion(source, variables, sink: sink).expand(file: tree)
        guard !sink.hasErrors else { return ["not YAML"] }
        return check(node, root, "")
    }

    private func check(_ node: Node, _ schema: Any, _ path: String) -> [String] {
        if schema as? Bool == true { return [] }
        guard let schema = schema as? [String: Any] else { return ["\(path): no schema"] }
        return schema.keys.sorted().flatMap { word in check(node, word, schema, path) }
    }

    private func check(_ node: Node, _ word: String, _ schema: [String: Any], _ path: String) -> [String] {
        let value = schema[word] as Any
        var pairs: [String: Node] = [:]
        if case .mapping(let list) = node.content { for pair in list { pairs[pair.key] = pair.value } }
        let properties = schema["properties"] as? [String: Any] ?? [:]
        let patterns = schema["patternProperties"] as? [String: Any] ?? [:]
        func schemas(_ value: Any) -> [Any] { value as? [Any] ?? [] }
        func matches(_ text: String, _ pattern: Any) -> Bool {
            text.range(of: pattern as? String ?? "(", options: .regularExpression) != nil
        }
        switch word {
        case "$schema", "title", "description", "definitions", "patternProperties": return []
        case "$ref":
            let name = (value as? String ?? "").split(separator: "/").last.map(String.init) ?? ""
            return check(node, (root["definitions"] as? [String: Any])?[name] as Any, path)
        case "type": return typeName(node) == value as? String ? [] : ["\(path): \(typeName(node)), not \(value)"]
        case "properties":
            return properties.flatMap { key, inner in pairs[key].map { check($0, inner, path + "." + key) } ?? [] }
        case "additionalProperties":
            return pairs.flatMap { key, inner -> [String] in
                if properties[key] != nil || patterns.keys.contains(where: { matches(key, $0) }) { return [] }
                return value as? Bool == false ? ["\(path): unknown key \(key)"] : check(inner, value, path + "." + key)
            }
        case "propertyNames":
            let pattern = (value as? [String: Any])?["pattern"] as Any
            return pairs.keys.filter { !matches($0, pattern) }.map { "\(path): name \($0)" }
        case "required": return (value as? [String] ?? []).filter { pairs[$0] == nil }.map { "\(path): no \($0)" }
        case "dependencies":
            return (value as? [String: Any] ?? [:]).flatMap { key, needed in
                guard pairs[key] != nil else { return [String]() }
                guard let names = needed as? [String] else { return check(node, needed, path) }
                return names.filter { pairs[$0] == nil }.map { "\(path): \(key) without \($0)" }
            }
        case "allOf": return schemas(value).flatMap { check(node, $0, path) }
        case "anyOf":
            let results = schemas(value).map { check(node, $0, path) }
            return results.contains { $0.isEmpty } ? [] : results.flatMap(\.self)
        case "oneOf":
            let fitting = schemas(value).count { check(node, $0, path).isEmpty }
            return fitting == 1 ? [] : ["\(path): \(fitting) of oneOf"]
        case "not": return check(node, value, path).isEmpty ? ["\(path): not"] : []
        case "enum": return (value as? [String] ?? []).contains(text(node) ?? "") ? [] : ["\(path): not in enum"]
        case "pattern": return text(node).map { matches($0, value) } ?? true ? [] : ["\(path): pattern \(value)"]
        case "minLength": return (text(node) ?? "").isEmpty ? ["\(path): empty"] : []
        case "minimum", "maximum":
            guard case .scalar(let scalar) = node.content, case .integer(let number?) = scalar.type else { return [] }
            let bound = value as? Int ?? 0
            return (word == "minimum" ? number >= bound : number <= bound) ? [] : ["\(path): \(word) \(bound)"]
        case "minProperties": return pairs.count < value as? Int ?? 0 ? ["\(path): too few"] : []
        case "items":
            guard case .sequence(let items) = node.content else { return [] }
            return items.enumerated().flatMap { check($1, value, "\(path)[\($0)]") }
        case "uniqueItems":
            guard case .sequence(let items) = node.content else { return [] }
            return Set(items.compactMap(text)).count == items.count ? [] : ["\(path): twice"]
        default: return ["\(path): the word \(word) is not known to this validator"]
        }
    }

    private func text(_ node: Node) -> String? {
        if case .scalar(let scalar) = node.content, scalar.type == .string { return scalar.text }
        return nil
    }

    private func typeName(_ node: Node) -> String {
        switch node.content {
        case .mapping: return "object"
        case .sequence: return "array"
        case .scalar(let scalar):
            switch scalar.type {
            case .null: return "null"
            case .boolean: return "boolean"
            case .integer: return "integer"
            case .float: return "number"
            case .string: return "string"
            }
        }
    }
}
