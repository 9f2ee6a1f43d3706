import Images

/// JSON as qemu-img prints it: four spaces per level, and the members of an object in the order of QEMU's dictionary,
/// whose 512 buckets are chosen by a string hash. Output is then equal byte for byte, not only in meaning.
enum QEMUJSON {
    /// Renders a value with a final newline.
    static func render(_ value: InfoValue) -> String {
        var out = ""
        write(value, indent: 0, into: &out)
        return out + "\n"
    }

    private static func write(_ value: InfoValue, indent: Int, into out: inout String) {
        let inner = String(repeating: " ", count: (indent + 1) * 4)
        let outer = String(repeating: " ", count: indent * 4)
        switch value {
        case .bool(let flag): out += flag ? "true" : "false"
        case .integer(let number): out += String(number)
        case .string(let text): out += quoted(text)
        case .object(let fields):
            out += "{"
            for (index, field) in ordered(fields).enumerated() {
                out += index == 0 ? "\n" : ",\n"
                out += inner + quoted(field.name) + ": "
                write(field.value, indent: indent + 1, into: &out)
            }
            out += "\n" + outer + "}"
        case .array(let values):
            out += "["
            for (index, element) in values.enumerated() {
                out += index == 0 ? "\n" : ",\n"
                out += inner
                write(element, indent: indent + 1, into: &out)
            }
            out += "\n" + outer + "]"
        }
    }

    /// Members by bucket; within one bucket the last inserted comes first.
    static func ordered(_ fields: [InfoField]) -> [InfoField] {
        fields.enumerated().sorted { left, right in
            let (a, b) = (bucket(left.element.name), bucket(right.element.name))
            return a == b ? left.offset > right.offset : a < b
        }.map(\.element)
    }

    /// The bucket of a key: a multiplicative hash seeded with the length, each byte shifted by its position.
    private static func bucket(_ key: String) -> UInt32 {
        var hash = 0x238F_13AF &* UInt32(truncatingIfNeeded: key.utf8.count)
        for (index, byte) in key.utf8.enumerated() { hash = hash &+ UInt32(byte) << UInt32(index * 5 % 24) }
        return (1_103_515_243 &* hash &+ 12345) % 512
    }

    /// A string with its quotation marks.
    static func quoted(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\u{8}": out += "\\b"
            case "\u{c}": out += "\\f"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            default:
                if scalar.value < 32 || scalar.value >= 127 {
                    for unit in Character(scalar).utf16 {
                        let digits = String(unit, radix: 16, uppercase: true)
                        out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                    }
                } else {
                    out.unicodeScalars.append(scalar)
                }
            }
        }
        return out + "\""
    }
}
