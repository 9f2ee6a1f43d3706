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
    static let inUse: UInt32 = 0x00ac_71f3
    static let free: UInt32 = 0x0000_dead
    static let stripes = 4000
    static let slotCount = 8
    /// PBKDF2 iterations of all slots together that an image may ask for: about half a minute of work.
    private static let maximumIterations: UInt64 = 1 << 25

    var bytes: [UInt8]
    /// What the payload and the key material are encrypted with.
    let cipher: LUKSCipher

    private static func text(_ bytes: [UInt8], _ start: Int) -> String {
        String(decoding: bytes[start..<start + 32].prefix { $0 != 0 }, as: UTF8.self)
    }

    var hash: String { Self.text(bytes, 72) }
    var payloadOffset: UInt64 { UInt64(bytes.be32(104)) * 512 }
    var keyBytes: Int { Int(bytes.be32(108)) }
    var masterDigest: [UInt8] { Array(bytes[112..<132]) }
    var masterSalt: [UInt8] { Array(bytes[132..<164]) }
    var masterIterations: Int { Int(bytes.be32(164)) }
    var uuid: String { String(decoding: bytes[168..<208].prefix { $0 != 0 }, as: UTF8.self) }

    func slotPlace(_ slot: Int) -> Int { 208 + slot * 48 }
    func isActive(_ slot: Int) -> Bool { bytes.be32(slotPlace(slot)) == Self.inUse }
    func iterations(_ slot: Int) -> Int { Int(bytes.be32(slotPlace(slot) + 4)) }
    func salt(_ slot: Int) -> [UInt8] { Array(bytes[slotPlace(slot) + 8..<slotPlace(slot) + 40]) }
    /// Bytes from the header to the slot's key material.
    func materialOffset(_ slot: Int) -> UInt64 { UInt64(bytes.be32(slotPlace(slot) + 40)) * 512 }
    /// Bytes that the stripes of one key take, without padding.
    var materialBytes: Int { keyBytes * Self.stripes }
    /// The numbers of the slots that a passphrase can open.
    var activeSlots: [Int] { (0..<Self.slotCount).filter(isActive) }

    /// Bytes from one slot's key material to the next: each begins at a multiple of 4 KiB.
    static func areaBytes(keyBytes: Int) -> Int { (keyBytes * stripes + 4095) & ~4095 }

    /// Parses the header at `offset`; refuses what is not supported.
    init(_ storage: any Storage, at offset: UInt64) throws(ImageError) {
        let bytes = try storage.readBytes(at: offset, count: Self.headerBytes)
        func bad(_ kind: ImageError.Kind, _ message: String, at field: Int = 0) -> ImageError {
            ImageError(kind, message, format: "luks", path: storage.path, offset: offset + UInt64(field))
        }
        guard Array(bytes[0..<6]) == Self.magic else { throw bad(.corrupt, "Volume is not in LUKS format") }
        guard bytes.be16(6) == 1 else { throw bad(.unsupported, "LUKS version \(bytes.be16(6)) is not supported") }
        let keyBytes = Int(bytes.be32(108))
        do throws(ImageError) {
            cipher = try LUKSCipher(name: Self.text(bytes, 8), mode: Self.text(bytes, 40), keyBytes: keyBytes)
            try LUKSHash.check(Self.text(bytes, 72))
        } catch {
            throw bad(error.kind, error.message, at: 8)
        }
        self.bytes = bytes
        var work = UInt64(bytes.be32(164))
        for slot in 0..<Self.slotCount {
            let at = slotPlace(slot)
            guard bytes.be32(at) == Self.inUse || bytes.be32(at) == Self.free else {
                throw bad(.corrupt, "Keyslot \(slot) state is \(UInt64(bytes.be32(at)).hex)", at: at)
            }
            guard !isActive(slot) || (bytes.be32(at + 44) == UInt32(Self.stripes) && iterations(slot) > 0) else {
                throw bad(.corrupt, "Keyslot \(slot) has \(bytes.be32(at + 44)) stripes or no iterations", at: at + 4)
            }
            let start = materialOffset(slot)
            // A detached header has no payload behind it.
            let end = payloadOffset == 0 ? UInt64.max : payloadOffset
            guard start >= UInt64(Self.headerBytes), start + UInt64(materialBytes) <= end else {
                throw bad(
                    .corrupt, "The key material of slot \(slot) at \(start.hex) is outside the key area", at: at + 40)
            }
            for other in 0..<slot where isActive(slot) || isActive(other) {
                let distance = max(start, materialOffset(other)) - min(start, materialOffset(other))
                guard distance >= UInt64(materialBytes) else {
                    throw bad(.corrupt, "Keyslots \(other) and \(slot) are overlapping in the header", at: at + 40)
                }
            }
            guard isActive(slot) else { continue }
            // Trying a slot costs its iterations and those of the digest.
            work += UInt64(iterations(slot)) + UInt64(masterIterations)
            guard offset + start + UInt64(materialBytes) <= storage.byteCount else {
                throw bad(
                    .corrupt, "the key material of slot \(slot) at \((offset + start).hex) lies beyond the file",
                    at: at + 40)
            }
        }
        guard masterIterations > 0, work <= Self.maximumIterations else {
            throw bad(
                .corrupt, "LUKS key derivation of \(work) iterations, at most \(Self.maximumIterations) are done",
                at: 164)
        }
    }

    /// A new header whose slots are all free.
    private init(_ cipher: LUKSCipher, hash: String, master: [UInt8], digestIterations: Int) {
        func field(_ text: String, _ width: Int) -> [UInt8] {
            Array(text.utf8) + [UInt8](repeating: 0, count: width - text.utf8.count)
        }
        let area = Self.areaBytes(keyBytes: master.count) / 512
        let salt = LUKSHash.random(32)
        var head = Self.magic
        head.putBE(UInt16(1))
        head += field(cipher.algorithm.rawValue, 32) + field(cipher.modeName, 32) + field(hash, 32)
        head.putBE(UInt32(8 + Self.slotCount * area))
        head.putBE(UInt32(master.count))
        head += LUKSHash.derive(master, salt, digestIterations, hash, 20)
        head += salt
        head.putBE(UInt32(digestIterations))
        head += field(String(GUID.random().mixedEndianText.dropFirst().dropLast()), 40)
        for slot in 0..<Self.slotCount {
            head.putBE(Self.free)
            head.putBE(UInt32(0))
            head += [UInt8](repeating: 0, count: 32)
            head.putBE(UInt32(8 + slot * area))
            head.putBE(UInt32(Self.stripes))
        }
        bytes = head
        self.cipher = cipher
    }

    /// A new header and key material for one passphrase, as long as the payload's offset.
    static func create(_ password: [UInt8], _ parameters: LUKSParameters) throws(ImageError) -> [UInt8] {
        let master = LUKSHash.random(parameters.cipher.keyBytes)
        let digestIterations = LUKSHash.iterations(
            parameters.hash, milliseconds: parameters.milliseconds / 8, keyBytes: 20)
        var header = LUKSHeader(
            parameters.cipher, hash: parameters.hash, master: master, digestIterations: digestIterations)
        let material = try header.fill(0, password, master: master, milliseconds: parameters.milliseconds)
        var area = header.bytes
        area += [UInt8](repeating: 0, count: Int(header.materialOffset(0)) - area.count) + material
        area += [UInt8](repeating: 0, count: Int(header.payloadOffset) - area.count)
        return area
    }

    /// Facts for `info`.
    var info: [InfoField] {
        var fields = [InfoField("ivgen-alg", .string(cipher.vectorName))]
        if let hash = cipher.vectorHash, cipher.vectorName == "essiv" {
            fields.append(InfoField("ivgen-hash-alg", .string(hash)))
        }
        fields += [
            InfoField("hash-alg", .string(hash)), InfoField("cipher-alg", .string(cipher.algorithmName)),
            InfoField("uuid", .string(uuid)), InfoField("cipher-mode", .string(cipher.chaining.rawValue)),
        ]
        let slots: [InfoValue] = (0..<Self.slotCount).map { slot in
            let place = InfoField("key-offset", .integer(Int64(materialOffset(slot))))
            guard isActive(slot) else { return .object([InfoField("active", .bool(false)), place]) }
            return .object([
                InfoField("active", .bool(true)), InfoField("iters", .integer(Int64(iterations(slot)))), place,
                InfoField("stripes", .integer(Int64(Self.stripes))),
            ])
        }
        return fields + [
            InfoField("slots", .array(slots)), InfoField("payload-offset", .integer(Int64(payloadOffset))),
            InfoField("master-key-iters", .integer(Int64(masterIterations))),
        ]
    }
}

extension OpenOptions {
    /// The secret that opens an image: the one that is named, or the only one there is.
    func passphrase() -> [UInt8]? {
        if let keySecret { return secrets[keySecret] }
        return secrets.count == 1 ? secrets.first?.value : nil
    }
}
