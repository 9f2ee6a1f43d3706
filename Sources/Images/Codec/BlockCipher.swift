/// A block cipher under one key. It transforms blocks in place, each on its own; what ties them together is
/// `BlockChaining`.
protocol BlockCipher: AnyObject {
    /// Bytes of a block.
    var blockBytes: Int { get }
    /// Encrypts whole blocks.
    func encrypt(_ blocks: UnsafeMutableRawBufferPointer) throws(ImageError)
    /// Decrypts whole blocks.
    func decrypt(_ blocks: UnsafeMutableRawBufferPointer) throws(ImageError)
}

/// The block ciphers of LUKS. A row knows what a header and the options call it and which keys it takes.
enum CipherAlgorithm: String, Sendable, CaseIterable {
    case aes, serpent, twofish, cast5

    /// What messages call it.
    var title: String {
        switch self {
        case .aes: "AES"
        case .serpent: "Serpent"
        case .twofish: "Twofish"
        case .cast5: "CAST5"
        }
    }

    /// Bytes of the keys that LUKS gives it.
    var keySizes: [Int] { self == .cast5 ? [16] : [16, 24, 32] }
    var blockBytes: Int { self == .cast5 ? 8 : 16 }

    /// The cipher under a key of one of `keySizes`.
    func keyed(_ key: [UInt8]) throws(ImageError) -> any BlockCipher {
        switch self {
        case .aes: try AESBlocks(key)
        case .serpent: Serpent(key)
        case .twofish: Twofish(key)
        case .cast5: CAST5(key)
        }
    }
}
