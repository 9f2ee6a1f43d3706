@testable import Images

/// Writes LZVN opcodes.
struct LZVNWriter {
    var bytes: [UInt8] = []
    var plain: [UInt8]
    private var distance = 0

    init(plain: [UInt8]) { self.plain = plain }

    private mutating func follow(_ literals: [UInt8], _ length: Int) {
        bytes += literals
        plain += literals
        for _ in 0..<length { plain.append(plain[plain.count - distance]) }
    }

    private func head(_ literals: [UInt8], _ length: Int, _ low: Int) -> UInt8 {
        UInt8(literals.count << 6 | (length - 3) << 3 | low)
    }

    /// Up to 3 literals, 3 to 10 bytes less two for each of them from up to 1535 back.
    mutating func small(_ literals: [UInt8], _ length: Int, _ distance: Int) {
        self.distance = distance
        bytes += [head(literals, length, distance >> 8), UInt8(distance & 255)]
        follow(literals, length)
    }

    /// Up to 3 literals, 3 to 34 bytes from up to 16383 back.
    mutating func medium(_ literals: [UInt8], _ length: Int, _ distance: Int) {
        self.distance = distance
        bytes.append(UInt8(0xa0 | literals.count << 3 | (length - 3) >> 2))
        bytes.putLE(UInt16(distance << 2 | (length - 3) & 3))
        follow(literals, length)
    }

    /// As many literals and bytes from up to 65535 back.
    mutating func large(_ literals: [UInt8], _ length: Int, _ distance: Int) {
        self.distance = distance
        bytes.append(head(literals, length, 7))
        bytes.putLE(UInt16(distance))
        follow(literals, length)
    }

    /// As many bytes, and at least one literal, from the distance before.
    mutating func previous(_ literals: [UInt8], _ length: Int) {
        bytes.append(head(literals, length, 6))
        follow(literals, length)
    }

    /// The same where there was one, else a distance of 1.
    mutating func previousOrSmall(_ literals: [UInt8], _ length: Int) {
        if distance == 0 { small(literals, length, 1) } else { previous(literals, length) }
    }

    /// 1 to 271 literals.
    mutating func literals(_ literals: [UInt8]) {
        if literals.isEmpty { return }
        bytes += literals.count < 16 ? [UInt8(0xe0 | literals.count)] : [0xe0, UInt8(literals.count - 16)]
        follow(literals, 0)
    }

    /// 1 to 271 bytes from the distance before; more take several opcodes.
    mutating func match(_ length: Int) {
        bytes += length < 16 ? [UInt8(0xf0 | length)] : [0xf0, UInt8(length - 16)]
        follow([], length)
    }

    mutating func nothing(_ code: UInt8) { bytes.append(code) }
}
