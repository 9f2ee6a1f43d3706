import COpenSSL

/// AES under one key, chained by libcrypto. It is one thread's.
final class AESContext {
    private let handle: OpaquePointer

    /// Nil for what libcrypto does not have: XTS with keys of 192 bits.
    init?(_ key: [UInt8], _ chaining: SectorCipher.Chaining, encrypt: Bool) throws(ImageError) {
        guard let algorithm = Self.algorithm(chaining, keyBytes: key.count) else { return nil }
        guard let handle = EVP_CIPHER_CTX_new() else { throw ImageError(.io, "libcrypto gave no cipher context") }
        self.handle = handle
        let vector = [UInt8](repeating: 0, count: 16)
        guard EVP_CipherInit_ex(handle, algorithm, nil, key, vector, encrypt ? 1 : 0) == 1 else {
            throw ImageError(.io, "libcrypto refused a cipher with a key of \(key.count) bytes")
        }
        EVP_CIPHER_CTX_set_padding(handle, 0)
    }

    deinit { EVP_CIPHER_CTX_free(handle) }

    private static func algorithm(_ chaining: SectorCipher.Chaining, keyBytes: Int) -> OpaquePointer? {
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

    /// Transforms whole blocks that begin a chain. `output` may be the same memory as `input`.
    func run(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, vector: UnsafeRawBufferPointer?
    ) throws(ImageError) {
        var produced: Int32 = 0
        let source = input.bindMemory(to: UInt8.self).baseAddress
        let target = output.bindMemory(to: UInt8.self).baseAddress
        let start = vector?.bindMemory(to: UInt8.self).baseAddress
        guard start == nil || EVP_CipherInit_ex(handle, nil, nil, nil, start, -1) == 1,
            EVP_CipherUpdate(handle, target, &produced, source, Int32(input.count)) == 1, Int(produced) == input.count
        else { throw ImageError(.io, "libcrypto could not transform a sector") }
    }
}

/// AES block by block, for what is put together from single blocks. It is one thread's.
final class AESBlocks: BlockCipher {
    private let encryptor: AESContext
    private let decryptor: AESContext

    var blockBytes: Int { 16 }

    /// A key of 16, 24 or 32 bytes.
    init(_ key: [UInt8]) throws(ImageError) {
        guard let encryptor = try AESContext(key, .ecb, encrypt: true),
            let decryptor = try AESContext(key, .ecb, encrypt: false)
        else { throw ImageError(.io, "libcrypto has no AES with a key of \(key.count) bytes") }
        self.encryptor = encryptor
        self.decryptor = decryptor
    }

    func encrypt(_ blocks: UnsafeMutableRawBufferPointer) throws(ImageError) {
        try encryptor.run(UnsafeRawBufferPointer(blocks), into: blocks, vector: nil)
    }

    func decrypt(_ blocks: UnsafeMutableRawBufferPointer) throws(ImageError) {
        try decryptor.run(UnsafeRawBufferPointer(blocks), into: blocks, vector: nil)
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
