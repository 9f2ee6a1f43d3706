/// The lab file's JSON Schema (draft-07), made from the key tables.
///
/// It says what an editor can check: keys, types, words, patterns, keys that exclude or need one another. What needs the
/// whole lab (names that refer to others, cycles, writers) only `labctl validate` says. Every value may also be text
/// with a variable in it, so each type that is not text accepts `${`.
public enum LabSchema {
    /// The shape of the whole file.
    public static var root: SectionShape { LabDraft.table.shape }

    /// The schema as text, with a newline at the end.
    public static var text: String {
        var definitions: [(String, JSONText)] = []
        let top = section(root, &definitions)
        guard case .object(let pairs) = top else { return "" }
        let head: [(String, JSONText)] = [
            ("$schema", .string("http://json-schema.org/draft-07/schema#")),
            ("title", .string("labctl lab file")),
        ]
        return JSONText.object(head + pairs + [("definitions", .object(definitions))]).description + "\n"
    }

    /// Sizes: a number of bytes, or a number with a unit. Case does not matter, which draft-07 patterns have to spell out.
    static let sizePattern = "^[0-9]+(\\.[0-9]+)? *([KMGTPkmgtp]([Ii]?[Bb])?|[Bb])?$"
    static let durationPattern = "^([0-9]+(\\.[0-9]+)? *(ms|s|m|h|d) *)+$"

    private static func section(_ shape: SectionShape, _ definitions: inout [(String, JSONText)]) -> JSONText {
        var properties: [(String, JSONText)] = []
        for key in shape.keys {
            var schema = value(key.value, &definitions)
            var description = key.documentation
            if let text = key.defaultText { description += " Default: `\(text)`." }
            // Beside "$ref" draft-07 ignores everything, so the description needs a wrapper there.
            if case .object(let pairs) = schema {
                let note = ("description", JSONText.string(description))
                schema =
                    pairs.first?.0 == "$ref" ? .object([note, ("allOf", .array([schema]))]) : .object([note] + pairs)
            }
            properties.append((key.name, schema))
        }
        var result: [(String, JSONText)] = [
            ("description", .string(shape.documentation)), ("type", .string("object")),
            ("properties", .object(properties)), ("additionalProperties", .boolean(false)),
        ]
        if let prefix = shape.ignoredPrefix {
            result.append(("patternProperties", .object([("^" + prefix, .boolean(true))])))
        }
        let required = shape.keys.filter(\.isRequired).map { JSONText.string($0.name) }
        if !required.isEmpty { result.append(("required", .array(required))) }
        return .object(result + rules(shape.rules))
    }

    private static func rules(_ rules: [SectionRule]) -> [(String, JSONText)] {
        var result: [(String, JSONText)] = []
        var dependencies: [(String, JSONText)] = []
        func required(_ names: [String]) -> JSONText {
            .object([("required", .array(names.map { .string($0) }))])
        }
        // `disks.hdc` is there where `disks` is there and has `hdc`.
        func present(_ path: String) -> JSONText {
            let parts = path.split(separator: ".").map(String.init)
            let outer = ("required", JSONText.array([.string(parts[0])]))
            guard parts.count > 1 else { return .object([outer]) }
            return .object([outer, ("properties", .object([(parts[0], required([parts[1]]))]))])
        }
        for rule in rules {
            switch rule {
            case .exactlyOne(let names): result.append(("oneOf", .array(names.map { required([$0]) })))
            case .exclusive(let first, let second, _, _):
                result.append(("not", .object([("allOf", .array([present(first), present(second)]))])))
            case .requires(let key, let needed), .needs(let key, let needed, _):
                dependencies.append((key, .array([.string(needed)])))
            case .requiresAny(let key, let names):
                dependencies.append((key, .object([("anyOf", .array(names.map { required([$0]) }))])))
            }
        }
        if !dependencies.isEmpty { result.append(("dependencies", .object(dependencies))) }
        return result
    }

    private static func reference(_ shape: SectionShape, _ definitions: inout [(String, JSONText)]) -> JSONText {
        if !definitions.contains(where: { $0.0 == shape.id }) {
            let place = definitions.count
            definitions.append((shape.id, .null))
            definitions[place].1 = section(shape, &definitions)
        }
        return .object([("$ref", .string("#/definitions/" + shape.id))])
    }

    private static func value(_ shape: ValueShape, _ definitions: inout [(String, JSONText)]) -> JSONText {
        let string = ("type", JSONText.string("string"))
        let variable = JSONText.object([string, ("pattern", .string("\\$\\{"))])
        func orVariable(_ pairs: [(String, JSONText)]) -> JSONText {
            .object([("anyOf", .array([.object(pairs), variable]))])
        }
        switch shape {
        case .text: return .object([string])
        case .path, .imageReference: return .object([string, ("minLength", .integer(1))])
        case .name: return orVariable([string, ("pattern", .string(Names.regex))])
        case .pattern(let regex, _): return orVariable([string, ("pattern", .string(regex))])
        case .integer(let range):
            return orVariable([
                ("type", .string("integer")), ("minimum", .integer(range.lowerBound)),
                ("maximum", .integer(range.upperBound)),
            ])
        case .boolean: return orVariable([("type", .string("boolean"))])
        case .size(let range):
            let number: [(String, JSONText)] = [
                ("type", .string("integer")), ("minimum", .integer(Int(clamping: range.lowerBound.bytes))),
                ("maximum", .integer(Int(clamping: range.upperBound.bytes))),
            ]
            return .object([
                ("anyOf", .array([.object([string, ("pattern", .string(sizePattern))]), .object(number), variable]))
            ])
        case .duration: return orVariable([string, ("pattern", .string(durationPattern))])
        case .choice(let words): return orVariable([("enum", .array(words.map { .string($0) }))])
        case .list(let item, let isUnique):
            var pairs: [(String, JSONText)] = [("type", .string("array")), ("items", value(item, &definitions))]
            if isUnique { pairs.append(("uniqueItems", .boolean(true))) }
            return .object(pairs)
        case .mapping: return .object([("type", .string("object"))])
        case .section(let section), .oneOf(let section): return reference(section, &definitions)
        case .anyOf(let shapes): return .object([("anyOf", .array(shapes.map { value($0, &definitions) }))])
        case .named(let section, let minimum):
            var item = reference(section, &definitions)
            // A section without keys may be written as nothing at all: `lan:`.
            if section.keys.isEmpty {
                item = .object([("anyOf", .array([item, .object([("type", .string("null"))])]))])
            }
            var pairs: [(String, JSONText)] = [
                ("type", .string("object")),
                ("propertyNames", .object([("pattern", .string(Names.regex))])), ("additionalProperties", item),
            ]
            if minimum > 0 { pairs.append(("minProperties", .integer(minimum))) }
            return .object(pairs)
        }
    }
}
