/// Twofish (Schneier, Kelsey, Whiting, Wagner, Hall, Ferguson: "Twofish: A 128-Bit Block Cipher", 1998): blocks of 16
/// bytes, keys of 16, 24 or 32, 16 Feistel rounds on little-endian words.
///
/// Its substitution boxes depend on the key. Here each of the four boxes is joined with its column of the MDS matrix to a
/// table of 256 words, made once for a key, so that g (section 4.2) is four look-ups.
final class Twofish: BlockCipher, @unchecked Sendable {
    var blockBytes: Int { 16 }

    /// Four tables of 256 words, then the 40 subkeys. Never changes after `init`.
    private let memory = HeapBuffer((4 * 256 + 40) * 4, zeroed: false)
    private let words: UnsafePointer<UInt32>

    /// A key of 16, 24 or 32 bytes.
    init(_ key: [UInt8]) {
        precondition([16, 24, 32].contains(key.count))
        // SAFETY: `memory` is as long as the tables and the subkeys, and aligned for words.
        let words = memory.base.bindMemory(to: UInt32.self, capacity: 4 * 256 + 40)
        let keyWords = stride(from: 0, to: key.count, by: 4).map(key.le32)
        // Section 4.3: even and odd words, and the Reed-Solomon remainders of eight bytes each, last one first.
        let even = stride(from: 0, to: keyWords.count, by: 2).map { keyWords[$0] }
        let odd = stride(from: 1, to: keyWords.count, by: 2).map { keyWords[$0] }
        let boxKey = stride(from: 0, to: key.count, by: 8).map { TwofishTables.remainder(Array(key[$0..<$0 + 8])) }
        let boxWords = Array(boxKey.reversed())
        for byte in 0..<256 {
            for column in 0..<4 {
                words[column * 256 + byte] = TwofishTables.column(column, of: UInt8(byte), boxWords)
            }
        }
        for pair in 0..<20 {
            let a = TwofishTables.h(UInt8(2 * pair), even)
            let b = Self.rotated(TwofishTables.h(UInt8(2 * pair + 1), odd), 8)
            words[4 * 256 + 2 * pair] = a &+ b
            words[4 * 256 + 2 * pair + 1] = Self.rotated(a &+ b &+ b, 9)
        }
        self.words = UnsafePointer(words)
    }

    @inline(__always) private static func rotated(_ word: UInt32, _ bits: UInt32) -> UInt32 {
        word &<< bits | word &>> (32 &- bits)
    }

    @inline(__always) private func rotated(_ word: UInt32, _ bits: UInt32) -> UInt32 { Self.rotated(word, bits) }

    @inline(__always) private func g(_ word: UInt32) -> UInt32 {
        words[Int(word & 255)] ^ words[256 &+ Int(word &>> 8 & 255)] ^ words[512 &+ Int(word &>> 16 & 255)]
            ^ words[768 &+ Int(word &>> 24)]
    }

    /// g of a word rotated left by 8.
    @inline(__always) private func gRotated(_ word: UInt32) -> UInt32 {
        words[Int(word &>> 24)] ^ words[256 &+ Int(word & 255)] ^ words[512 &+ Int(word &>> 8 & 255)]
            ^ words[768 &+ Int(word &>> 16 & 255)]
    }

    func encrypt(_ blocks: UnsafeMutableRawBufferPointer) {
        guard let base = blocks.baseAddress else { return }
        let keys = words + 4 * 256
        for offset in stride(from: 0, to: blocks.count & ~15, by: 16) {
            // SAFETY: 16 bytes lie from `offset` on.
            let block = base + offset
            var (a, b) = (block.le32(0) ^ keys[0], block.le32(4) ^ keys[1])
            var (c, d) = (block.le32(8) ^ keys[2], block.le32(12) ^ keys[3])
            var key = keys + 8
            for _ in 0..<8 {
                forward(a, b, &c, &d, key)
                forward(c, d, &a, &b, key + 2)
                key += 4
            }
            block.putLE32(c ^ keys[4], 0)
            block.putLE32(d ^ keys[5], 4)
            block.putLE32(a ^ keys[6], 8)
            block.putLE32(b ^ keys[7], 12)
        }
    }

    func decrypt(_ blocks: UnsafeMutableRawBufferPointer) {
        guard let base = blocks.baseAddress else { return }
        let keys = words + 4 * 256
        for offset in stride(from: 0, to: blocks.count & ~15, by: 16) {
            // SAFETY: 16 bytes lie from `offset` on.
            let block = base + offset
            var (c, d) = (block.le32(0) ^ keys[4], block.le32(4) ^ keys[5])
            var (a, b) = (block.le32(8) ^ keys[6], block.le32(12) ^ keys[7])
            var key = keys + 36
            for _ in 0..<8 {
                backward(c, d, &a, &b, key + 2)
                backward(a, b, &c, &d, key)
                key -= 4
            }
            block.putLE32(a ^ keys[0], 0)
            block.putLE32(b ^ keys[1], 4)
            block.putLE32(c ^ keys[2], 8)
            block.putLE32(d ^ keys[3], 12)
        }
    }

    /// One round (section 4.1): `a` and `b` go through F, whose results change `c` and `d`.
    @inline(__always) private func forward(
        _ a: UInt32, _ b: UInt32, _ c: inout UInt32, _ d: inout UInt32, _ key: UnsafePointer<UInt32>
    ) {
        let (t0, t1) = (g(a), gRotated(b))
        c = rotated(c ^ (t0 &+ t1 &+ key[0]), 31)
        d = rotated(d, 1) ^ (t0 &+ t1 &+ t1 &+ key[1])
    }

    /// Undoes `forward`.
    @inline(__always) private func backward(
        _ a: UInt32, _ b: UInt32, _ c: inout UInt32, _ d: inout UInt32, _ key: UnsafePointer<UInt32>
    ) {
        let (t0, t1) = (g(a), gRotated(b))
        c = rotated(c, 1) ^ (t0 &+ t1 &+ key[0])
        d = rotated(d ^ (t0 &+ t1 &+ t1 &+ key[1]), 31)
    }
}

/// The fixed permutations and matrices of Twofish, from which the tables of a key are made.
enum TwofishTables {
    /// Section 4.3.5: four tables of sixteen nibbles for each permutation, a hexadecimal digit per nibble.
    private static let nibbles: [[String]] = [
        ["817d6f320b59eca4", "ecb81235f4a6709d", "ba5e6d90c8f32471", "d7f4126e9b3085ca"],
        ["28bdf76e31940ac5", "1e2b4c376da5f908", "4c75169a0ed82b3f", "b951c3de647f208a"],
    ]

    /// The permutations q0 and q1 of bytes.
    static let q: [[UInt8]] = nibbles.map { digits in
        let t = digits.map { $0.compactMap { UInt8(String($0), radix: 16) } }
        func mixed(_ a: UInt8, _ b: UInt8) -> (Int, Int) { (Int(a ^ b), Int((a ^ (b >> 1 | b << 3) ^ a << 3) & 15)) }
        return (0...255).map { (byte: UInt8) in
            let (a1, b1) = mixed(byte >> 4, byte & 15)
            let (a3, b3) = mixed(t[0][a1], t[1][b1])
            return t[3][b3] << 4 | t[2][a3]
        }
    }

    /// The MDS matrix (section 4.2), row by row.
    private static let mds: [[UInt8]] = [
        [0x01, 0xef, 0x5b, 0x5b], [0x5b, 0xef, 0xef, 0x01], [0xef, 0x5b, 0x01, 0xef], [0xef, 0x01, 0xef, 0x5b],
    ]
    /// The Reed-Solomon matrix (section 4.3), row by row.
    private static let rs: [[UInt8]] = [
        [0x01, 0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e], [0xa4, 0x56, 0x82, 0xf3, 0x1e, 0xc6, 0x68, 0xe5],
        [0x02, 0xa1, 0xfc, 0xc1, 0x47, 0xae, 0x3d, 0x19], [0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e, 0x03],
    ]

    /// Which permutation each of the four bytes meets before a key word is xored: the fourth key word first, the
    /// first one last; then the one after all key words (section 4.3.2).
    private static let order: [[Int]] = [[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 1, 0]]

    /// A product of polynomials over GF(2) modulo one of degree 8.
    private static func product(_ a: UInt8, _ b: UInt8, modulo polynomial: UInt16) -> UInt8 {
        var (sum, shifted) = (UInt16(0), UInt16(a))
        for bit in 0..<8 {
            if b >> bit & 1 != 0 { sum ^= shifted }
            shifted <<= 1
            if shifted & 0x100 != 0 { shifted ^= polynomial }
        }
        return UInt8(sum)
    }

    /// Eight key bytes through the Reed-Solomon matrix.
    static func remainder(_ bytes: [UInt8]) -> UInt32 {
        rs.enumerated().reduce(0) { word, row in
            let byte = zip(row.element, bytes).reduce(UInt8(0)) { $0 ^ product($1.0, $1.1, modulo: 0x14d) }
            return word | UInt32(byte) << UInt32(8 * row.offset)
        }
    }

    /// What byte number `column` of h's argument contributes to h, under the words of `list`.
    static func column(_ column: Int, of byte: UInt8, _ list: [UInt32]) -> UInt32 {
        var value = byte
        for word in (0..<list.count).reversed() {
            value = q[order[3 - word][column]][Int(value)] ^ UInt8(truncatingIfNeeded: list[word] >> UInt32(8 * column))
        }
        value = q[order[4][column]][Int(value)]
        return (0..<4).reduce(0) { $0 | UInt32(product(mds[$1][column], value, modulo: 0x169)) << UInt32(8 * $1) }
    }

    /// h (section 4.3.2) of a word whose four bytes are the same.
    static func h(_ byte: UInt8, _ list: [UInt32]) -> UInt32 {
        (0..<4).reduce(0) { $0 ^ column($1, of: byte, list) }
    }
}
