/// XXH64 with seed 0 (xxHash specification, "XXH64 Algorithm Description"): the checksum of saved states. It finds accidents, not
/// forgers.
///
/// Four lanes of 64 bits each take 8 bytes of a stripe of 32; the rest is folded in by 8, 4 and 1 bytes.
enum XXHash64 {
    private static let prime1: UInt64 = 0x9E37_79B1_85EB_CA87
    private static let prime2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
    private static let prime3: UInt64 = 0x1656_67B1_9E37_79F9
    private static let prime4: UInt64 = 0x85EB_CA77_C2B2_AE63
    private static let prime5: UInt64 = 0x27D4_EB2F_1656_67C5

    @inline(__always) private static func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 {
        value &<< count | value &>> (64 &- count)
    }

    @inline(__always) private static func round(_ lane: UInt64, _ input: UInt64) -> UInt64 {
        rotate(lane &+ input &* prime2, 31) &* prime1
    }

    @inline(__always) private static func merge(_ hash: UInt64, _ lane: UInt64) -> UInt64 {
        (hash ^ round(0, lane)) &* prime1 &+ prime4
    }

    static func hash(_ bytes: [UInt8]) -> UInt64 { bytes.withUnsafeBytes { hash($0) } }

    static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        guard var at = bytes.baseAddress else { return finish(prime5) }
        let end = at + bytes.count
        var hash: UInt64
        // SAFETY: every load lies between `at` and `end`, the buffer's bounds.
        if bytes.count >= 32 {
            var (a, b, c, d) = (prime1 &+ prime2, prime2, UInt64(0), 0 &- prime1)
            while end - at >= 32 {
                a = round(a, UInt64(littleEndian: at.loadUnaligned(as: UInt64.self)))
                b = round(b, UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
                c = round(c, UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 16, as: UInt64.self)))
                d = round(d, UInt64(littleEndian: at.loadUnaligned(fromByteOffset: 24, as: UInt64.self)))
                at += 32
            }
            hash = rotate(a, 1) &+ rotate(b, 7) &+ rotate(c, 12) &+ rotate(d, 18)
            for lane in [a, b, c, d] { hash = merge(hash, lane) }
        } else {
            hash = prime5
        }
        hash &+= UInt64(bytes.count)
        while end - at >= 8 {
            hash ^= round(0, UInt64(littleEndian: at.loadUnaligned(as: UInt64.self)))
            hash = rotate(hash, 27) &* prime1 &+ prime4
            at += 8
        }
        if end - at >= 4 {
            hash ^= UInt64(UInt32(littleEndian: at.loadUnaligned(as: UInt32.self))) &* prime1
            hash = rotate(hash, 23) &* prime2 &+ prime3
            at += 4
        }
        while at < end {
            hash = rotate(hash ^ UInt64(at.load(as: UInt8.self)) &* prime5, 11) &* prime1
            at += 1
        }
        return finish(hash)
    }

    private static func finish(_ value: UInt64) -> UInt64 {
        var hash = value
        hash ^= hash &>> 33
        hash &*= prime2
        hash ^= hash &>> 29
        hash &*= prime3
        return hash ^ hash &>> 32
    }
}
