import COpenSSL
import Glibc

/// What a LUKS header says of its encryption: name `aes`, mode such as `xts-plain64` or `cbc-essiv:sha256`, key length.
struct LUKSCipher: Sendable, Hashable {
    let chaining: SectorCipher.Chaining
    /// `plain`, `plain64` or `essiv`.
    let vectorName: String
    /// The hash that follows the generator's name; only `essiv` uses it.
    let vectorHash: String?
    /// Bytes of the master key: XTS takes two keys.
    let keyBytes: Int

    /// `aes-256` and the like: the length of one key.
    var algorithmName: String { "aes-\(keyBytes * 8 / (chaining == .xts ? 2 : 1))" }
    var modeName: String { "\(chaining.rawValue)-\(vectorName)" + (vectorHash.map { ":\($0)" } ?? "") }

    /// From the fields of a header. Throws `.unsupported` for ciphers and generators that are not known.
    init(name: String, mode: String, keyBytes: Int) throws(ImageError) {
        func bad(_ kind: ImageError.Kind, _ message: String) -> ImageError { ImageError(kind, message, format: "luks") }
        let parts = mode.split(separator: "-", maxSplits: 1).map(String.init)
        let generator = (parts.count > 1 ? parts[1] : "").split(separator: ":", maxSplits: 1).map(String.init)
        guard name == "aes", let chaining = SectorCipher.Chaining(rawValue: parts.first ?? ""),
            let vectorName = generator.first, ["plain", "plain64", "essiv"].contains(vectorName)
        else { throw bad(.unsupported, "LUKS cipher \(name)-\(mode) is not supported") }
        guard [16, 24, 32].contains(chaining == .xts ? keyBytes / 2 : keyBytes), keyBytes % 8 == 0 else {
            throw bad(.corrupt, "LUKS key of \(keyBytes) bytes is invalid")
        }
        self.chaining = chaining
        self.vectorName = vectorName
        vectorHash = generator.count > 1 ? generator[1] : vectorName == "essiv" ? "sha256" : nil
        self.keyBytes = keyBytes
        guard vectorName == "essiv" else { return }
        guard let hash = vectorHash, LUKSHash.algorithm(hash) != nil else {
            throw bad(.unsupported, "LUKS vector hash '\(vectorHash ?? "")' is not supported")
        }
        let count = LUKSHash.hash([], hash).count
        guard [16, 24, 32].contains(count) else {
            throw bad(.invalidArgument, "No AES cipher with key size \(count) available")
        }
    }

    /// The cipher under a key.
    func keyed(_ key: [UInt8]) -> SectorCipher {
        let vector: SectorCipher.Vector =
            switch vectorName {
            case "plain": .plain
            case "essiv": .essiv(key: LUKSHash.hash(key, vectorHash ?? "sha256"))
            default: .plain64
            }
        return SectorCipher(key: key, chaining: chaining, vector: vector)
    }
}

/// The choices that `create` offers for a LUKS header.
struct LUKSParameters: Sendable {
    var cipher: LUKSCipher
    var hash: String
    /// Time that trying a passphrase shall take.
    var milliseconds: UInt64

    /// The options' names and help, without the `encrypt.` that qcow2 puts before them.
    static let options: [(name: String, kind: CreateOption.Kind, help: String)] = [
        ("cipher-alg", .string, "Name of encryption cipher algorithm"),
        ("cipher-mode", .string, "Name of encryption cipher mode"),
        ("ivgen-alg", .string, "Name of IV generator algorithm"),
        ("ivgen-hash-alg", .string, "Name of IV generator hash algorithm"),
        ("hash-alg", .string, "Name of encryption hash algorithm"),
        ("iter-time", .number, "Time to spend in PBKDF in milliseconds"),
    ]

    /// Bytes of header and key material, up to the payload.
    var areaBytes: UInt64 { 4096 + UInt64(LUKSHeader.slotCount * LUKSHeader.areaBytes(keyBytes: cipher.keyBytes)) }

    /// Reads the options; names begin with `prefix`.
    init(_ reader: OptionReader, prefix: String = "") throws(ImageError) {
        func choice(_ name: String, _ known: [String], default value: String) throws(ImageError) -> String {
            guard let text = reader.text(prefix + name) else { return value }
            guard known.contains(text) else {
                throw ImageError(
                    .invalidArgument, "Parameter '\(name)' does not accept value '\(text)'", format: "luks")
            }
            return text
        }
        let others =
            [16, 24, 32].flatMap { ["serpent-\($0 * 8)", "twofish-\($0 * 8)"] } + ["cast5-128", "3des", "des"]
        let algorithm = try choice("cipher-alg", ["aes-128", "aes-192", "aes-256"] + others, default: "aes-256")
        guard !others.contains(algorithm), let bits = Int(algorithm.dropFirst(4)) else {
            throw ImageError(.unsupported, "Algorithm '\(algorithm)' not supported", format: "luks")
        }
        let mode = try choice("cipher-mode", SectorCipher.Chaining.allCases.map(\.rawValue), default: "xts")
        let generator = try choice("ivgen-alg", ["plain", "plain64", "essiv"], default: "plain64")
        let generatorHash = try choice("ivgen-hash-alg", LUKSHash.names, default: "")
        hash = try choice("hash-alg", LUKSHash.names, default: "sha256")
        cipher = try LUKSCipher(
            name: "aes",
            mode: "\(mode)-\(generator)"
                + (generatorHash.isEmpty ? generator == "essiv" ? ":sha256" : "" : ":\(generatorHash)"),
            keyBytes: bits / 8 * (mode == "xts" ? 2 : 1))
        milliseconds = try reader.number(prefix + "iter-time") ?? 2000
    }
}

/// The hashes of LUKS, and what it makes of them.
enum LUKSHash {
    static let names = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160"]

    static func algorithm(_ name: String) -> OpaquePointer? {
        switch name {
        case "md5": EVP_md5()
        case "sha1": EVP_sha1()
        case "sha224": EVP_sha224()
        case "sha256": EVP_sha256()
        case "sha384": EVP_sha384()
        case "sha512": EVP_sha512()
        case "ripemd160": EVP_ripemd160()
        default: nil
        }
    }

    static func hash(_ input: [UInt8], _ name: String) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 64)
        var count: UInt32 = 0
        EVP_Digest(input, input.count, &out, &count, algorithm(name), nil)
        return Array(out.prefix(Int(count)))
    }

    /// PBKDF2 (RFC 8018).
    static func derive(
        _ password: [UInt8], _ salt: [UInt8], _ iterations: Int, _ name: String, _ count: Int
    ) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: count)
        let secret = password.map { CChar(bitPattern: $0) }
        PKCS5_PBKDF2_HMAC(
            secret, Int32(secret.count), salt, Int32(salt.count), Int32(clamping: iterations), algorithm(name),
            Int32(count), &out)
        return out
    }

    static func random(_ count: Int) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: count)
        RAND_bytes(&out, Int32(count))
        return out
    }

    /// How many iterations take so long on this machine; never fewer than 1000.
    static func iterations(_ name: String, milliseconds: UInt64, keyBytes: Int) -> Int {
        let sample = 10_000
        let start = HostTime.monotonicNanoseconds()
        _ = derive(Array("measure".utf8), random(32), sample, name, keyBytes)
        let nanoseconds = Double(max(1, HostTime.monotonicNanoseconds() - start))
        let wanted = Double(sample) * Double(milliseconds) * 1e6 / nanoseconds
        return max(1000, Int(min(wanted, Double(Int32.max))))
    }
}
