/// The values of a JSON object (RFC 8259) by dotted path: `{"file":{"filename":"x"}}` and `{"file.filename":"x"}` both give
/// `file.filename`. Numbers and truth values are kept as their text. Strings may stand in single quotes, as QEMU takes them.
/// Members of an array are counted: `{"a":["x"]}` gives `a.0`. Null is not needed and refused.
public struct JSONFields {
    private static let maximumDepth = 16
    public private(set) var values: [String: String] = [:]
    private let bytes: [UInt8]
    private var at = 0

    /// nil when `text` is not such an object, or names a value twice.
    public init?(_ text: some StringProtocol) {
        bytes = Array(text.utf8)
        skipSpace()
        guard object(prefix: "", depth: 0) else { return nil }
        skipSpace()
        guard at == bytes.count else { return nil }
    }

    private mutating func skipSpace() {
        while at < bytes.count, [32, 9, 10, 13].contains(bytes[at]) { at += 1 }
    }

    private mutating func take(_ byte: Unicode.Scalar) -> Bool {
        guard at < bytes.count, bytes[at] == UInt8(ascii: byte) else { return false }
        at += 1
        return true
    }

    private mutating func object(prefix: String, depth: Int) -> Bool {
        guard depth < Self.maximumDepth, take("{") else { return false }
        skipSpace()
        if take("}") { return true }
        repeat {
            skipSpace()
            guard let key = string() else { return false }
            skipSpace()
            guard take(":") else { return false }
            skipSpace()
            guard value(of: prefix + key, depth: depth) else { return false }
            skipSpace()
        } while take(",")
        return take("}")
    }

    private mutating func array(prefix: String, depth: Int) -> Bool {
        guard depth < Self.maximumDepth, take("[") else { return false }
        skipSpace()
        if take("]") { return true }
        var count = 0
        repeat {
            skipSpace()
            guard value(of: prefix + String(count), depth: depth) else { return false }
            count += 1
            skipSpace()
        } while take(",")
        return take("]")
    }

    private mutating func value(of key: String, depth: Int) -> Bool {
        guard at < bytes.count, values[key] == nil else { return false }
        switch bytes[at] {
        case UInt8(ascii: "{"): return object(prefix: key + ".", depth: depth + 1)
        case UInt8(ascii: "["): return array(prefix: key + ".", depth: depth + 1)
        case UInt8(ascii: "\""), UInt8(ascii: "'"):
            guard let text = string() else { return false }
            values[key] = text
        default:
            let start = at
            while at < bytes.count, !" \t\r\n,}]".utf8.contains(bytes[at]) { at += 1 }
            let word = String(decoding: bytes[start..<at], as: UTF8.self)
            guard word == "true" || word == "false" || Double(word) != nil else { return false }
            values[key] = word
        }
        return true
    }

    private static let escapes: [UInt8: UInt8] = [
        UInt8(ascii: "\""): UInt8(ascii: "\""), UInt8(ascii: "'"): UInt8(ascii: "'"),
        UInt8(ascii: "\\"): UInt8(ascii: "\\"),
        UInt8(ascii: "/"): UInt8(ascii: "/"), UInt8(ascii: "b"): 8, UInt8(ascii: "f"): 12, UInt8(ascii: "n"): 10,
        UInt8(ascii: "r"): 13, UInt8(ascii: "t"): 9,
    ]

    private mutating func string() -> String? {
        let isSingle = take("'")
        guard isSingle || take("\"") else { return nil }
        let quote = UInt8(ascii: isSingle ? "'" : "\"")
        var out: [UInt8] = []
        while at < bytes.count {
            let byte = bytes[at]
            at += 1
            switch byte {
            case quote: return String(decoding: out, as: UTF8.self)
            case UInt8(ascii: "\\"):
                guard at < bytes.count else { return nil }
                let mark = bytes[at]
                at += 1
                if let plain = Self.escapes[mark] {
                    out.append(plain)
                } else if mark == UInt8(ascii: "u"), let unit = unit() {
                    guard let text = scalar(unit) else { return nil }
                    out += Array(String(text).utf8)
                } else {
                    return nil
                }
            case 0..<32: return nil
            default: out.append(byte)
            }
        }
        return nil
    }

    private mutating func unit() -> UInt32? {
        guard at + 4 <= bytes.count else { return nil }
        defer { at += 4 }
        return UInt32(String(decoding: bytes[at..<at + 4], as: UTF8.self), radix: 16)
    }

    /// A UTF-16 unit, with the low half that follows a high one.
    private mutating func scalar(_ unit: UInt32) -> Unicode.Scalar? {
        guard (0xd800..<0xdc00).contains(unit) else { return Unicode.Scalar(unit) }
        guard take("\\"), take("u"), let low = self.unit(), (0xdc00..<0xe000).contains(low) else { return nil }
        return Unicode.Scalar(0x10000 + (unit - 0xd800) << 10 + (low - 0xdc00))
    }
}
