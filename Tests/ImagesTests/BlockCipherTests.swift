import Foundation
import Testing

@testable import Images

/// Serpent, Twofish and CAST5 against the vectors that their authors published, and the chaining modes over them.
@Suite struct BlockCipherTests {
    private static func bytes(_ hex: String) -> [UInt8] {
        stride(from: 0, to: hex.count, by: 2).map { UInt8(hex.dropFirst($0).prefix(2), radix: 16)! }
    }

    private static func transformed(_ input: [UInt8], _ change: (UnsafeMutableRawBufferPointer) throws -> Void) throws
        -> [UInt8]
    {
        var bytes = input
        try bytes.withUnsafeMutableBytes { try change($0) }
        return bytes
    }

    // MARK: Published vectors

    /// Serpent: NESSIE (set 1, vector 0) and the submission's `ecb_vk.txt` (I=1, bytes turned round); CAST5: RFC 2144,
    /// B.1; Twofish: the paper's all-zero keys.
    static let vectors: [(CipherAlgorithm, key: String, plain: String, cipher: String)] = [
        (
            .serpent, "80000000000000000000000000000000", "00000000000000000000000000000000",
            "264e5481eff42a4606abda06c0bfda3d"
        ),
        (
            .serpent, "800000000000000000000000000000000000000000000000", "00000000000000000000000000000000",
            "9e274ead9b737bb21efcfca548602689"
        ),
        (
            .serpent, "8000000000000000000000000000000000000000000000000000000000000000",
            "00000000000000000000000000000000", "a223aa1288463c0e2be38ebd825616c0"
        ),
        (
            .serpent, "00000000000000000000000000000080", "00000000000000000000000000000000",
            "ddd26b98a5ffd82c05345a9dadbfaf49"
        ),
        (
            .serpent, "000000000000000000000000000000000000000000000080", "00000000000000000000000000000000",
            "660cf6a3f77836ac685519c702548ee7"
        ),
        (
            .serpent, "0000000000000000000000000000000000000000000000000000000000000080",
            "00000000000000000000000000000000", "1908ef821ad2ebc0cb28bf66e796edab"
        ),
        (
            .twofish, "00000000000000000000000000000000", "00000000000000000000000000000000",
            "9f589f5cf6122c32b6bfec2f2ae8c35a"
        ),
        (
            .twofish, "0123456789abcdeffedcba98765432100011223344556677", "00000000000000000000000000000000",
            "cfd1d2e5a9be9cdf501f13b892bd2248"
        ),
        (
            .twofish, "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
            "00000000000000000000000000000000", "37527be0052334b89f0cfccae87cfa20"
        ),
        (.cast5, "0123456712345678234567893456789a", "0123456789abcdef", "238b4fe5847e44b2"),
    ]

    @Test(arguments: vectors)
    func publishedVectorsHold(_ row: (CipherAlgorithm, key: String, plain: String, cipher: String)) throws {
        let cipher = try row.0.keyed(Self.bytes(row.key))
        let (plain, secret) = (Self.bytes(row.plain), Self.bytes(row.cipher))
        #expect(cipher.blockBytes == plain.count && cipher.blockBytes == row.0.blockBytes)
        #expect(try Self.transformed(plain) { try cipher.encrypt($0) } == secret)
        #expect(try Self.transformed(secret) { try cipher.decrypt($0) } == plain)
    }

    /// Twofish's table of 49 encryptions, each of whose plaintexts and keys are the ciphertexts before: the last row
    /// holds only if all do.
    @Test(arguments: [
        (16, "5d9d4eeffa9151575524f115815a12e0"), (24, "e75449212beef9f4a390bd860a640941"),
        (32, "37fe26ff1cf66175f5ddf4c33b97a205"),
    ])
    func theTwofishPapersChainHolds(keyBytes: Int, last: String) throws {
        var (key, plain) = ([UInt8](repeating: 0, count: keyBytes), [UInt8](repeating: 0, count: 16))
        for round in 1...49 {
            let cipher = Twofish(key)
            let secret = try Self.transformed(plain) { cipher.encrypt($0) }
            #expect(try Self.transformed(secret) { cipher.decrypt($0) } == plain)
            key = Array((plain + key).prefix(keyBytes))
            plain = secret
            if round == 49 { #expect(secret == Self.bytes(last)) }
        }
    }

    /// RFC 2144, B.2 makes a million rounds of this; `LABCTL_LONG_TESTS` asks for them.
    @Test(.enabled(if: CrashTests.effort > 1)) func castMaintenanceTestHolds() throws {
        var (a, b) = (
            Self.bytes("0123456712345678234567893456789a"), Self.bytes("0123456712345678234567893456789a")
        )
        for _ in 0..<1_000_000 {
            let first = CAST5(b)
            a = try Self.transformed(a) { first.encrypt($0) }
            let second = CAST5(a)
            b = try Self.transformed(b) { second.encrypt($0) }
        }
        #expect(a == Self.bytes("eea9d0a249fd3ba6b3436fb89d6dca92"))
        #expect(b == Self.bytes("b2c95eb00c31ad7180ac05b8e83d696e"))
    }

    /// The boxes as the proposal prints them; each function must compute its table for all sixteen nibbles at once.
    @Test func serpentFunctionsComputeTheTables() {
        let tables = [
            "38f1a65bed42709c", "fc27905a1be86d34", "86793cafd1e40b52", "0fb8c963d124a75e", "1f83c0b6254a9e7d",
            "f52b4a9c03e8d671", "72c5846be91fd3a0", "1df0e82b74ca9356",
        ].map { $0.map { Int(String($0), radix: 16)! } }
        let forward = [
            SerpentBoxes.s0, SerpentBoxes.s1, SerpentBoxes.s2, SerpentBoxes.s3, SerpentBoxes.s4, SerpentBoxes.s5,
            SerpentBoxes.s6, SerpentBoxes.s7,
        ]
        let inverse = [
            SerpentBoxes.inverse0, SerpentBoxes.inverse1, SerpentBoxes.inverse2, SerpentBoxes.inverse3,
            SerpentBoxes.inverse4, SerpentBoxes.inverse5, SerpentBoxes.inverse6, SerpentBoxes.inverse7,
        ]
        func lanes(_ word: UInt32) -> SerpentBoxes.Lanes { SerpentBoxes.Lanes(repeating: word) }
        // Bit n of the words spells nibble n.
        let all = SerpentBoxes.State(lanes(0xaaaa), lanes(0xcccc), lanes(0xf0f0), lanes(0xff00))
        func values(_ state: SerpentBoxes.State) -> [Int] {
            (0..<16).map { bit in
                [state.x0, state.x1, state.x2, state.x3].enumerated().reduce(0) {
                    $0 | Int($1.element.words[3] >> UInt32(bit) & 1) << $1.offset
                }
            }
        }
        for (number, table) in tables.enumerated() {
            #expect(values(forward[number](all)) == table, "S\(number)")
            #expect(values(SerpentBoxes.substitute(number, all)) == table, "S\(number)")
            let back = (0..<16).map { nibble in table.firstIndex(of: nibble)! }
            #expect(values(inverse[number](all)) == back, "inverse of S\(number)")
        }
    }

    // MARK: Many blocks

    @Test(arguments: CipherAlgorithm.allCases) func manyBlocksAreEachOnTheirOwn(_ algorithm: CipherAlgorithm) throws {
        var generator = SeededRandom(5)
        for keyBytes in algorithm.keySizes {
            let cipher = try algorithm.keyed(generator.bytes(keyBytes))
            for count in 1...9 {
                let plain = generator.bytes(count * algorithm.blockBytes)
                let secret = try Self.transformed(plain) { try cipher.encrypt($0) }
                let single = try stride(from: 0, to: plain.count, by: algorithm.blockBytes).flatMap { start in
                    try Self.transformed(Array(plain[start..<start + algorithm.blockBytes])) { try cipher.encrypt($0) }
                }
                #expect(secret == single)
                #expect(try Self.transformed(secret) { try cipher.decrypt($0) } == plain)
            }
        }
    }

    // MARK: Chaining

    private func run(
        _ input: [UInt8], inPlace: Bool,
        _ body: (UnsafeRawBufferPointer, UnsafeMutableRawBufferPointer) throws -> Void
    ) throws -> [UInt8] {
        let source = HeapBuffer(input.count)
        let target = inPlace ? source : HeapBuffer(input.count)
        source.bytes.copyBytes(from: input)
        try body(source.readable, target.bytes)
        return [UInt8](target.readable)
    }

    /// `BlockChaining` over AES must agree with libcrypto's own chaining.
    @Test(arguments: SectorCipher.Chaining.allCases) func chainingAgreesWithLibcrypto(_ chaining: SectorCipher.Chaining)
        throws
    {
        var generator = SeededRandom(9)
        for keyBytes in [16, 32] {
            let key = generator.bytes(keyBytes * (chaining == .xts ? 2 : 1))
            for vector in [SectorCipher.Vector.plain, .plain64, .essiv(key: generator.bytes(32))] {
                let library = try SectorCipher(key: key, chaining: chaining, vector: vector)
                let ours = try BlockChaining(.aes, key: key, chaining: chaining)
                let vectors = try SectorVectors(.aes, vector)
                for (sectors, first) in [(1, 0), (15, 7), (16, 1 << 32 - 3), (41, 12345)] as [(Int, UInt64)] {
                    let plain = generator.bytes(sectors * 512)
                    for encrypt in [true, false] {
                        let expected = try run(plain, inPlace: false) {
                            try library.transform($0, into: $1, firstSector: first, encrypt: encrypt)
                        }
                        for inPlace in [true, false] {
                            let got = try run(plain, inPlace: inPlace) {
                                try ours.transform(
                                    $0, into: $1, vectors: vectors, firstSector: first, encrypt: encrypt)
                            }
                            #expect(got == expected, "\(chaining) \(keyBytes) \(sectors) \(encrypt) \(inPlace)")
                        }
                    }
                }
            }
        }
    }

    /// Blocks of 8 bytes, chained step by step as SP 800-38A says.
    @Test(arguments: [SectorCipher.Chaining.ecb, .cbc, .ctr])
    func smallBlocksAreChainedAsTheStandardSays(_ chaining: SectorCipher.Chaining) throws {
        var generator = SeededRandom(11)
        let key = generator.bytes(16)
        let block = CAST5(key)
        for vector in [SectorCipher.Vector.plain, .plain64, .essiv(key: generator.bytes(16))] {
            let cipher = try SectorCipher(.cast5, key: key, chaining: chaining, vector: vector)
            let plain = generator.bytes(19 * 512)
            let first: UInt64 = 0xffff_fffa
            var expected: [UInt8] = []
            for sector in 0..<19 {
                var number = first + UInt64(sector)
                if vector == .plain { number &= 0xffff_ffff }
                var last = (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(8 * $0)) }
                if case .essiv(let key) = vector {
                    let essiv = CAST5(key)
                    last = try Self.transformed(last) { essiv.encrypt($0) }
                }
                for start in stride(from: sector * 512, to: (sector + 1) * 512, by: 8) {
                    let piece = Array(plain[start..<start + 8])
                    switch chaining {
                    case .cbc:
                        last = try Self.transformed(zip(piece, last).map { $0 ^ $1 }) { block.encrypt($0) }
                        expected += last
                    case .ctr:
                        expected += zip(piece, try Self.transformed(last) { block.encrypt($0) }).map { $0 ^ $1 }
                        for index in (0..<8).reversed() {
                            last[index] &+= 1
                            if last[index] != 0 { break }
                        }
                    default: expected += try Self.transformed(piece) { block.encrypt($0) }
                    }
                }
            }
            let secret = try run(plain, inPlace: true) {
                try cipher.transform($0, into: $1, firstSector: first, encrypt: true)
            }
            #expect(secret == expected)
            let back = try run(secret, inPlace: true) {
                try cipher.transform($0, into: $1, firstSector: first, encrypt: false)
            }
            #expect(back == plain)
        }
    }
}
