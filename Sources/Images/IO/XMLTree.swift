/// An XML element as OVF descriptors and property lists need it: names without their prefixes, attributes, child
/// elements, text. No entities but the five of XML and numbers, so nothing can grow; DOCTYPE is passed over.
struct XMLTree: Sendable {
    var name: String
    var attributes: [String: String] = [:]
    var children: [XMLTree] = []
    var text = ""

    /// The first child of that name.
    func child(_ name: String) -> XMLTree? { children.first { $0.name == name } }

    /// Elements of that name at any depth, in order.
    func all(_ wanted: String) -> [XMLTree] {
        (name == wanted ? [self] : []) + children.flatMap { $0.all(wanted) }
    }

    /// The root element of a document; nil when it is not well-formed or nests deeper than 64 elements.
    static func parse(_ bytes: [UInt8]) -> XMLTree? {
        var parser = XMLParser(bytes)
        return parser.document()
    }
}

private struct XMLParser {
    private static let maximumDepth = 64
    private let bytes: [UInt8]
    private var at = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    private func starts(with text: StaticString) -> Bool {
        guard at + text.utf8CodeUnitCount <= bytes.count else { return false }
        for index in 0..<text.utf8CodeUnitCount where bytes[at + index] != text.utf8Start[index] { return false }
        return true
    }

    /// Moves behind the next `text`; false where there is none.
    private mutating func skip(past text: StaticString) -> Bool {
        while at < bytes.count {
            if starts(with: text) {
                at += text.utf8CodeUnitCount
                return true
            }
            at += 1
        }
        return false
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }

    private mutating func skipSpace() {
        while at < bytes.count, Self.isSpace(bytes[at]) { at += 1 }
    }

    /// Passes comments, instructions and DOCTYPE; nil where one does not end.
    private mutating func skipMisc() -> Bool {
        while true {
            skipSpace()
            if starts(with: "<?") {
                guard skip(past: "?>") else { return false }
            } else if starts(with: "<!--") {
                guard skip(past: "-->") else { return false }
            } else if starts(with: "<!") {
                guard skip(past: ">") else { return false }
            } else {
                return true
            }
        }
    }

    mutating func document() -> XMLTree? {
        if starts(with: "\u{feff}") { at += 3 }
        guard skipMisc() else { return nil }
        return element(depth: 0)
    }

    private mutating func name() -> String? {
        let start = at
        while at < bytes.count, !Self.isSpace(bytes[at]), !"=/><\"'".utf8.contains(bytes[at]) { at += 1 }
        guard at > start else { return nil }
        let local = bytes[start..<at].split(separator: UInt8(ascii: ":")).last ?? []
        return String(decoding: local, as: UTF8.self)
    }

    private mutating func element(depth: Int) -> XMLTree? {
        guard depth < Self.maximumDepth, starts(with: "<") else { return nil }
        at += 1
        guard let name = name() else { return nil }
        var tree = XMLTree(name: name)
        while true {
            skipSpace()
            if starts(with: "/>") {
                at += 2
                return tree
            }
            if starts(with: ">") {
                at += 1
                break
            }
            guard let key = self.name() else { return nil }
            skipSpace()
            guard starts(with: "=") else { return nil }
            at += 1
            skipSpace()
            guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") || bytes[at] == UInt8(ascii: "'") else {
                return nil
            }
            let quote = bytes[at]
            at += 1
            let start = at
            while at < bytes.count, bytes[at] != quote { at += 1 }
            guard at < bytes.count else { return nil }
            tree.attributes[key] = Self.decode(bytes[start..<at])
            at += 1
        }
        return content(of: tree, depth: depth)
    }

    private mutating func content(of start: XMLTree, depth: Int) -> XMLTree? {
        var tree = start
        var text: [UInt8] = []
        func flush() {
            tree.text += Self.decode(text[...])
            text = []
        }
        while at < bytes.count {
            if starts(with: "</") {
                at += 2
                guard name() == tree.name, skip(past: ">") else { return nil }
                flush()
                return tree
            }
            if starts(with: "<![CDATA[") {
                at += 9
                let from = at
                guard skip(past: "]]>") else { return nil }
                flush()
                tree.text += String(decoding: bytes[from..<at - 3], as: UTF8.self)
            } else if starts(with: "<!") || starts(with: "<?") {
                guard skipMisc() else { return nil }
            } else if bytes[at] == UInt8(ascii: "<") {
                guard let child = element(depth: depth + 1) else { return nil }
                tree.children.append(child)
            } else {
                text.append(bytes[at])
                at += 1
            }
        }
        return nil
    }

    private static let entities: [String: Character] = ["lt": "<", "gt": ">", "amp": "&", "quot": "\"", "apos": "'"]

    /// Text with its entities replaced; unknown ones stay as they are.
    private static func decode(_ raw: ArraySlice<UInt8>) -> String {
        let text = String(decoding: raw, as: UTF8.self)
        guard raw.contains(UInt8(ascii: "&")) else { return text }
        var out = ""
        var rest = Substring(text)
        while let mark = rest.firstIndex(of: "&") {
            out += rest[..<mark]
            rest = rest[mark...]
            guard let end = rest.prefix(12).firstIndex(of: ";") else {
                out.append(rest.removeFirst())
                continue
            }
            let body = rest[rest.index(after: mark)..<end]
            if let known = entities[String(body)] {
                out.append(known)
            } else if body.hasPrefix("#"), let scalar = number(body.dropFirst()) {
                out.unicodeScalars.append(scalar)
            } else {
                out += rest[...end]
            }
            rest = rest[rest.index(after: end)...]
        }
        return out + rest
    }

    private static func number(_ text: Substring) -> Unicode.Scalar? {
        let value = text.hasPrefix("x") ? UInt32(text.dropFirst(), radix: 16) : UInt32(text)
        return value.flatMap(Unicode.Scalar.init)
    }
}
