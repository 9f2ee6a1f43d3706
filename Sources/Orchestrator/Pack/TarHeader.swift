/// A header of a tape archive (POSIX.1-1988 ustar; sizes of 8 GiB and more as GNU tar writes them).
///
/// | offset | size | content |
/// | --- | --- | --- |
/// | 0 | 100 | name |
/// | 100 | 8 | mode, octal |
/// | 124 | 12 | size, octal; or 80h and the number, big-endian |
/// | 136 | 12 | time, octal |
/// | 148 | 8 | sum of all bytes with these eight as blanks, octal |
/// | 156 | 1 | `0`: a file |
/// | 257 | 8 | `ustar`, 0, `00` |
/// | 345 | 155 | what stands before the name and a `/` |
struct TarHeader: Equatable {
    static let bytes = 512

    /// Parts between `/`.
    var name: String
    var size: UInt64
    var isExecutable: Bool

    init(name: String, size: UInt64, isExecutable: Bool = false) {
        self.name = name
        self.size = size
        self.isExecutable = isExecutable
    }

    /// The block; nil for a name that is too long.
    var block: [UInt8]? {
        guard let (prefix, rest) = Self.split(Array(name.utf8)) else { return nil }
        var block = [UInt8](repeating: 0, count: Self.bytes)
        func put(_ offset: Int, _ bytes: some Collection<UInt8>) {
            block.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        }
        put(0, rest)
        put(100, Self.octal(isExecutable ? 0o755 : 0o644, 7))
        put(108, Self.octal(0, 7))
        put(116, Self.octal(0, 7))
        if size < 1 << 33 {
            put(124, Self.octal(size, 11))
        } else {
            put(124, [0x80, 0, 0, 0] + (0..<8).map { UInt8(truncatingIfNeeded: size >> UInt64(56 - 8 * $0)) })
        }
        put(136, Self.octal(0, 11))
        put(148, [UInt8](repeating: 0x20, count: 8))
        block[156] = UInt8(ascii: "0")
        put(257, Array("ustar".utf8) + [0] + Array("00".utf8))
        put(345, prefix)
        put(148, Self.octal(Self.sum(block), 6) + [0])
        return block
    }

    /// Reads a block.
    /// - Returns: nil for one that is damaged or no file's.
    init?(_ block: [UInt8]) {
        guard block.count == Self.bytes, block[257..<262].elementsEqual("ustar".utf8), block[156] == UInt8(ascii: "0")
        else { return nil }
        var blanked = block
        for index in 148..<156 { blanked[index] = 0x20 }
        guard Self.number(block[148..<156]) == Self.sum(blanked), let mode = Self.number(block[100..<108]) else {
            return nil
        }
        if block[124] == 0x80 {
            guard block[125..<128].allSatisfy({ $0 == 0 }) else { return nil }
            size = block[128..<136].reduce(0) { $0 << 8 | UInt64($1) }
        } else {
            guard let number = Self.number(block[124..<136]) else { return nil }
            size = number
        }
        func text(_ range: Range<Int>) -> String { String(decoding: block[range].prefix { $0 != 0 }, as: UTF8.self) }
        let prefix = text(345..<500)
        name = (prefix.isEmpty ? "" : prefix + "/") + text(0..<100)
        isExecutable = mode & 0o111 != 0
    }

    /// Bytes from the end of a file's content to the next header.
    static func padding(_ size: UInt64) -> Int { Int((512 - size % 512) % 512) }

    private static func split(_ name: [UInt8]) -> (prefix: ArraySlice<UInt8>, name: ArraySlice<UInt8>)? {
        if name.count <= 100 { return ([], name[...]) }
        for index in name.indices where name[index] == UInt8(ascii: "/") && index <= 155 {
            let rest = name[(index + 1)...]
            if rest.count <= 100, !rest.isEmpty { return (name[..<index], rest) }
        }
        return nil
    }

    private static func octal(_ value: UInt64, _ digits: Int) -> [UInt8] {
        let text = String(value, radix: 8)
        return Array((String(repeating: "0", count: max(0, digits - text.count)) + text).utf8) + [0]
    }

    private static func number(_ field: ArraySlice<UInt8>) -> UInt64? {
        let digits = field.drop { $0 == 0x20 }.prefix { (0x30...0x37).contains($0) }
        return UInt64(String(decoding: digits, as: UTF8.self), radix: 8)
    }

    private static func sum(_ block: [UInt8]) -> UInt64 { block.reduce(0) { $0 + UInt64($1) } }
}
