import COpenSSL
import Glibc

/// What a LUKS header says of its encryption: a name such as `aes`, a mode such as `xts-plain64` or `cbc-essiv:sha256`, and
/// the length of the master key.
struct LUKSCipher: Sendable, Hashable {
    let algorithm: CipherAlgorithm
    let chaining: SectorCipher.Chaining
    /// `plain`, `plain64` or `essiv`.
    let vectorName: String
    /// The hash that follows the generator's name; only `essiv` uses it.
    let vectorHash: String?
    /// Bytes of the master key: XTS takes two keys.
    let keyBytes: Int

    static let vectorNames = ["plain", "plain64", "essiv"]

    /// `aes-256` and the like: the length of one key.
    var algorithmName: String { Self.optionName(algorithm, keyBytes / (chaining == .xts ? 2 : 1)) }
    var modeName: String { "\(chaining.rawValue)-\(vectorName)" + (vectorHash.map { ":\($0)" } ?? "") }

    /// What `create` calls a cipher with keys of that many bytes.
    static func optionName(_ algorithm: CipherAlgorithm, _ keyBytes: Int) -> String {
        "\(algorithm.rawValue)-\(keyBytes * 8)"
    }

    /// From the fields of a header. Throws `.unsupported` for ciphers, modes and generators that are not known, and for
    /// keys that the cipher does not take; `.invalidArgument` for an ESSIV whose hash is no key of the cipher.
    init(name: String, mode: String, keyBytes: Int) throws(ImageError) {
        func bad(_ kind: ImageError.Kind, _ message: String) -> ImageError { ImageError(kind, message, format: "luks") }
        let parts = mode.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 else { throw bad(.corrupt, "Unexpected cipher mode string format '\(mode)'") }
        let generator = parts[1].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard let chaining = SectorCipher.Chaining(rawValue: parts[0]) else {
            throw bad(.unsupported, "Cipher mode '\(parts[0])' not supported")
        }
        let isPair = chaining == .xts && keyBytes % 2 == 0
        let oneKey = isPair ? keyBytes / 2 : keyBytes
        guard let algorithm = CipherAlgorithm(rawValue: name), algorithm.keySizes.contains(oneKey),
            isPair == (chaining == .xts)
        else {
            throw bad(
                .unsupported,
                "Algorithm '\(name)' with key size \(oneKey) bytes not supported"
                    + (isPair ? ", nor two such keys in \(keyBytes) bytes" : ""))
        }
        guard Self.vectorNames.contains(generator[0]) else {
            throw bad(.unsupported, "IV generator '\(generator[0])' not supported")
        }
        self.algorithm = algorithm
        self.chaining = chaining
        self.keyBytes = keyBytes
        vectorName = generator[0]
        vectorHash = generator.count > 1 ? generator[1] : nil
        if let vectorHash { try LUKSHash.check(vectorHash) }
        guard vectorName == "essiv" else { return }
        guard let vectorHash else { throw bad(.corrupt, "Missing IV generator hash specification") }
        let digest = LUKSHash.hash([], vectorHash).count
        guard !algorithm.keySizes.contains(digest) else { return }
        throw bad(
            .invalidArgument,
            algorithm.keySizes.count == 1
                ? "Cipher \(Self.optionName(algorithm, oneKey)) not supported with essiv"
                : "No \(algorithm.title) cipher with key size \(digest) available")
    }

    /// Refuses what a header can say but nobody can compute: XTS masks are made for blocks of 16 bytes.
    func checkChaining() throws(ImageError) {
        guard chaining != .xts || algorithm.blockBytes == 16 else {
            throw ImageError(.unsupported, "Unsupported cipher mode \(chaining.rawValue)", format: "luks")
        }
    }

    /// The cipher under a key.
    func keyed(_ key: [UInt8]) throws(ImageError) -> SectorCipher {
        try checkChaining()
        let vector: SectorCipher.Vector =
            switch vectorName {
            case "plain": .plain
            case "essiv": .essiv(key: LUKSHash.hash(key, vectorHash ?? "sha256"))
            default: .plain64
            }
        return try SectorCipher(algorithm, key: key, chaining: chaining, vector: vector)
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
        let ciphers = CipherAlgorithm.allCases.flatMap { algorithm in
            algorithm.keySizes.map { (name: LUKSCipher.optionName(algorithm, $0), algorithm: algorithm, keyBytes: $0) }
        }
        // QEMU has names for two ciphers that LUKS does not use.
        let name = try choice("cipher-alg", ciphers.map(\.name) + ["3des", "des"], default: "aes-256")
        guard let chosen = ciphers.first(where: { $0.name == name }) else {
            throw ImageError(.unsupported, "Algorithm '\(name)' not supported", format: "luks")
        }
        let mode = try choice("cipher-mode", SectorCipher.Chaining.allCases.map(\.rawValue), default: "xts")
        let generator = try choice("ivgen-alg", LUKSCipher.vectorNames, default: "plain64")
        let generatorHash = try choice("ivgen-hash-alg", LUKSHash.names, default: "")
        hash = try choice("hash-alg", LUKSHash.names, default: "sha256")
        cipher = try LUKSCipher(
            name: chosen.algorithm.rawValue,
            mode: "\(mode)-\(generator)"
                + (generatorHash.isEmpty ? generator == "essiv" ? ":sha256" : "" : ":\(generatorHash)"),
            keyBytes: chosen.keyBytes * (mode == "xts" ? 2 : 1))
        try cipher.checkChaining()
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

    /// Refuses hashes that are not known.
    static func check(_ name: String) throws(ImageError) {
        guard algorithm(name) != nil else {
            throw ImageError(.unsupported, "Hash algorithm '\(name)' not supported", format: "luks")
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
