/// CAST-128 with keys of 128 bits, also called CAST5 (RFC 2144): blocks of 8 bytes, 16 Feistel rounds.
///
/// A round adds, xors or subtracts a masking key, rotates by a rotation key, and sends the four bytes through the boxes
/// S1 to S4, which it combines by the same three operations in turn.
final class CAST5: BlockCipher, @unchecked Sendable {
    static let keyBytes = 16
    var blockBytes: Int { 8 }

    /// The words of S1 to S4, then 16 masking keys, then 16 rotation keys. Never changes after `init`.
    private let memory = HeapBuffer((4 * 256 + 32) * 4, zeroed: false)
    private let words: UnsafePointer<UInt32>

    /// A key of 16 bytes.
    init(_ key: [UInt8]) {
        precondition(key.count == Self.keyBytes)
        // SAFETY: `memory` is as long as the tables and the keys, and aligned for words.
        let words = memory.base.bindMemory(to: UInt32.self, capacity: 4 * 256 + 32)
        for index in 0..<4 * 256 { words[index] = CAST5Tables.words[index] }
        for (index, subkey) in Self.schedule(key).enumerated() {
            words[4 * 256 + index] = index < 16 ? subkey : subkey & 31
        }
        self.words = UnsafePointer(words)
    }

    func encrypt(_ blocks: UnsafeMutableRawBufferPointer) { transform(blocks, decrypting: false) }
    func decrypt(_ blocks: UnsafeMutableRawBufferPointer) { transform(blocks, decrypting: true) }

    // MARK: Rounds (section 2.2)

    /// Both halves of some blocks, side by side: their rounds do not wait for each other.
    private typealias Halves = (UInt32, UInt32, UInt32)

    private func transform(_ blocks: UnsafeMutableRawBufferPointer, decrypting: Bool) {
        guard var block = blocks.baseAddress else { return }
        var left = blocks.count / 8
        while left > 0 {
            // The last blocks take the place of those that are missing from a group of three.
            let (second, third) = (left > 1 ? 8 : 0, left > 2 ? 16 : 0)
            // SAFETY: `left` blocks of 8 bytes lie from `block` on.
            var l: Halves = (block.be32(0), block.be32(second), block.be32(third))
            var r: Halves = (block.be32(4), block.be32(second + 4), block.be32(third + 4))
            if decrypting { decrypt(&l, &r) } else { encrypt(&l, &r) }
            store(block + third, r.2, l.2)
            store(block + second, r.1, l.1)
            store(block, r.0, l.0)
            let done = min(left, 3)
            left -= done
            block += done * 8
        }
    }

    @inline(__always) private func store(_ block: UnsafeMutableRawPointer, _ first: UInt32, _ second: UInt32) {
        block.putBE32(first, 0)
        block.putBE32(second, 4)
    }

    /// Sixteen rounds; the halves end up exchanged.
    @inline(__always) private func encrypt(_ l: inout Halves, _ r: inout Halves) {
        for number in stride(from: 0, to: 12, by: 6) {
            round(number, .first, r, into: &l)
            round(number &+ 1, .second, l, into: &r)
            round(number &+ 2, .third, r, into: &l)
            round(number &+ 3, .first, l, into: &r)
            round(number &+ 4, .second, r, into: &l)
            round(number &+ 5, .third, l, into: &r)
        }
        round(12, .first, r, into: &l)
        round(13, .second, l, into: &r)
        round(14, .third, r, into: &l)
        round(15, .first, l, into: &r)
    }

    /// The same rounds from the last to the first.
    @inline(__always) private func decrypt(_ l: inout Halves, _ r: inout Halves) {
        round(15, .first, r, into: &l)
        round(14, .third, l, into: &r)
        round(13, .second, r, into: &l)
        round(12, .first, l, into: &r)
        for number in stride(from: 11, to: 0, by: -6) {
            round(number, .third, r, into: &l)
            round(number &- 1, .second, l, into: &r)
            round(number &- 2, .first, r, into: &l)
            round(number &- 3, .third, l, into: &r)
            round(number &- 4, .second, r, into: &l)
            round(number &- 5, .first, l, into: &r)
        }
    }

    /// The three kinds of round, which follow each other.
    private enum Kind { case first, second, third }

    @inline(__always) private func round(_ number: Int, _ kind: Kind, _ input: Halves, into output: inout Halves) {
        let (mask, turn) = (words[4 * 256 &+ number], words[4 * 256 &+ 16 &+ number])
        switch kind {
        case .first:
            output.0 ^= first(mask &+ input.0, turn)
            output.1 ^= first(mask &+ input.1, turn)
            output.2 ^= first(mask &+ input.2, turn)
        case .second:
            output.0 ^= second(mask ^ input.0, turn)
            output.1 ^= second(mask ^ input.1, turn)
            output.2 ^= second(mask ^ input.2, turn)
        case .third:
            output.0 ^= third(mask &- input.0, turn)
            output.1 ^= third(mask &- input.1, turn)
            output.2 ^= third(mask &- input.2, turn)
        }
    }

    @inline(__always) private func rotated(_ word: UInt32, _ turn: UInt32) -> UInt32 {
        word &<< turn | word &>> (0 &- turn)
    }

    @inline(__always) private func first(_ word: UInt32, _ turn: UInt32) -> UInt32 {
        let (a, b, c, d) = boxes(rotated(word, turn))
        return ((a ^ b) &- c) &+ d
    }

    @inline(__always) private func second(_ word: UInt32, _ turn: UInt32) -> UInt32 {
        let (a, b, c, d) = boxes(rotated(word, turn))
        return ((a &- b) &+ c) ^ d
    }

    @inline(__always) private func third(_ word: UInt32, _ turn: UInt32) -> UInt32 {
        let (a, b, c, d) = boxes(rotated(word, turn))
        return ((a &+ b) ^ c) &- d
    }

    /// The four bytes of a word, most significant first, through S1 to S4.
    @inline(__always) private func boxes(_ word: UInt32) -> (UInt32, UInt32, UInt32, UInt32) {
        (
            words[Int(word &>> 24)], words[256 &+ Int(word &>> 16 & 255)], words[512 &+ Int(word &>> 8 & 255)],
            words[768 &+ Int(word & 255)]
        )
    }

    // MARK: Key schedule (section 2.4)

    /// A word of one byte array that becomes a word of the other: where it is read, whose bytes go through S5, S6, S7
    /// and S8, and which byte goes through which box once more.
    private typealias Mix = (source: Int, bytes: (Int, Int, Int, Int), last: Int, box: Int)

    /// From x to z. The first row takes its bytes from x, the others from what the rows before them made of z; the last
    /// byte is always of x.
    private static let xToZ: [Mix] = [
        (0, (0xd, 0xf, 0xc, 0xe), 0x8, 7), (8, (0x0, 0x2, 0x1, 0x3), 0xa, 8), (12, (0x7, 0x6, 0x5, 0x4), 0x9, 5),
        (4, (0xa, 0x9, 0xb, 0x8), 0xb, 6),
    ]
    /// From z to x, likewise.
    private static let zToX: [Mix] = [
        (8, (0x5, 0x7, 0x4, 0x6), 0x0, 7), (0, (0x0, 0x2, 0x1, 0x3), 0x2, 8), (4, (0x7, 0x6, 0x5, 0x4), 0x1, 5),
        (12, (0xa, 0x9, 0xb, 0x8), 0x3, 6),
    ]

    /// Which bytes of the array just made give four subkeys, a hexadecimal digit each: those that go through S5, S6, S7
    /// and S8, and one that goes through S5 for the first subkey, S6 for the second and so on. One row for each of the
    /// four steps of a half of the schedule.
    private static let picks: [[[Int]]] = [
        ["89762", "ab546", "cd329", "ef10c"], ["32cd8", "10efd", "76893", "54ab7"],
        ["32cd9", "10efc", "76892", "54ab6"], ["89763", "ab547", "cd328", "ef10d"],
    ].map { $0.map { $0.compactMap(\.hexDigitValue) } }

    /// Sixteen masking keys and sixteen rotation keys, which the caller cuts to five bits.
    private static func schedule(_ key: [UInt8]) -> [UInt32] {
        func box(_ number: Int, _ byte: UInt8) -> UInt32 { CAST5Tables.words[(number - 1) * 256 + Int(byte)] }
        func mixed(_ from: [UInt8], _ rows: [Mix]) -> [UInt8] {
            var to: [UInt8] = []
            for (source, bytes, last, number) in rows {
                let read = to.isEmpty ? from : to
                var word = from[source..<source + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                word ^= box(5, read[bytes.0]) ^ box(6, read[bytes.1]) ^ box(7, read[bytes.2]) ^ box(8, read[bytes.3])
                to.putBE(word ^ box(number, from[last]))
            }
            return to
        }
        var bytes = key
        var subkeys: [UInt32] = []
        for step in 0..<8 {
            bytes = mixed(bytes, step % 2 == 0 ? xToZ : zToX)
            for (number, pick) in picks[step % 4].enumerated() {
                let word = box(5, bytes[pick[0]]) ^ box(6, bytes[pick[1]]) ^ box(7, bytes[pick[2]])
                subkeys.append(word ^ box(8, bytes[pick[3]]) ^ box(5 + number, bytes[pick[4]]))
            }
        }
        return subkeys
    }
}
