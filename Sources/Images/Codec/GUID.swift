import COpenSSL

/// A 128-bit identifier as its 16 bytes lie in a file.
struct GUID: Hashable, Sendable {
    var bytes: [UInt8]

    static let zero = GUID(bytes: [UInt8](repeating: 0, count: 16))

    init(bytes: [UInt8]) { self.bytes = bytes }

    /// A random (version 4) identifier.
    static func random() -> GUID {
        var bytes = [UInt8](repeating: 0, count: 16)
        RAND_bytes(&bytes, 16)
        bytes[6] = bytes[6] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        return GUID(bytes: bytes)
    }

    /// From text, in Microsoft's byte order: the first three groups little-endian.
    init(mixedEndian text: String) {
        let digits = text.filter(\.isHexDigit).compactMap(\.hexDigitValue)
        var plain = stride(from: 0, to: min(digits.count, 32) - 1, by: 2).map {
            UInt8(digits[$0] << 4 | digits[$0 + 1])
        }
        plain += [UInt8](repeating: 0, count: 16 - plain.count)
        bytes = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map { plain[$0] }
    }

    /// As text in Microsoft's byte order, in braces.
    var mixedEndianText: String {
        let order = [3, 2, 1, 0, -1, 5, 4, -1, 7, 6, -1, 8, 9, -1, 10, 11, 12, 13, 14, 15]
        let text = order.map { index in
            index < 0 ? "-" : (bytes[index] < 16 ? "0" : "") + String(bytes[index], radix: 16)
        }
        return "{" + text.joined() + "}"
    }
}
