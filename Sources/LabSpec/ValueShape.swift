/// What a value of the lab file may be, as data: the JSON Schema and the guide are made from it.
public indirect enum ValueShape: Sendable {
    /// Any text that is not empty.
    case text
    /// Letters, digits, `-` and `_`.
    case name
    /// Text of a fixed form.
    case pattern(regex: String, example: String)
    /// The path of a file.
    case path
    /// The name of an entry of `images`, or the path of a file.
    case imageReference
    case integer(ClosedRange<Int>)
    case boolean
    case size(ClosedRange<ByteSize>)
    case duration(ClosedRange<LabDuration>)
    /// One of a few words.
    case choice([String])
    case list(of: ValueShape, isUnique: Bool)
    /// A mapping with fixed keys.
    case section(SectionShape)
    /// A mapping from names to sections.
    case named(SectionShape, minimumCount: Int)
    /// A mapping with any keys, which others than labctl read.
    case mapping
    /// A mapping with exactly one key, of these.
    case oneOf(SectionShape)
    /// Any of these.
    case anyOf([ValueShape])

    /// For messages and the guide: "a size such as 256M".
    public var description: String {
        switch self {
        case .text: "text"
        case .name: "a name"
        case .pattern(_, let example): "text such as \(example)"
        case .path: "a path"
        case .imageReference: "an image's name or a path"
        case .integer(let range): "a whole number from \(range.lowerBound) to \(range.upperBound)"
        case .boolean: "true or false"
        case .size: "a size such as 256M"
        case .duration: "a duration such as 90s or 2m"
        case .choice(let words): "one of " + words.joined(separator: ", ")
        case .list(let item, _): "a list, each item " + item.description
        case .section(let section), .oneOf(let section):
            "a mapping with " + section.keys.prefix(3).map { "'\($0.name)'" }.joined(separator: ", ")
        case .mapping: "a mapping"
        case .anyOf(let shapes): shapes.map(\.description).joined(separator: ", or ")
        case .named(let section, _): "a mapping from names to \(section.plural)"
        }
    }
}

/// A mapping with fixed keys.
public struct SectionShape: Sendable {
    /// Name in the schema's definitions: `vm`.
    public var id: String
    /// In messages: "VM", "image".
    public var noun: String
    /// Its plural: "VMs".
    public var plural: String
    /// Heading in the guide; nil: made from the key that holds the section.
    public var title: String?
    public var documentation: String
    public var keys: [KeyShape]
    public var rules: [SectionRule]
    /// Keys with this prefix are left alone.
    public var ignoredPrefix: String?
}

/// A key, without the code that decodes it.
public struct KeyShape: Sendable {
    public var name: String
    public var value: ValueShape
    public var isRequired: Bool
    /// As it would be written; nil when there is none.
    public var defaultText: String?
    public var documentation: String
    /// What people write when they mean this key.
    public var synonyms: [String]
}

/// How keys of one section depend on one another.
public enum SectionRule: Sendable {
    /// One of these keys, and not two of them.
    case exactlyOne([String])
    /// At most one of these; `because` says why in a message. `disks.hdc` is the key `hdc` in the section `disks`.
    case exclusive(String, String, because: String, help: String)
    /// `key` has no meaning without `needed`.
    case requires(key: String, needed: String)
    /// `key` has no meaning without one of these.
    case requiresAny(key: String, of: [String])
    /// `key` is not whole without `companion`.
    case needs(key: String, companion: String, help: String)
}
