/// AES, carry-less multiplication and SHA on XMM registers (FIPS 197; FIPS 180-4; SDM vol. 2).
enum AES {
    /// Bytes of the state stand in memory order: byte n is row n % 4 of column n / 4.
    private static let substitution: InlineArray<256, UInt8> = [
        0x63, 0x7C, 0x77, 0x7B, 0xF2, 0x6B, 0x6F, 0xC5, 0x30, 0x01, 0x67, 0x2B, 0xFE, 0xD7, 0xAB, 0x76,
        0xCA, 0x82, 0xC9, 0x7D, 0xFA, 0x59, 0x47, 0xF0, 0xAD, 0xD4, 0xA2, 0xAF, 0x9C, 0xA4, 0x72, 0xC0,
        0xB7, 0xFD, 0x93, 0x26, 0x36, 0x3F, 0xF7, 0xCC, 0x34, 0xA5, 0xE5, 0xF1, 0x71, 0xD8, 0x31, 0x15,
        0x04, 0xC7, 0x23, 0xC3, 0x18, 0x96, 0x05, 0x9A, 0x07, 0x12, 0x80, 0xE2, 0xEB, 0x27, 0xB2, 0x75,
        0x09, 0x83, 0x2C, 0x1A, 0x1B, 0x6E, 0x5A, 0xA0, 0x52, 0x3B, 0xD6, 0xB3, 0x29, 0xE3, 0x2F, 0x84,
        0x53, 0xD1, 0x00, 0xED, 0x20, 0xFC, 0xB1, 0x5B, 0x6A, 0xCB, 0xBE, 0x39, 0x4A, 0x4C, 0x58, 0xCF,
        0xD0, 0xEF, 0xAA, 0xFB, 0x43, 0x4D, 0x33, 0x85, 0x45, 0xF9, 0x02, 0x7F, 0x50, 0x3C, 0x9F, 0xA8,
        0x51, 0xA3, 0x40, 0x8F, 0x92, 0x9D, 0x38, 0xF5, 0xBC, 0xB6, 0xDA, 0x21, 0x10, 0xFF, 0xF3, 0xD2,
        0xCD, 0x0C, 0x13, 0xEC, 0x5F, 0x97, 0x44, 0x17, 0xC4, 0xA7, 0x7E, 0x3D, 0x64, 0x5D, 0x19, 0x73,
        0x60, 0x81, 0x4F, 0xDC, 0x22, 0x2A, 0x90, 0x88, 0x46, 0xEE, 0xB8, 0x14, 0xDE, 0x5E, 0x0B, 0xDB,
        0xE0, 0x32, 0x3A, 0x0A, 0x49, 0x06, 0x24, 0x5C, 0xC2, 0xD3, 0xAC, 0x62, 0x91, 0x95, 0xE4, 0x79,
        0xE7, 0xC8, 0x37, 0x6D, 0x8D, 0xD5, 0x4E, 0xA9, 0x6C, 0x56, 0xF4, 0xEA, 0x65, 0x7A, 0xAE, 0x08,
        0xBA, 0x78, 0x25, 0x2E, 0x1C, 0xA6, 0xB4, 0xC6, 0xE8, 0xDD, 0x74, 0x1F, 0x4B, 0xBD, 0x8B, 0x8A,
        0x70, 0x3E, 0xB5, 0x66, 0x48, 0x03, 0xF6, 0x0E, 0x61, 0x35, 0x57, 0xB9, 0x86, 0xC1, 0x1D, 0x9E,
        0xE1, 0xF8, 0x98, 0x11, 0x69, 0xD9, 0x8E, 0x94, 0x9B, 0x1E, 0x87, 0xE9, 0xCE, 0x55, 0x28, 0xDF,
        0x8C, 0xA1, 0x89, 0x0D, 0xBF, 0xE6, 0x42, 0x68, 0x41, 0x99, 0x2D, 0x0F, 0xB0, 0x54, 0xBB, 0x16,
    ]
    private static let inverse: InlineArray<256, UInt8> = {
        var table = InlineArray<256, UInt8>(repeating: 0)
        for i in 0..<256 { table[Int(substitution[i])] = UInt8(i) }
        return table
    }()

    /// Multiplication by x in GF(2⁸).
    @inline(__always) private static func double(_ a: UInt8) -> UInt8 { a << 1 ^ (a & 0x80 != 0 ? 0x1B : 0) }

    private static func multiply(_ a: UInt8, _ b: UInt8) -> UInt8 {
        var (result, power, rest): (UInt8, UInt8, UInt8) = (0, a, b)
        while rest != 0 {
            if rest & 1 != 0 { result ^= power }
            power = double(power)
            rest >>= 1
        }
        return result
    }

    /// ShiftRows and SubBytes, which may come in either order; backwards the inverse of both.
    static func shiftAndSubstitute(_ state: V128, backwards: Bool) -> V128 {
        let old = state.u8
        var new = old
        for i in 0..<16 {
            let row = i & 3, column = i >> 2
            let from = ((backwards ? column - row + 4 : column + row) & 3) * 4 + row
            new[i] = backwards ? inverse[Int(old[from])] : substitution[Int(old[from])]
        }
        return V128(new)
    }

    /// MixColumns, or its inverse.
    static func mix(_ state: V128, backwards: Bool) -> V128 {
        let old = state.u8
        var new = old
        // Coefficients of the polynomial, for row 0.
        let c: InlineArray<4, UInt8> = backwards ? [14, 11, 13, 9] : [2, 3, 1, 1]
        for column in 0..<4 {
            for row in 0..<4 {
                var sum: UInt8 = 0
                for i in 0..<4 { sum ^= multiply(old[column * 4 + i], c[(i - row) & 3]) }
                new[column * 4 + row] = sum
            }
        }
        return V128(new)
    }

    private static func substitute(_ word: UInt32) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(substitution[Int(word >> UInt32(8 * $1) & 0xFF)]) << UInt32(8 * $1) }
    }

    /// AESKEYGENASSIST.
    static func keyAssist(_ source: V128, _ constant: UInt8) -> V128 {
        let words = source.u32
        let (a, b) = (substitute(words[1]), substitute(words[3]))
        func rotated(_ word: UInt32) -> UInt32 { word >> 8 | word << 24 }
        return V128(SIMD4<UInt32>(a, rotated(a) ^ UInt32(constant), b, rotated(b) ^ UInt32(constant)))
    }
}

enum CarryLess {
    /// The 128-bit product of two polynomials over GF(2).
    static func multiply(_ a: UInt64, _ b: UInt64) -> V128 {
        var low: UInt64 = 0, high: UInt64 = 0
        for i in 0..<64 where b >> UInt64(i) & 1 != 0 {
            low ^= a << UInt64(i)
            if i > 0 { high ^= a >> UInt64(64 - i) }
        }
        return V128(low: low, high: high)
    }
}

/// The SHA extensions hold state words from the top of a register downwards.
enum SHA {
    @inline(__always) private static func left(_ x: UInt32, _ n: UInt32) -> UInt32 { x << n | x >> (32 - n) }
    @inline(__always) private static func right(_ x: UInt32, _ n: UInt32) -> UInt32 { x >> n | x << (32 - n) }

    // MARK: SHA-1

    /// Four rounds with the function and constant that `kind` selects.
    static func rounds1(_ state: V128, _ words: V128, _ kind: UInt8) -> V128 {
        let old = state.u32
        var (a, b, c, d) = (old[3], old[2], old[1], old[0])
        // E is part of the first word already.
        var e: UInt32 = 0
        let constants: InlineArray<4, UInt32> = [0x5A82_7999, 0x6ED9_EBA1, 0x8F1B_BCDC, 0xCA62_C1D6]
        for i in 0..<4 {
            let f: UInt32
            switch kind & 3 {
            case 0: f = b & c ^ ~b & d
            case 2: f = b & c ^ b & d ^ c & d
            default: f = b ^ c ^ d
            }
            let next = f &+ left(a, 5) &+ words.u32[3 - i] &+ e &+ constants[Int(kind & 3)]
            (a, b, c, d, e) = (next, a, left(b, 30), c, d)
        }
        return V128(SIMD4<UInt32>(d, c, b, a))
    }

    static func nextE(_ state: V128, _ words: V128) -> V128 {
        var result = words.u32
        result[3] = result[3] &+ left(state.u32[3], 30)
        return V128(result)
    }

    static func message1First(_ a: V128, _ b: V128) -> V128 {
        let (x, y) = (a.u32, b.u32)
        return V128(SIMD4<UInt32>(x[0] ^ y[2], x[1] ^ y[3], x[2] ^ x[0], x[3] ^ x[1]))
    }

    static func message1Second(_ a: V128, _ b: V128) -> V128 {
        let (x, y) = (a.u32, b.u32)
        let w16 = left(x[3] ^ y[2], 1), w17 = left(x[2] ^ y[1], 1), w18 = left(x[1] ^ y[0], 1)
        return V128(SIMD4<UInt32>(left(x[0] ^ w16, 1), w18, w17, w16))
    }

    // MARK: SHA-256

    /// Two rounds; `keys` holds message words plus constants in its low half.
    static func rounds256(_ cdgh: V128, _ abef: V128, keys: V128) -> V128 {
        let (x, y) = (cdgh.u32, abef.u32)
        var (a, b, c, d) = (y[3], y[2], x[3], x[2])
        var (e, f, g, h) = (y[1], y[0], x[1], x[0])
        for i in 0..<2 {
            let choose = e & f ^ ~e & g
            let majority = a & b ^ a & c ^ b & c
            let first = choose &+ (right(e, 6) ^ right(e, 11) ^ right(e, 25)) &+ keys.u32[i] &+ h
            let second = majority &+ (right(a, 2) ^ right(a, 13) ^ right(a, 22))
            (a, b, c, d, e, f, g, h) = (first &+ second, a, b, c, first &+ d, e, f, g)
        }
        return V128(SIMD4<UInt32>(f, e, b, a))
    }

    static func message256First(_ a: V128, _ b: V128) -> V128 {
        let (x, y) = (a.u32, b.u32)
        func sigma(_ w: UInt32) -> UInt32 { right(w, 7) ^ right(w, 18) ^ w >> 3 }
        return V128(
            SIMD4<UInt32>(x[0] &+ sigma(x[1]), x[1] &+ sigma(x[2]), x[2] &+ sigma(x[3]), x[3] &+ sigma(y[0])))
    }

    static func message256Second(_ a: V128, _ b: V128) -> V128 {
        let (x, y) = (a.u32, b.u32)
        func sigma(_ w: UInt32) -> UInt32 { right(w, 17) ^ right(w, 19) ^ w >> 10 }
        let w16 = x[0] &+ sigma(y[2]), w17 = x[1] &+ sigma(y[3])
        return V128(SIMD4<UInt32>(w16, w17, x[2] &+ sigma(w16), x[3] &+ sigma(w17)))
    }
}
