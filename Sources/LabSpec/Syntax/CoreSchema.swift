/// What a plain scalar means: the core schema of YAML 1.2.2, section 10.3.2.
///
/// | spelling | type |
/// | --- | --- |
/// | `null Null NULL ~` and nothing | null |
/// | `true True TRUE false False FALSE` | boolean |
/// | `[-+]?[0-9]+`, `0o[0-7]+`, `0x[0-9a-fA-F]+` | integer |
/// | `[-+]?(\.[0-9]+\|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, `.inf`, `.nan` | float |
/// | everything else, so `no`, `yes`, `on`, `off`, `12:30`, `1_000` too | string |
enum CoreType: Equatable {
    case null
    case boolean(Bool)
    /// Nil when it does not fit 64 bits.
    case integer(Int?)
    case float
    case string
}

extension Node.Scalar {
    /// The type of this scalar.
    var type: CoreType {
        guard isPlain else { return .string }
        switch text {
        case "", "~", "null", "Null", "NULL": return .null
        case "true", "True", "TRUE": return .boolean(true)
        case "false", "False", "FALSE": return .boolean(false)
        case ".nan", ".NaN", ".NAN": return .float
        default: return CoreType.number(text)
        }
    }

    /// For messages.
    var kindDescription: String {
        switch type {
        case .null: "nothing"
        case .boolean(let value): "the boolean \(value)"
        case .integer, .float: "the number \(text.clippedForMessage)"
        case .string: "the text '\(text.clippedForMessage)'"
        }
    }
}

extension CoreType {
    /// An integer, a float, or else a string.
    fileprivate static func number(_ text: String) -> CoreType {
        let bytes = Array(text.utf8)
        func digits(_ range: ArraySlice<UInt8>, _ allowed: (UInt8) -> Bool) -> Bool {
            !range.isEmpty && range.allSatisfy(allowed)
        }
        let isDecimal: (UInt8) -> Bool = { $0 >= 0x30 && $0 <= 0x39 }
        if text.hasPrefix("0o"), digits(bytes.dropFirst(2), { $0 >= 0x30 && $0 <= 0x37 }) {
            return .integer(Int(text.dropFirst(2), radix: 8))
        }
        if text.hasPrefix("0x"), bytes.count > 2, text.dropFirst(2).allSatisfy({ $0.isASCII && $0.isHexDigit }) {
            return .integer(Int(text.dropFirst(2), radix: 16))
        }
        var rest = bytes[...]
        if let sign = rest.first, sign == 0x2B || sign == 0x2D { rest = rest.dropFirst() }
        if digits(rest, isDecimal) { return .integer(Int(text)) }
        if [".inf", ".Inf", ".INF"].contains(String(decoding: rest, as: UTF8.self)) { return .float }
        // Mantissa, then fraction, then exponent.
        let whole = rest.prefix(while: isDecimal)
        rest = rest.dropFirst(whole.count)
        var fraction = 0
        if rest.first == 0x2E {
            let after = rest.dropFirst().prefix(while: isDecimal)
            fraction = after.count
            rest = rest.dropFirst(1 + after.count)
        }
        guard !whole.isEmpty || fraction > 0 else { return .string }
        if rest.isEmpty { return .float }
        guard rest.first == 0x65 || rest.first == 0x45 else { return .string }
        rest = rest.dropFirst()
        if let sign = rest.first, sign == 0x2B || sign == 0x2D { rest = rest.dropFirst() }
        return digits(rest, isDecimal) ? .float : .string
    }
}

extension String {
    /// The text with control characters made visible and at most 60 characters long.
    var clippedForMessage: String {
        var result = ""
        for scalar in unicodeScalars.prefix(60) {
            switch scalar {
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            default:
                if scalar.isUnsafeToPrint { result += "\u{FFFD}" } else { result.unicodeScalars.append(scalar) }
            }
        }
        return unicodeScalars.count > 60 ? result + "…" : result
    }
}

extension Unicode.Scalar {
    /// Control characters and bidirectional overrides: a lab file must not be able to drive the reader's terminal.
    var isUnsafeToPrint: Bool {
        switch properties.generalCategory {
        case .control, .format, .surrogate, .lineSeparator, .paragraphSeparator: true
        default: false
        }
    }
}
