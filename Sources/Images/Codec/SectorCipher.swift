/// Sector encryption: a cipher, how the blocks of a sector are chained, and what each sector begins with.
///
/// AES goes through libcrypto's own chaining wherever it has one; everything else through `BlockChaining`.
final class SectorCipher: @unchecked Sendable {
    /// How the blocks of a sector depend on each other.
    enum Chaining: String, Sendable, CaseIterable { case ecb, cbc, xts, ctr }

    /// How the initialisation vector is made from the sector's number.
    enum Vector: Sendable, Hashable {
        /// Its low 32 bits, little-endian.
        case plain
        /// All 64 bits, little-endian.
        case plain64
        /// The 64 bits encrypted with a hash of the key, so that nobody can tell vectors in advance.
        case essiv(key: [UInt8])
    }

    private let algorithm: CipherAlgorithm
    private let key: [UInt8]
    private let chaining: Chaining
    private let vector: Vector
    /// Made once where several threads can share it; libcrypto's contexts cannot be shared.
    private let shared: (chain: BlockChaining, vectors: SectorVectors)?

    /// `key` is as long as the algorithm wants it; for XTS there are two of them.
    init(
        _ algorithm: CipherAlgorithm = .aes, key: [UInt8], chaining: Chaining, vector: Vector = .plain64
    ) throws(ImageError) {
        self.algorithm = algorithm
        self.key = key
        self.chaining = chaining
        self.vector = vector
        guard algorithm != .aes else {
            shared = nil
            return
        }
        shared = (
            try BlockChaining(algorithm, key: key, chaining: chaining), try SectorVectors(algorithm, vector)
        )
    }

    /// QEMU's legacy AES: the first 16 bytes of the password, padded with zeros, as an AES-128 key.
    static func legacy(password: [UInt8]) throws(ImageError) -> SectorCipher {
        try SectorCipher(key: Array((password + [UInt8](repeating: 0, count: 16)).prefix(16)), chaining: .cbc)
    }

    /// Transforms whole 512-byte sectors from `input` to `output` (which may be the same memory), numbered from
    /// `firstSector` on.
    func transform(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, firstSector: UInt64, encrypt: Bool
    ) throws(ImageError) {
        if let shared {
            return try shared.chain.transform(
                input, into: output, vectors: shared.vectors, firstSector: firstSector, encrypt: encrypt)
        }
        let vectors = try SectorVectors(algorithm, vector)
        guard let cipher = try AESContext(key, chaining, encrypt: encrypt) else {
            return try BlockChaining(algorithm, key: key, chaining: chaining).transform(
                input, into: output, vectors: vectors, firstSector: firstSector, encrypt: encrypt)
        }
        let start = HeapBuffer(algorithm.blockBytes * (input.count / 512), zeroed: false)
        let starts = start.bytes.part(0, algorithm.blockBytes * (input.count / 512))
        try vectors.fill(starts, first: firstSector)
        for index in 0..<input.count / 512 {
            try cipher.run(
                input.part(index * 512, 512), into: output.part(index * 512, 512),
                vector: UnsafeRawBufferPointer(starts.part(index * algorithm.blockBytes, algorithm.blockBytes)))
        }
    }
}

/// Makes the initialisation vectors of sectors.
struct SectorVectors {
    private let blockBytes: Int
    private let numberMask: UInt64
    private let essiv: (any BlockCipher)?

    init(_ algorithm: CipherAlgorithm, _ vector: SectorCipher.Vector) throws(ImageError) {
        blockBytes = algorithm.blockBytes
        numberMask = vector == .plain ? 0xffff_ffff : .max
        if case .essiv(let key) = vector { essiv = try algorithm.keyed(key) } else { essiv = nil }
    }

    /// Fills `out` with the vectors of sectors `first`, `first + 1` and so on, a block for each.
    func fill(_ out: UnsafeMutableRawBufferPointer, first: UInt64) throws(ImageError) {
        guard let base = out.baseAddress else { return }
        for index in 0..<out.count / blockBytes {
            base.putLE64((first + UInt64(index)) & numberMask, index * blockBytes)
            if blockBytes == 16 { base.putLE64(0, index * blockBytes + 8) }
        }
        try essiv?.encrypt(out)
    }
}
