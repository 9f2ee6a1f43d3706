/// A stream of LZFSE with one block of each kind, for images of Apple.
///
/// The tables of its LZFSE blocks are the simplest there are. All literals are as frequent as each other, so that eight
/// bits are read for each and any bytes mean something; counts, lengths and distances have one class each.
extension HandMade {
    private static let triples = 16
    /// Frequencies, by their place in the header: 4 literals; 56 bytes and eight bits more; from 4 bytes and a bit back.
    private static let frequencies: [UInt16] = {
        var all = [UInt16](repeating: 0, count: 104) + [UInt16](repeating: 4, count: 256)
        all[4] = 64
        all[20 + 18] = 64
        all[40 + 4] = 256
        return all
    }()

    private static func le(_ value: UInt64, _ width: Int) -> [UInt8] {
        (0..<width).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    }

    /// Bits, the first one lowest, as bytes.
    private static func pack(_ bits: [Bool]) -> [UInt8] {
        stride(from: 0, to: bits.count, by: 8).map { start in
            bits[start..<min(start + 8, bits.count)].reversed().reduce(0) { $0 << 1 | ($1 ? 1 : 0) }
        }
    }

    private static func bits(_ value: Int, _ width: Int) -> [Bool] { (0..<width).map { value >> $0 & 1 != 0 } }

    /// 1024 bytes of each kind.
    static func lzfseStream() -> [UInt8] {
        let stored = [UInt8](repeating: 0, count: 1024).indices.map { UInt8(truncatingIfNeeded: $0 / 5) }
        // 16 literals, 3 bytes from 16 back, 3 times 271 bytes more, 192 bytes more, end.
        let opcodes: [UInt8] =
            [0xe0, 0] + stored[..<16] + [0, 16, 0xf0, 0xff, 0xf0, 0xff, 0xf0, 0xff, 0xf0, 176, 6] + le(0, 7)
        let literals = stored.prefix(triples * 4)
        // Read from the end: 4 more than 56 bytes, from 4 bytes back.
        let payload = le(0, 8) + pack((0..<triples).flatMap { _ in bits(0, 1) + bits(4, 8) })
        var out = Array("bvx-".utf8) + le(1024, 4) + stored
        out += Array("bvxn".utf8) + le(1024, 4) + le(UInt64(opcodes.count), 4) + opcodes

        let sizes = [1024, literals.count + payload.count, literals.count, triples, literals.count, payload.count]
        out += Array("bvx1".utf8) + sizes.flatMap { le(UInt64($0), 4) }
        out += le(0, 4 + 8 + 4 + 6) + frequencies.flatMap { le(UInt64($0), 2) } + le(0, 2) + literals + payload

        let packed = pack(
            frequencies.flatMap { frequency in
                switch Int(frequency) {
                case 0: bits(0, 2)
                case 4: bits(3, 5)
                default: bits(15, 4) + bits(Int(frequency) - 24, 10)
                }
            })
        out += Array("bvx2".utf8) + le(1024, 4)
        out += pack(bits(literals.count, 20) + bits(literals.count, 20) + bits(triples, 20) + bits(7, 4))
        out += pack(bits(0, 40) + bits(payload.count, 20) + bits(7, 4)) + le(UInt64(32 + packed.count), 8)
        return out + packed + literals + payload + Array("bvx$".utf8)
    }
}
