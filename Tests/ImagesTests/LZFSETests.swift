import Testing

@testable import Images

@Suite struct LZFSETests {
    typealias Triple = LZFSEWriter.Triple

    /// Decompresses between guards; nil for a stream that is refused.
    static func decompress(_ stream: [UInt8], _ count: Int) -> [UInt8]? {
        var out = [UInt8](repeating: 0xa5, count: count + 128)
        // Streams may lie anywhere, and nothing behind them may be read.
        let isGood = stream.withUnsafeBytes { input in
            out.withUnsafeMutableBytes { LZFSE.decompress(input, into: $0.part(64, count)) }
        }
        for index in 0..<64 where out[index] != 0xa5 || out[64 + count + index] != 0xa5 {
            Issue.record("byte \(index) beside the output was written")
        }
        return isGood ? Array(out[64..<64 + count]) : nil
    }

    static func check(_ writer: LZFSEWriter, sourceLocation: SourceLocation = #_sourceLocation) {
        let found = decompress(writer.finished, writer.plain.count)
        #expect(found.map { firstDifference($0, writer.plain) } == .some(nil), sourceLocation: sourceLocation)
    }

    static func hex(_ text: String) -> [UInt8] {
        let digits = text.filter { !$0.isWhitespace }
        return stride(from: 0, to: digits.count, by: 2).compactMap { at in
            UInt8(digits.dropFirst(at).prefix(2), radix: 16)
        }
    }

    static func noise(_ random: inout SeededRandom, _ count: Int) -> [UInt8] {
        // Few different bytes, so that their frequencies differ widely.
        (0..<count).map { _ in UInt8(random.next().leadingZeroBitCount) }
    }

    static func sample(packed: Bool = true) -> LZFSEWriter {
        var random = SeededRandom(901)
        var writer = LZFSEWriter()
        writer.store(noise(&random, 40))
        writer.lzvn {
            $0.small([1, 2], 5, 30)
            $0.literals([9, 8, 7, 6])
        }
        writer.block(
            [
                Triple(literals: noise(&random, 13), length: 20, distance: 3),
                Triple(literals: [], length: 40, distance: 0), Triple(literals: [4, 4], length: 0, distance: 1),
            ], packed: packed)
        return writer
    }

    /// What Apple's own writer makes of these.
    @Test func readsStreamsOfTheReferenceWriter() {
        let words = Array("one two two three three three four four four four. ".utf8)
        let short = Self.hex(
            "6276786e990000002a000000e76f6e652074776f1804e4687265653806f3e4666f75723805f598332e20f04fe120"
                + "060000000000000062767824")
        #expect(Self.decompress(short, 153) == words + words + words)
        let long = Self.hex(Self.appleBlock)
        let numbers: [UInt8] = (0..<4200).map { UInt8(($0 >> 3) * ($0 >> 9) & 7) }
        #expect(Self.decompress(long, 4200) == numbers)
    }

    @Test func readsEveryKindOfBlockInOneStream() {
        Self.check(Self.sample(packed: true))
        Self.check(Self.sample(packed: false))
        Self.check(LZFSEWriter())
        var random = SeededRandom(902)
        let disk = Self.noise(&random, 30_000) + [UInt8](repeating: 0, count: 30_000) + random.bytes(60_000)
        for kinds in LZFSEWriter.Kind.allCases.map({ [$0] }) + [LZFSEWriter.Kind.allCases] {
            let found = Self.decompress(LZFSEWriter.compress(disk, kinds: kinds), disk.count)
            #expect(found.map { firstDifference($0, disk) } == .some(nil), "\(kinds)")
        }
    }

    @Test func matchesReachBackOverAllBlocks() {
        var random = SeededRandom(903)
        for packed in [false, true] {
            var writer = LZFSEWriter()
            for _ in 0..<5 { writer.store(random.bytes(60_000)) }
            writer.block([Triple(literals: [], length: 2000, distance: 262_139)], packed: packed)
            writer.lzvn { $0.large([], 10, 65535) }
            writer.block([Triple(literals: [1], length: 3, distance: 262_139)], packed: packed)
            Self.check(writer)
        }
    }

    /// All classes of all numbers, at both of their ends.
    @Test(arguments: [false, true], [0, 8]) func readsEveryCount(packed: Bool, pad: Int) {
        var random = SeededRandom(904)
        var triples = (0..<316).map { Triple(literals: Self.noise(&random, $0 % 80), length: $0, distance: 1 + $0) }
        for (index, count) in [0, 1, 15, 16, 19, 20, 27, 28, 59, 60, 315].enumerated() {
            let length = [3, 15, 16, 23, 24, 55, 56, 311, 312, 2358, 2359][index]
            triples.append(Triple(literals: Self.noise(&random, count), length: length, distance: 0))
        }
        for bits in 0..<18 {
            for distance in [4 << bits - 5, 4 << bits - 4, 5 << bits, 6 << bits] where 1...262_139 ~= distance {
                triples.append(Triple(literals: [], length: Int.random(in: 1...9, using: &random), distance: distance))
            }
        }
        var writer = LZFSEWriter(pad: pad)
        for _ in 0..<9 { writer.store(random.bytes(30_000)) }
        writer.block(triples, packed: packed)
        Self.check(writer)
    }

    /// Matches that run into themselves, in the middle of the output and up to its last byte.
    @Test func readsMatchesOfEveryShortDistance() {
        for distance in 1...40 {
            for length in [3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 200] {
                for tail in [0, 1, 7, 15, 16, 40] {
                    var writer = LZFSEWriter()
                    writer.store((0..<40).map { UInt8($0 * 5) })
                    writer.block(
                        [
                            Triple(literals: [], length: length, distance: distance),
                            Triple(literals: [UInt8](repeating: 3, count: tail), length: 0, distance: 1),
                        ], packed: true)
                    writer.lzvn {
                        $0.small([], min(length, 10), distance)
                        $0.match(length)
                    }
                    Self.check(writer)
                }
            }
        }
    }

    @Test func readsEveryOpcode() {
        var random = SeededRandom(905)
        var writer = LZFSEWriter()
        writer.store(random.bytes(70_000))
        writer.lzvn { writer in
            for literals in 0...3 {
                let bytes = random.bytes(literals)
                for length in 3...34 {
                    if length <= 10 - 2 * literals {
                        for distance in [1, 255, 256, 1535] { writer.small(bytes, length, distance) }
                        for distance in [1, 255, 256, 65535] { writer.large(bytes, length, distance) }
                        if literals > 0 { writer.previous(bytes, length) }
                    }
                    for distance in [1, 63, 64, 16383] { writer.medium(bytes, length, distance) }
                }
            }
            for length in [1, 2, 15, 16, 17, 270, 271] {
                writer.match(length)
                writer.literals(random.bytes(length))
            }
            writer.nothing(0x0e)
            writer.nothing(0x16)
        }
        Self.check(writer)
        for count in 0...40 {
            var writer = LZFSEWriter()
            writer.lzvn { writer in
                writer.literals([7, 8])
                for _ in 0..<count { writer.previousOrSmall([1], 3) }
            }
            Self.check(writer)
        }
    }

    @Test func readsEveryFrequency() {
        for frequency in 0...1024 {
            // The literals' table: one symbol of this frequency, one of the rest.
            var writer = LZFSEWriter()
            writer.adjust = { all in
                all[3] = [UInt16](repeating: 0, count: 256)
                all[3][7] = UInt16(frequency)
                all[3][200] = UInt16(1024 - frequency)
            }
            writer.store([1])
            writer.block([Triple(literals: [], length: 1, distance: 1)], packed: true)
            Self.check(writer)
        }
    }

    private static let appleBlock = """
        627678326810000028000001003400204f245213664c00209500000022e4f002a75f01080000000800cf01000078f20f9c00
        c05a271c1f1f9f7c060000c0b30000000000000000003c1aefc40bf24e3c27efc40bf24e0000000000000000000000000000
        0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
        008028fd271d98ae5f092092c3e40500000000000000000040920093896853536dcfba7ceaea4c09a9a0f9cdd63322113831
        dff85337cf386a82ccb920e3ab74227c688aa559eba6bace9e978ab1beb29c8b4c041a99ef6cf10c0262767824
        """
}
