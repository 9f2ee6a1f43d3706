import COpenSSL

/// Sector encryption by AES, over libcrypto.
final class SectorCipher: @unchecked Sendable {
    enum Mode: Sendable { case cbcPlain64, xtsPlain64 }

    private let key: [UInt8]
    private let mode: Mode

    init(key: [UInt8], mode: Mode) {
        self.key = key
        self.mode = mode
    }

    /// QEMU's legacy AES: the first 16 bytes of the password, padded with zeros, as an AES-128 key.
    static func legacy(password: [UInt8]) -> SectorCipher {
        SectorCipher(key: Array((password + [UInt8](repeating: 0, count: 16)).prefix(16)), mode: .cbcPlain64)
    }

    private var algorithm: OpaquePointer? {
        switch (mode, key.count) {
        case (.cbcPlain64, 16): EVP_aes_128_cbc()
        case (.cbcPlain64, 24): EVP_aes_192_cbc()
        case (.cbcPlain64, _): EVP_aes_256_cbc()
        case (.xtsPlain64, 32): EVP_aes_128_xts()
        case (.xtsPlain64, _): EVP_aes_256_xts()
        }
    }

    /// Transforms whole 512-byte sectors from `input` to `output` (which may be the same memory), numbered from
    /// `firstSector` on; the number, little-endian, is the initialisation vector.
    func transform(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, firstSector: UInt64, encrypt: Bool
    ) throws(ImageError) {
        guard let context = EVP_CIPHER_CTX_new(), let algorithm else {
            throw ImageError(.io, "libcrypto gave no cipher context")
        }
        defer { EVP_CIPHER_CTX_free(context) }
        var vector = [UInt8](repeating: 0, count: 16)
        guard EVP_CipherInit_ex(context, algorithm, nil, key, vector, encrypt ? 1 : 0) == 1 else {
            throw ImageError(.io, "libcrypto refused the cipher")
        }
        EVP_CIPHER_CTX_set_padding(context, 0)
        for index in 0..<input.count / 512 {
            let number = firstSector + UInt64(index)
            for byte in 0..<8 { vector[byte] = UInt8(truncatingIfNeeded: number >> UInt64(byte * 8)) }
            var produced: Int32 = 0
            let source = input.part(index * 512, 512).bindMemory(to: UInt8.self).baseAddress
            let target = output.part(index * 512, 512).bindMemory(to: UInt8.self).baseAddress
            guard EVP_CipherInit_ex(context, nil, nil, nil, vector, -1) == 1,
                EVP_CipherUpdate(context, target, &produced, source, 512) == 1, produced == 512
            else { throw ImageError(.io, "libcrypto could not transform a sector") }
        }
    }
}
