/// Base 64 (RFC 4648, section 4).
public enum Base64 {
    private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let pad = UInt8(ascii: "=")
    private static let values: [UInt8?] = {
        var values = [UInt8?](repeating: nil, count: 256)
        for (value, digit) in digits.enumerated() { values[Int(digit)] = UInt8(value) }
        return values
    }()

    /// As text, with padding.
    public static func encode(_ bytes: some Collection<UInt8>) -> String {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        var rest = bytes[...]
        while !rest.isEmpty {
            let three = Array(rest.prefix(3))
            rest = rest.dropFirst(3)
            let word = three.indices.reduce(0 as UInt32) { $0 | UInt32(three[$1]) << UInt32(16 - 8 * $1) }
            for index in 0..<4 {
                let isUsed = index <= three.count
                text.append(isUsed ? digits[Int(word >> UInt32(18 - 6 * index) & 63)] : pad)
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The bytes; nil for text that is not base64.
    /// - Parameter isLenient: whether line ends are skipped and padding may be missing or stand anywhere, as in secrets that
    ///   other tools wrote.
    public static func decode(_ text: [UInt8], isLenient: Bool = false) -> [UInt8]? {
        var text = text
        if isLenient {
            text.removeAll { $0 == pad || $0 == UInt8(ascii: "\n") }
            // A digit alone carries no byte.
            if text.count % 4 == 1, values[Int(text[text.count - 1])] != nil { text.removeLast() }
            text += [UInt8](repeating: pad, count: (4 - text.count % 4) % 4)
        }
        guard text.count.isMultiple(of: 4) else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 4 * 3)
        for start in stride(from: 0, to: text.count, by: 4) {
            let group = text[start..<start + 4]
            let padding = group.reversed().prefix { $0 == pad }.count
            guard padding <= 2, padding == 0 || start + 4 == text.count else { return nil }
            var word: UInt32 = 0
            for (place, letter) in group.prefix(4 - padding).enumerated() {
                guard let value = values[Int(letter)] else { return nil }
                word |= UInt32(value) << UInt32(18 - 6 * place)
            }
            for place in 0..<3 - padding { bytes.append(UInt8(truncatingIfNeeded: word >> UInt32(16 - 8 * place))) }
        }
        return bytes
    }
}
