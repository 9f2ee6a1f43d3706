import COpenSSL
import Glibc
import VMProtocol

/// SHA-256 (FIPS 180-4) of texts and files, as 64 lower-case hex digits.
public enum SHA256Digest {
    /// Digest of a text's UTF-8 bytes.
    public static func of(_ text: String) -> String { of(Array(text.utf8)) }

    /// Digest of bytes.
    public static func of(_ bytes: [UInt8]) -> String {
        let stream = SHA256Stream()
        stream.update(bytes)
        return stream.finish()
    }

    /// Digest of a whole file.
    /// - Parameters:
    ///   - progress: told how many bytes are done, now and then; false stops.
    /// - Returns: nil when `progress` stopped it.
    public static func ofFile(
        _ path: String, progress: (UInt64) -> Bool = { _ in true }
    ) throws(HostError) -> String? {
        let file = try Descriptor.open(path, O_RDONLY)
        posix_fadvise(file.raw, 0, 0, Int32(POSIX_FADV_SEQUENTIAL))
        let stream = SHA256Stream()
        var done: UInt64 = 0
        while true {
            switch file.read(limit: 1 << 20) {
            case .bytes(let bytes):
                stream.update(bytes)
                done += UInt64(bytes.count)
                guard progress(done) else { return nil }
            case .endOfFile: return stream.finish()
            case .wouldBlock: continue
            case .failed(let code): throw HostError("read", path, code: code)
            }
        }
    }
}

/// A digest of bytes that come one after the other.
final class SHA256Stream {
    private let context: OpaquePointer?

    init() {
        context = EVP_MD_CTX_new()
        EVP_DigestInit_ex(context, EVP_sha256(), nil)
    }

    deinit { EVP_MD_CTX_free(context) }

    func update(_ bytes: [UInt8]) { EVP_DigestUpdate(context, bytes, bytes.count) }

    func finish() -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        EVP_DigestFinal_ex(context, &digest, nil)
        return digest.map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
