import COpenSSL

/// Sector encryption by AES, over libcrypto.
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

    private let key: [UInt8]
    private let chaining: Chaining
    private let vector: Vector

    init(key: [UInt8], chaining: Chaining, vector: Vector = .plain64) {
        self.key = key
        self.chaining = chaining
        self.vector = vector
    }

    /// QEMU's legacy AES: the first 16 bytes of the password, padded with zeros, as an AES-128 key.
    static func legacy(password: [UInt8]) -> SectorCipher {
        SectorCipher(key: Array((password + [UInt8](repeating: 0, count: 16)).prefix(16)), chaining: .cbc)
    }

    /// libcrypto's cipher; it has no XTS with 192-bit keys, which is put together from single blocks instead.
    private static func algorithm(_ chaining: Chaining, keyBytes: Int) -> OpaquePointer? {
        switch (chaining, keyBytes) {
        case (.ecb, 16): EVP_aes_128_ecb()
        case (.ecb, 24): EVP_aes_192_ecb()
        case (.ecb, 32): EVP_aes_256_ecb()
        case (.cbc, 16): EVP_aes_128_cbc()
        case (.cbc, 24): EVP_aes_192_cbc()
        case (.cbc, 32): EVP_aes_256_cbc()
        case (.ctr, 16): EVP_aes_128_ctr()
        case (.ctr, 24): EVP_aes_192_ctr()
        case (.ctr, 32): EVP_aes_256_ctr()
        case (.xts, 32): EVP_aes_128_xts()
        case (.xts, 64): EVP_aes_256_xts()
        default: nil
        }
    }

    /// Transforms whole 512-byte sectors from `input` to `output` (which may be the same memory), numbered from
    /// `firstSector` on.
    func transform(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, firstSector: UInt64, encrypt: Bool
    ) throws(ImageError) {
        if chaining == .xts, key.count == 48 {
            return try transformXTS(input, into: output, firstSector: firstSector, encrypt: encrypt)
        }
        let cipher = try Context(Self.algorithm(chaining, keyBytes: key.count), key, encrypt: encrypt)
        let vectors = try vectorContext()
        for index in 0..<input.count / 512 {
            let vector = try vectorBytes(firstSector + UInt64(index), vectors)
            try cipher.run(input.part(index * 512, 512), into: output.part(index * 512, 512), vector: vector)
        }
    }

    private func vectorContext() throws(ImageError) -> Context? {
        guard case .essiv(let key) = vector else { return nil }
        return try Context(Self.algorithm(.ecb, keyBytes: key.count), key, encrypt: true)
    }

    private func vectorBytes(_ sector: UInt64, _ essiv: Context?) throws(ImageError) -> [UInt8] {
        let number = vector == .plain ? sector & 0xffff_ffff : sector
        var bytes = [UInt8](repeating: 0, count: 16)
        for byte in 0..<8 { bytes[byte] = UInt8(truncatingIfNeeded: number >> UInt64(byte * 8)) }
        return try essiv?.block(bytes) ?? bytes
    }

    /// XTS (IEEE 1619): block n of a sector is masked, before and after, by the encrypted vector times alpha to the n.
    private func transformXTS(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, firstSector: UInt64, encrypt: Bool
    ) throws(ImageError) {
        let half = key.count / 2
        let algorithm = Self.algorithm(.ecb, keyBytes: half)
        let data = try Context(algorithm, Array(key[..<half]), encrypt: encrypt)
        let mask = try Context(algorithm, Array(key[half...]), encrypt: true)
        let vectors = try vectorContext()
        for index in 0..<input.count / 512 {
            var tweak = try mask.block(try vectorBytes(firstSector + UInt64(index), vectors))
            for start in stride(from: index * 512, to: (index + 1) * 512, by: 16) {
                var block = [UInt8](input.part(start, 16))
                for byte in 0..<16 { block[byte] ^= tweak[byte] }
                block = try data.block(block)
                for byte in 0..<16 { block[byte] ^= tweak[byte] }
                output.part(start, 16).copyBytes(from: block)
                let carry = tweak[15] >> 7
                for byte in (1..<16).reversed() { tweak[byte] = tweak[byte] << 1 | tweak[byte - 1] >> 7 }
                tweak[0] = tweak[0] << 1 ^ carry &* 0x87
            }
        }
    }

    /// One key set up in libcrypto.
    private final class Context {
        private let handle: OpaquePointer

        init(_ algorithm: OpaquePointer?, _ key: [UInt8], encrypt: Bool) throws(ImageError) {
            guard let handle = EVP_CIPHER_CTX_new() else { throw ImageError(.io, "libcrypto gave no cipher context") }
            self.handle = handle
            let vector = [UInt8](repeating: 0, count: 16)
            guard let algorithm, EVP_CipherInit_ex(handle, algorithm, nil, key, vector, encrypt ? 1 : 0) == 1 else {
                throw ImageError(.io, "libcrypto refused a cipher with a key of \(key.count) bytes")
            }
            EVP_CIPHER_CTX_set_padding(handle, 0)
        }

        deinit { EVP_CIPHER_CTX_free(handle) }

        /// Transforms bytes that begin a chain.
        func run(
            _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, vector: [UInt8]
        ) throws(ImageError) {
            var produced: Int32 = 0
            let source = input.bindMemory(to: UInt8.self).baseAddress
            let target = output.bindMemory(to: UInt8.self).baseAddress
            guard EVP_CipherInit_ex(handle, nil, nil, nil, vector, -1) == 1,
                EVP_CipherUpdate(handle, target, &produced, source, Int32(input.count)) == 1,
                Int(produced) == input.count
            else { throw ImageError(.io, "libcrypto could not transform a sector") }
        }

        /// One block on its own.
        func block(_ bytes: [UInt8]) throws(ImageError) -> [UInt8] {
            var out = [UInt8](repeating: 0, count: 32)
            var produced: Int32 = 0
            guard EVP_CipherUpdate(handle, &out, &produced, bytes, 16) == 1, produced == 16 else {
                throw ImageError(.io, "libcrypto could not transform a block")
            }
            return Array(out.prefix(16))
        }
    }
}

/// Secrets that are themselves encrypted: AES-256-CBC without regard to padding.
public enum SecretCipher {
    /// Decrypts whole 16-byte blocks. `key` is 32 bytes long, `vector` 16. Throws `.io` when libcrypto refuses.
    public static func decrypt(_ data: [UInt8], key: [UInt8], vector: [UInt8]) throws(ImageError) -> [UInt8] {
        guard let context = EVP_CIPHER_CTX_new() else { throw ImageError(.io, "libcrypto gave no cipher context") }
        defer { EVP_CIPHER_CTX_free(context) }
        var out = [UInt8](repeating: 0, count: data.count + 16)
        var produced: Int32 = 0
        guard EVP_CipherInit_ex(context, EVP_aes_256_cbc(), nil, key, vector, 0) == 1,
            EVP_CIPHER_CTX_set_padding(context, 0) == 1,
            EVP_CipherUpdate(context, &out, &produced, data, Int32(data.count)) == 1, Int(produced) == data.count
        else { throw ImageError(.io, "libcrypto could not decrypt a secret") }
        return Array(out.prefix(data.count))
    }
}
