/// Serpent (Anderson, Biham, Knudsen: "Serpent: A Proposal for the Advanced Encryption Standard", 1998): blocks of 16
/// bytes, keys of 16, 24 or 32, 32 rounds of a substitution and a linear transformation.
///
/// The bitsliced form of the proposal: a block is four little-endian words, and bit n of each of the four makes a nibble.
/// Bytes are numbered as Linux, nettle and libgcrypt do; the files of the submission print each block and key backwards.
/// Here a word is a vector of such words, one of each of four blocks.
final class Serpent: BlockCipher, @unchecked Sendable {
    var blockBytes: Int { 16 }

    typealias Lanes = SerpentBoxes.Lanes
    typealias State = SerpentBoxes.State

    /// 33 subkeys of four words, each repeated for all lanes. Never changes after `init`.
    private let memory = HeapBuffer(33 * MemoryLayout<State>.stride, zeroed: false)
    private let keys: UnsafePointer<State>

    /// A key of 16, 24 or 32 bytes.
    init(_ key: [UInt8]) {
        precondition([16, 24, 32].contains(key.count))
        // SAFETY: `memory` holds 33 states and is aligned for vectors.
        let keys = memory.base.bindMemory(to: State.self, capacity: 33)
        // A short key is continued by one set bit and zeros.
        let padded = Array((key + [1] + [UInt8](repeating: 0, count: 16)).prefix(32))
        var words = stride(from: 0, to: 32, by: 4).map(padded.le32)
        for index in 0..<132 {
            let mixed = words[index] ^ words[index + 3] ^ words[index + 5] ^ words[index + 7]
            let word = mixed ^ 0x9e37_79b9 ^ UInt32(index)
            words.append(word << 11 | word >> 21)
        }
        for index in 0..<33 {
            let at = 8 + 4 * index
            let state = State(
                Lanes(repeating: words[at]), Lanes(repeating: words[at + 1]), Lanes(repeating: words[at + 2]),
                Lanes(repeating: words[at + 3]))
            // Subkey 0 goes through S3, subkey 1 through S2 and so on downwards.
            keys[index] = SerpentBoxes.substitute((35 - index) % 8, state)
        }
        self.keys = UnsafePointer(keys)
    }

    func encrypt(_ blocks: UnsafeMutableRawBufferPointer) { transform(blocks, decrypting: false) }
    func decrypt(_ blocks: UnsafeMutableRawBufferPointer) { transform(blocks, decrypting: true) }

    private func transform(_ blocks: UnsafeMutableRawBufferPointer, decrypting: Bool) {
        guard let base = blocks.baseAddress else { return }
        let whole = blocks.count & ~63
        for offset in stride(from: 0, to: whole, by: 64) { transformFour(base + offset, decrypting: decrypting) }
        let rest = blocks.count - whole
        guard rest > 0 else { return }
        var four = SIMD16<UInt32>()
        withUnsafeMutableBytes(of: &four) { bytes in
            bytes.copyMemory(from: UnsafeRawBufferPointer(blocks.part(whole, rest)))
            // SAFETY: a buffer of four vectors has a base address.
            transformFour(bytes.baseAddress.unsafelyUnwrapped, decrypting: decrypting)
            blocks.part(whole, rest).copyMemory(from: UnsafeRawBufferPointer(bytes.part(0, rest)))
        }
    }

    /// Four blocks, of which the first words become the first vector and so on.
    @inline(__always) private func transformFour(_ place: UnsafeMutableRawPointer, decrypting: Bool) {
        // SAFETY: 64 bytes lie from `place` on.
        var state = State(
            place.loadUnaligned(fromByteOffset: 0, as: Lanes.self),
            place.loadUnaligned(fromByteOffset: 16, as: Lanes.self),
            place.loadUnaligned(fromByteOffset: 32, as: Lanes.self),
            place.loadUnaligned(fromByteOffset: 48, as: Lanes.self)
        ).transposed
        if decrypting { backward(&state) } else { forward(&state) }
        state = state.transposed
        place.storeBytes(of: state.x0, toByteOffset: 0, as: Lanes.self)
        place.storeBytes(of: state.x1, toByteOffset: 16, as: Lanes.self)
        place.storeBytes(of: state.x2, toByteOffset: 32, as: Lanes.self)
        place.storeBytes(of: state.x3, toByteOffset: 48, as: Lanes.self)
    }

    private func forward(_ state: inout State) {
        var x = state
        var key = keys
        for turn in 0..<4 {
            x = SerpentBoxes.s0(x ^ key[0]).mixed
            x = SerpentBoxes.s1(x ^ key[1]).mixed
            x = SerpentBoxes.s2(x ^ key[2]).mixed
            x = SerpentBoxes.s3(x ^ key[3]).mixed
            x = SerpentBoxes.s4(x ^ key[4]).mixed
            x = SerpentBoxes.s5(x ^ key[5]).mixed
            x = SerpentBoxes.s6(x ^ key[6]).mixed
            x = SerpentBoxes.s7(x ^ key[7])
            // The last round has another subkey in place of the transformation.
            if turn < 3 { x = x.mixed }
            key += 8
        }
        state = x ^ key[0]
    }

    private func backward(_ state: inout State) {
        var key = keys + 24
        var x = state ^ key[8]
        for turn in 0..<4 {
            if turn > 0 { x = x.unmixed }
            x = (SerpentBoxes.inverse7(x) ^ key[7]).unmixed
            x = (SerpentBoxes.inverse6(x) ^ key[6]).unmixed
            x = (SerpentBoxes.inverse5(x) ^ key[5]).unmixed
            x = (SerpentBoxes.inverse4(x) ^ key[4]).unmixed
            x = (SerpentBoxes.inverse3(x) ^ key[3]).unmixed
            x = (SerpentBoxes.inverse2(x) ^ key[2]).unmixed
            x = (SerpentBoxes.inverse1(x) ^ key[1]).unmixed
            x = SerpentBoxes.inverse0(x) ^ key[0]
            key -= 8
        }
        state = x
    }
}

extension SerpentBoxes.State {
    @inline(__always) fileprivate static func ^ (left: Self, right: Self) -> Self {
        Self(left.x0 ^ right.x0, left.x1 ^ right.x1, left.x2 ^ right.x2, left.x3 ^ right.x3)
    }

    /// The linear transformation of a round.
    @inline(__always) fileprivate var mixed: Self {
        let a = x0.rotated(13)
        let c = x2.rotated(3)
        let b = (x1 ^ a ^ c).rotated(1)
        let d = (x3 ^ c ^ a.shiftedLeft(3)).rotated(7)
        return Self((a ^ b ^ d).rotated(5), b, (c ^ d ^ b.shiftedLeft(7)).rotated(22), d)
    }

    /// Undoes `mixed`.
    @inline(__always) fileprivate var unmixed: Self {
        let c = x2.rotated(10) ^ x3 ^ x1.shiftedLeft(7)
        let a = x0.rotated(27) ^ x1 ^ x3
        let d = x3.rotated(25) ^ c ^ a.shiftedLeft(3)
        let b = x1.rotated(31) ^ a ^ c
        return Self(a.rotated(19), b, c.rotated(29), d)
    }

    /// Lane n of vector m becomes lane m of vector n.
    @inline(__always) fileprivate var transposed: Self {
        typealias Lanes = SerpentBoxes.Lanes
        typealias Words = SIMD4<UInt32>
        // Pairs of words first, then pairs of pairs.
        let (a, b, c, d) = (x0.words, x1.words, x2.words, x3.words)
        let (low01, high01) = (Words(a[0], b[0], a[1], b[1]), Words(a[2], b[2], a[3], b[3]))
        let (low23, high23) = (Words(c[0], d[0], c[1], d[1]), Words(c[2], d[2], c[3], d[3]))
        return Self(
            Lanes(Words(lowHalf: low01.lowHalf, highHalf: low23.lowHalf)),
            Lanes(Words(lowHalf: low01.highHalf, highHalf: low23.highHalf)),
            Lanes(Words(lowHalf: high01.lowHalf, highHalf: high23.lowHalf)),
            Lanes(Words(lowHalf: high01.highHalf, highHalf: high23.highHalf)))
    }
}
