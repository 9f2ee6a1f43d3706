import Testing

@testable import Images

/// Streams that are cut, lie, or point where nothing is.
extension LZFSETests {
    @Test func streamsMustEndWhereTheirBytesDo() {
        for packed in [false, true] {
            let writer = Self.sample(packed: packed)
            let stream = writer.finished
            for count in 0..<stream.count {
                #expect(Self.decompress(Array(stream[..<count]), writer.plain.count) == nil)
            }
            #expect(Self.decompress(stream + [0], writer.plain.count) == nil)
            #expect(Self.decompress(stream + stream, writer.plain.count) == nil)
            for change in [-writer.plain.count, -40, -1, 1, 100] {
                #expect(Self.decompress(stream, writer.plain.count + change) == nil)
            }
        }
    }

    /// Fields of a header of 772 bytes behind a stored byte, and what they may not be.
    @Test(
        arguments: [
            ("kind", 0, [0x62, 0x76, 0x78, 0x33]), ("given less", 4, [32]), ("given more", 4, [34]),
            ("given far more", 4, [0xff, 0xff, 0xff, 0xff]), ("payloads", 8, [0xff]), ("payloads", 8, [0, 0, 0, 0x80]),
            ("literals not by four", 12, [14]), ("literals short", 12, [8]), ("literals", 12, [0x44, 0x9c]),
            ("literals", 12, [0xfc, 0xff, 0xff, 0xff]), ("triples less", 16, [1]), ("triples more", 16, [3]),
            ("triples", 16, [0x11, 0x27]), ("triples", 16, [0xff, 0xff, 0xff, 0xff]), ("literal bytes", 20, [0xff]),
            ("literal bytes", 20, [0xff, 0xff, 0xff, 0xff]), ("triple bytes", 24, [0xff]),
            ("triple bytes", 24, [0xff, 0xff, 0xff, 0xff]), ("padding", 28, [1, 0, 0, 0]),
            ("padding", 28, [0xf8, 0xff, 0xff, 0xff]), ("padding", 28, [0, 0, 0, 0x80]), ("state", 32, [0, 4]),
            ("state", 38, [0xff, 0xff]), ("padding", 40, [1, 0, 0, 0]), ("padding", 40, [0xf8, 0xff, 0xff, 0xff]),
            ("count state", 44, [64]), ("length state", 46, [64]), ("distance state", 48, [0, 1]),
            ("count frequency", 50, [9]), ("length frequency", 90, [9]), ("distance frequency", 130, [9]),
            ("literal frequency", 258, [9]), ("literal frequency", 768, [0xff, 0xff]),
        ] as [(String, Int, [UInt8])]) func plainHeadersAreBounded(field: String, offset: Int, bytes: [UInt8])
    {
        var writer = LZFSEWriter()
        writer.store([5])
        writer.block(
            [
                Triple(literals: [1, 2, 3, 4, 5, 6, 7, 8], length: 9, distance: 2),
                Triple(literals: [9, 9, 9, 9], length: 12, distance: 3),
            ], packed: false)
        Self.check(writer)
        var stream = writer.finished
        #expect(stream[9..<13].elementsEqual("bvx1".utf8))
        stream.overwrite(9 + offset, with: bytes)
        #expect(Self.decompress(stream, writer.plain.count) == nil, "\(field)")
    }

    /// Fields of a packed header, by bit.
    @Test(
        arguments: [
            ("literals", 8 * 8, 20, 8), ("literals", 8 * 8, 20, 40_004), ("literal bytes", 8 * 8 + 20, 20, 0xfffff),
            ("literal bytes", 8 * 8 + 20, 20, 0), ("triples", 8 * 8 + 40, 20, 10_001), ("triples", 8 * 8 + 40, 20, 1),
            ("triple bytes", 16 * 8 + 40, 20, 0xfffff), ("triple bytes", 16 * 8 + 40, 20, 0),
            ("header", 24 * 8, 32, 0), ("header", 24 * 8, 32, 31), ("header", 24 * 8, 32, 32),
            ("header", 24 * 8, 32, 33), ("header", 24 * 8, 32, 0xffff_ffff), ("count state", 24 * 8 + 32, 10, 64),
            ("length state", 24 * 8 + 42, 10, 64), ("distance state", 24 * 8 + 52, 10, 256),
            ("frequency", 32 * 8, 2, 3),
        ] as [(String, Int, Int, UInt64)]) func packedHeadersAreBounded(
            field: String, at: Int, width: Int, value: UInt64
        )
    {
        var writer = LZFSEWriter()
        writer.store([5])
        writer.block(
            [
                Triple(literals: [1, 2, 3, 4, 5, 6, 7, 8], length: 9, distance: 2),
                Triple(literals: [9, 9, 9, 9], length: 12, distance: 3),
            ], packed: true)
        Self.check(writer)
        var stream = writer.finished
        for bit in 0..<width {
            let place = 9 * 8 + at + bit
            stream[place / 8] &= ~(1 << UInt8(place % 8))
            stream[place / 8] |= UInt8(value >> UInt64(bit) & 1) << UInt8(place % 8)
        }
        #expect(Self.decompress(stream, writer.plain.count) == nil, "\(field)")
    }

    @Test(arguments: [false, true], 0..<4) func frequenciesMustAddUp(packed: Bool, table: Int) {
        for change in [-1, 1] {
            var writer = LZFSEWriter()
            writer.adjust = { all in
                let largest = all[table].indices.max { all[table][$0] < all[table][$1] } ?? 0
                all[table][largest] = UInt16(Int(all[table][largest]) + change)
            }
            writer.block([Triple(literals: [1, 2, 3, 4], length: 9, distance: 2)], packed: packed)
            #expect(Self.decompress(writer.finished, writer.plain.count) == nil)
        }
    }

    @Test(arguments: [false, true]) func blocksGiveWhatTheySay(packed: Bool) {
        let triples = [Triple(literals: [1, 2, 3, 4], length: 9, distance: 2)]
        for given in [0, 4, 12, 13, 14] {
            var writer = LZFSEWriter()
            writer.encode(triples, packed: packed, given: given)
            #expect((Self.decompress(writer.finished, given) != nil) == (given == 13))
            // What is missing must not come from another block.
            writer.store([1])
            #expect((Self.decompress(writer.finished, 14) != nil) == (given == 13))
        }
        let payload: [UInt8] = [0xe3, 1, 2, 3, 6, 0, 0, 0, 0, 0, 0, 0]
        for given in [2, 3, 4] {
            var stream = Self.lzvn(payload, given: given)
            stream.insert(contentsOf: Array("bvx-".utf8) + [1, 0, 0, 0, 9], at: stream.count - 4)
            #expect((Self.decompress(stream, 4) != nil) == (given == 3))
        }
    }

    @Test(arguments: [false, true]) func blocksHoldNoMoreThanTheyGive(packed: Bool) {
        func isRead(_ triples: [Triple], given: Int, spare: Int = 0) -> Bool {
            var writer = LZFSEWriter(spare: spare)
            writer.store([5])
            writer.encode(triples, packed: packed, given: given)
            return Self.decompress(writer.finished, 1 + given) != nil
        }
        let none = Triple(literals: [], length: 0, distance: 1), one = Triple(literals: [], length: 1, distance: 1)
        #expect(isRead([none, one, one], given: 2) == false)
        #expect(isRead([none, one, Triple(literals: [], length: 2, distance: 1)], given: 3))
        #expect(isRead([Triple(literals: [1, 2, 3, 4, 5], length: 0, distance: 1)], given: 5, spare: 3))
        #expect(isRead([Triple(literals: [1, 2, 3, 4, 5], length: 0, distance: 1)], given: 5, spare: 7) == false)
        for count in [10_000, 10_001] {
            #expect(isRead([Triple](repeating: one, count: count), given: count) == (count == 10_000))
        }
        for count in [40_000, 40_004] {
            let triples = stride(from: 0, to: count, by: 300).map { start in
                Triple(literals: [UInt8](repeating: 7, count: min(300, count - start)), length: 0, distance: 1)
            }
            #expect(isRead(triples, given: count) == (count == 40_000))
        }
        // 12 literals, of which 9 are used.
        var writer = LZFSEWriter()
        writer.block([Triple(literals: [1, 2, 3, 4, 5, 6, 7, 8, 9], length: 0, distance: 1)], packed: packed)
        var stream = writer.finished
        let field = packed ? 8 : 12
        #expect(stream[field] == 12)
        Self.check(writer)
        for count: UInt8 in 9...11 {
            stream[field] = count
            #expect(Self.decompress(stream, 9) == nil)
        }
    }

    /// In front of the payloads stand zeros, which would do as well as what is missing.
    @Test func bitsComeFromTheirPayloadOnly() {
        let triples = [Triple](repeating: Triple(literals: [0], length: 16, distance: 1), count: 8)
        for trim in 0...3 {
            var writer = LZFSEWriter(pad: 0, trim: (0, trim))
            writer.encode(triples, packed: false, given: 136)
            #expect(writer.bytes.count == 772 + 3 - trim)
            #expect((Self.decompress(writer.finished, 136) != nil) == (trim == 0))
        }
        for trim in 0...4 {
            var writer = LZFSEWriter(trim: (trim, 0))
            writer.literalFrequencies = [UInt16](repeating: 4, count: 256)
            writer.encode([Triple(literals: [0, 0, 0, 0], length: 1, distance: 1)], packed: false, given: 5)
            #expect(writer.bytes.count == 772 + 4 - trim + 8)
            #expect((Self.decompress(writer.finished, 5) != nil) == (trim == 0))
        }
    }

    @Test func unusedBitsAreZero() {
        for (count, bits) in [(1, 3), (2, 6), (3, 1), (5, 7)] {
            var writer = LZFSEWriter()
            let triples = [Triple](repeating: Triple(literals: [0], length: 16, distance: 1), count: count)
            writer.block(triples, packed: true)
            Self.check(writer)
            for bit in bits..<8 {
                var stream = writer.finished
                stream[stream.count - 5] |= 1 << UInt8(bit)
                #expect(Self.decompress(stream, writer.plain.count) == nil)
            }
        }
    }

    @Test func packedHeadersEndWithTheirLastFrequency() {
        var writer = LZFSEWriter()
        writer.block([Triple(literals: [1, 2, 3, 4], length: 9, distance: 2)], packed: true)
        let good = writer.finished
        let bytes = Int(good.le32(24))
        for more in 0...3 {
            var stream = good
            stream.insert(contentsOf: [UInt8](repeating: 0, count: more), at: bytes)
            stream[24] += UInt8(more)
            #expect((Self.decompress(stream, writer.plain.count) != nil) == (more == 0))
        }
    }

    @Test(arguments: [false, true]) func matchesStayWithinWhatIsWritten(packed: Bool) {
        for (distance, isGood) in [(0, false), (1, true), (5, true), (6, false), (262_139, false)] {
            var writer = LZFSEWriter()
            writer.store([7, 7, 7])
            writer.encode([Triple(literals: [1, 2], length: 4, distance: distance)], packed: packed, given: 6)
            #expect((Self.decompress(writer.finished, 9) != nil) == isGood, "\(distance)")
        }
    }

    /// Opcodes behind three literals, and how many bytes they would give.
    @Test(
        arguments: [
            ("no distance before", "f4", 4), ("no distance before", "4601", 4), ("none before", "f000", 16),
            ("zero", "0000", 3), ("zero", "070000", 3), ("zero", "a00000", 3), ("far", "0004", 3),
            ("far", "070400", 3), ("far", "07ffff", 3), ("far", "a01000", 3), ("far", "410504", 4),
            ("more than given", "3801", 9), ("more than given", "e20102", 1), ("less than given", "0001", 4),
            ("literals beyond", "ef00", 15), ("literals beyond", "e0ff", 271), ("literals beyond", "c0", 6),
        ] as [(String, String, Int)]) func opcodesAreBounded(what: String, code: String, count: Int)
    {
        let payload = [0xe3, 1, 2, 3] + Self.hex(code) + [6, 0, 0, 0, 0, 0, 0, 0]
        #expect(Self.decompress(Self.lzvn(payload, given: 3 + count), 3 + count) == nil, "\(what)")
    }

    private static func lzvn(_ payload: [UInt8], given: Int) -> [UInt8] {
        var stream = Array("bvxn".utf8)
        stream.putLE(UInt32(given))
        stream.putLE(UInt32(payload.count))
        return stream + payload + Array("bvx$".utf8)
    }

    @Test func undefinedOpcodesAreRefused() {
        let undefined: [ClosedRange<Int>] = [0x70...0x7f, 0xd0...0xdf]
        let single = [0x1e, 0x26, 0x2e, 0x36, 0x3e]
        // Whatever follows them, and however much they would give.
        let end: [UInt8] = [6, 0, 0, 0, 0, 0, 0, 0]
        for code in single + undefined.flatMap(Array.init) {
            for (count, given) in (0...5).flatMap({ count in (3...16).map { (count, $0) } }) {
                let payload = [0xe3, 1, 2, 3, UInt8(code)] + [1, 0, 1, 1, 1].prefix(count) + end
                #expect(Self.decompress(Self.lzvn(payload, given: given), given) == nil)
            }
        }
        // The end must be the last opcode, and whole.
        #expect(Self.decompress(Self.lzvn([0xe1, 9] + end, given: 1), 1) == [9])
        let good: [UInt8] = [0xe1, 9] + end
        let bad: [[UInt8]] = [good + end, good.dropLast(), good + [0], [], [6]]
        for payload in bad {
            #expect(Self.decompress(Self.lzvn(payload, given: 1), 1) == nil)
        }
    }

    @Test func damageEndsInARefusalOrInAsManyBytes() {
        var random = SeededRandom(906)
        let disk = Self.noise(&random, 3000) + [UInt8](repeating: 0, count: 1000) + Self.noise(&random, 1000)
        for kind in LZFSEWriter.Kind.allCases {
            let good = LZFSEWriter.compress(disk, kinds: [kind, .packedHeader], step: 2500)
            for round in 0..<1500 {
                var stream = good
                for _ in 0..<Int.random(in: 1...3, using: &random) {
                    let reach = round % 2 == 0 ? min(stream.count, 150) : stream.count
                    stream[Int.random(in: 0..<reach, using: &random)] = UInt8(truncatingIfNeeded: random.next())
                }
                if round % 7 == 0 { stream.removeLast(Int.random(in: 0..<stream.count, using: &random)) }
                _ = Self.decompress(stream, disk.count)
            }
        }
    }
}
