import COpenSSL
import Glibc

/// LUKS version 1 (LUKS On-Disk Format Specification 1.2): a master key, kept under up to eight passphrases.
///
///     offset size                                   slot, 48 bytes, 8 from 208 on
///          0    6  "LUKS" 0xba 0xbe                     0  4  0x00ac71f3 in use, 0x0000dead free
///          6    2  version 1                            4  4  PBKDF2 iterations
///          8   32  cipher name     40  32  mode          8 32  salt
///         72   32  hash           104   4  payload      40  4  key material: offset in sectors
///        108    4  key bytes      112  20  digest       44  4  anti-forensic stripes
///        132   32  salt           164   4  iterations  168  40  UUID
///
/// The key material is the master key, split into stripes so that losing any part of it loses all, and encrypted with
/// the passphrase's key.
struct LUKSHeader {
    static let magic: [UInt8] = Array("LUKS".utf8) + [0xba, 0xbe]
    static let headerBytes = 592
    private static let inUse: UInt32 = 0x00ac_71f3
    private static let free: UInt32 = 0x0000_dead
    private static let stripes = 4000
    /// PBKDF2 iterations of all slots together that an image may ask for: about half a minute of work.
    private static let maximumIterations: UInt64 = 1 << 25

    var bytes: [UInt8]

    private func text(_ start: Int) -> String {
        String(decoding: bytes[start..<start + 32].prefix { $0 != 0 }, as: UTF8.self)
    }
    var cipherName: String { text(8) }
    var cipherMode: String { text(40) }
    var hash: String { text(72) }
    var payloadOffset: UInt64 { UInt64(bytes.be32(104)) * 512 }
    private var keyBytes: Int { Int(bytes.be32(108)) }

    /// Parses the header at `offset`; refuses what is not supported.
    init(_ storage: any Storage, at offset: UInt64) throws(ImageError) {
        bytes = try storage.readBytes(at: offset, count: Self.headerBytes)
        func bad(_ kind: ImageError.Kind, _ message: String, at field: Int = 0) -> ImageError {
            ImageError(kind, message, format: "luks", path: storage.path, offset: offset + UInt64(field))
        }
        guard Array(bytes[0..<6]) == Self.magic else { throw bad(.corrupt, "Volume is not in LUKS format") }
        guard bytes.be16(6) == 1 else { throw bad(.unsupported, "LUKS version \(bytes.be16(6)) is not supported") }
        guard cipherName == "aes", ["xts-plain64", "cbc-plain64"].contains(cipherMode) else {
            throw bad(.unsupported, "LUKS cipher \(cipherName)-\(cipherMode) is not supported")
        }
        // XTS takes two keys of one length, CBC one.
        guard (cipherMode == "xts-plain64" ? [32, 64] : [16, 24, 32]).contains(keyBytes) else {
            throw bad(.corrupt, "LUKS key of \(keyBytes) bytes does not fit \(cipherMode)", at: 108)
        }
        guard Self.digest(hash) != nil else { throw bad(.unsupported, "LUKS hash '\(hash)' is not supported") }
        var iterations = UInt64(bytes.be32(164))
        for slot in 0..<8 {
            let at = 208 + slot * 48
            guard bytes.be32(at) == Self.inUse || bytes.be32(at) == Self.free else {
                throw bad(.corrupt, "Keyslot \(slot) state is \(UInt64(bytes.be32(at)).hex)", at: at)
            }
            guard bytes.be32(at) == Self.free || (bytes.be32(at + 44) == UInt32(Self.stripes) && bytes.be32(at + 4) > 0)
            else {
                throw bad(.corrupt, "Keyslot \(slot) has \(bytes.be32(at + 44)) stripes or no iterations", at: at + 4)
            }
            guard bytes.be32(at) == Self.inUse else { continue }
            // Trying a slot costs its iterations and those of the digest.
            iterations += UInt64(bytes.be32(at + 4)) + UInt64(bytes.be32(164))
            let material = offset + UInt64(bytes.be32(at + 40)) * 512
            guard material + UInt64(keyBytes * Self.stripes) <= storage.byteCount else {
                throw bad(
                    .corrupt, "the key material of slot \(slot) at \(material.hex) lies beyond the file", at: at + 40)
            }
        }
        guard bytes.be32(164) > 0, iterations <= Self.maximumIterations else {
            throw bad(
                .corrupt, "LUKS key derivation of \(iterations) iterations, at most \(Self.maximumIterations) are done",
                at: 164)
        }
    }

    private static func digest(_ name: String) -> OpaquePointer? {
        switch name {
        case "sha1": EVP_sha1()
        case "sha256": EVP_sha256()
        case "sha512": EVP_sha512()
        default: nil
        }
    }

    private func cipher(_ key: [UInt8]) -> SectorCipher {
        SectorCipher(key: key, mode: cipherMode == "xts-plain64" ? .xtsPlain64 : .cbcPlain64)
    }

    private static func derive(_ password: [UInt8], _ salt: [UInt8], _ iterations: Int, _ hash: String, _ count: Int)
        -> [UInt8]
    {
        var out = [UInt8](repeating: 0, count: count)
        let secret = password.map { CChar(bitPattern: $0) }
        PKCS5_PBKDF2_HMAC(
            secret, Int32(secret.count), salt, Int32(salt.count), Int32(iterations), digest(hash), Int32(count), &out)
        return out
    }

    /// The cipher of the payload, if one of the slots opens with the passphrase.
    func unlock(_ password: [UInt8], _ storage: any Storage, at offset: UInt64) throws(ImageError) -> SectorCipher {
        for slot in 0..<8 {
            let at = 208 + slot * 48
            guard bytes.be32(at) == Self.inUse else { continue }
            let slotKey = Self.derive(password, Array(bytes[at + 8..<at + 40]), Int(bytes.be32(at + 4)), hash, keyBytes)
            let count = keyBytes * Self.stripes
            let material = HeapBuffer((count + 511) & ~511)
            try storage.read(into: material.bytes, at: offset + UInt64(bytes.be32(at + 40)) * 512)
            try cipher(slotKey).transform(material.readable, into: material.bytes, firstSector: 0, encrypt: false)
            let master = Self.merge([UInt8](material.readable.part(0, count)), keyBytes, hash)
            if Self.derive(master, Array(bytes[132..<164]), Int(bytes.be32(164)), hash, 20) == Array(bytes[112..<132]) {
                return cipher(master)
            }
        }
        throw ImageError(.permission, "Invalid password, cannot unlock any keyslot", format: "luks", path: storage.path)
    }

    // MARK: Anti-forensic splitting

    private static func hash(_ input: [UInt8], _ name: String) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 64)
        var count: UInt32 = 0
        EVP_Digest(input, input.count, &out, &count, digest(name), nil)
        return Array(out.prefix(Int(count)))
    }

    /// Replaces each digest-sized piece of a block by the hash of its number and itself.
    private static func diffuse(_ block: [UInt8], _ name: String) -> [UInt8] {
        let unit = hash([], name).count
        var out: [UInt8] = []
        for (number, start) in stride(from: 0, to: block.count, by: unit).enumerated() {
            let piece = Array(block[start..<min(start + unit, block.count)])
            var input: [UInt8] = []
            input.putBE(UInt32(number))
            out += hash(input + piece, name).prefix(piece.count)
        }
        return out
    }

    private static func merge(_ material: [UInt8], _ count: Int, _ name: String) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: count)
        for stripe in 0..<stripes {
            for index in 0..<count { block[index] ^= material[stripe * count + index] }
            if stripe < stripes - 1 { block = diffuse(block, name) }
        }
        return block
    }

    private static func split(_ key: [UInt8], _ name: String) -> [UInt8] {
        var material = random(key.count * (stripes - 1))
        var block = [UInt8](repeating: 0, count: key.count)
        for stripe in 0..<stripes - 1 {
            for index in 0..<key.count { block[index] ^= material[stripe * key.count + index] }
            block = diffuse(block, name)
        }
        material += zip(block, key).map { $0 ^ $1 }
        return material
    }

    private static func random(_ count: Int) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: count)
        RAND_bytes(&out, Int32(count))
        return out
    }

    // MARK: Creating

    /// Bytes that header and key material of a 64-byte key take: 4 KiB and eight areas.
    static let areaBytes: UInt64 = 4096 + 8 * 504 * 512

    /// A new header and key material for one passphrase (AES-256-XTS, SHA-256), `areaBytes` long.
    /// `milliseconds` is the time that trying a passphrase shall take.
    static func create(_ password: [UInt8], milliseconds: UInt64 = 2000) throws(ImageError) -> (
        area: [UInt8], cipher: SectorCipher
    ) {
        let name = "sha256"
        let count = 64
        let master = random(count), masterSalt = random(32), slotSalt = random(32)
        let iterations = max(1000, Int(Double(milliseconds) * iterationsPerMillisecond(name) / 2))
        let digestIterations = max(1000, iterations / 8)
        func field(_ text: String, _ width: Int) -> [UInt8] {
            Array(text.utf8) + [UInt8](repeating: 0, count: width - text.utf8.count)
        }
        var head = magic
        head.putBE(UInt16(1))
        head += field("aes", 32) + field("xts-plain64", 32) + field(name, 32)
        head.putBE(UInt32(areaBytes / 512))
        head.putBE(UInt32(count))
        head += derive(master, masterSalt, digestIterations, name, 20)
        head += masterSalt
        head.putBE(UInt32(digestIterations))
        let hex = GUID.random().mixedEndianText.dropFirst().dropLast()
        head += field(String(hex), 40)
        for slot in 0..<8 {
            head.putBE(slot == 0 ? inUse : free)
            head.putBE(UInt32(slot == 0 ? iterations : 0))
            head += slot == 0 ? slotSalt : [UInt8](repeating: 0, count: 32)
            head.putBE(UInt32(8 + slot * 504))
            head.putBE(UInt32(stripes))
        }
        let slotKey = derive(password, slotSalt, iterations, name, count)
        let buffer = HeapBuffer(count * stripes)
        buffer.bytes.copyBytes(from: split(master, name))
        let slotCipher = SectorCipher(key: slotKey, mode: .xtsPlain64)
        try slotCipher.transform(buffer.readable, into: buffer.bytes, firstSector: 0, encrypt: true)
        var area = head + [UInt8](repeating: 0, count: 4096 - head.count) + [UInt8](buffer.readable)
        area += [UInt8](repeating: 0, count: Int(areaBytes) - area.count)
        return (area, SectorCipher(key: master, mode: .xtsPlain64))
    }

    private static func iterationsPerMillisecond(_ name: String) -> Double {
        var start = timespec(), end = timespec()
        clock_gettime(CLOCK_MONOTONIC, &start)
        _ = derive(Array("measure".utf8), random(32), 10_000, name, 32)
        clock_gettime(CLOCK_MONOTONIC, &end)
        let elapsed = Double(end.tv_sec - start.tv_sec) * 1e3 + Double(end.tv_nsec - start.tv_nsec) / 1e6
        return 10_000 / max(elapsed, 0.01)
    }
}

extension OpenOptions {
    /// The secret that opens an image: the one that is named, or the only one there is.
    func passphrase() -> [UInt8]? {
        if let keySecret { return secrets[keySecret] }
        return secrets.count == 1 ? secrets.first?.value : nil
    }
}
