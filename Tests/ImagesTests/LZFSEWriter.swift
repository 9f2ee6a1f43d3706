@testable import Images

/// Writes LZFSE streams of chosen blocks, and knows what they stand for.
struct LZFSEWriter {
    /// Literals, then `length` bytes from `distance` back; zero for the distance before.
    struct Triple {
        var literals: [UInt8]
        var length: Int
        var distance: Int
    }

    enum Kind: CaseIterable { case stored, lzvn, plainHeader, packedHeader }

    /// The stream so far, without its end.
    private(set) var bytes: [UInt8] = []
    /// What it decompresses to.
    private(set) var plain: [UInt8] = []
    /// Zero bytes in front of the triples' bits; Apple's writer has eight.
    var pad = 8
    /// Literals that no triple takes.
    var spare = 0
    /// Bytes taken from the front of both payloads.
    var trim = (literals: 0, triples: 0)
    /// Frequencies of literals, others than those that occur.
    var literalFrequencies: [UInt16]?
    /// Changes the frequencies of literal counts, match lengths, distances and literals that the header states.
    var adjust: (inout [[UInt16]]) -> Void = { _ in }

    var finished: [UInt8] { bytes + Array("bvx$".utf8) }

    mutating func copy(_ length: Int, _ distance: Int) {
        for _ in 0..<length { plain.append(plain[plain.count - distance]) }
    }

    mutating func store(_ block: [UInt8]) {
        bytes += Array("bvx-".utf8)
        bytes.putLE(UInt32(block.count))
        bytes += block
        plain += block
    }

    /// A block of the opcodes that `body` writes, and their end.
    mutating func lzvn(_ body: (inout LZVNWriter) -> Void) {
        var writer = LZVNWriter(plain: plain)
        body(&writer)
        let payload = writer.bytes + [6, 0, 0, 0, 0, 0, 0, 0]
        bytes += Array("bvxn".utf8)
        bytes.putLE(UInt32(writer.plain.count - plain.count))
        bytes.putLE(UInt32(payload.count))
        bytes += payload
        plain = writer.plain
    }

    /// A block of triples, behind a packed or a plain header.
    mutating func block(_ triples: [Triple], packed: Bool) {
        let start = plain.count
        var previous = 0
        for triple in triples {
            plain += triple.literals
            if triple.distance > 0 { previous = triple.distance }
            if triple.length > 0 { copy(triple.length, previous) }
        }
        encode(triples, packed: packed, given: plain.count - start)
    }

    /// The same for triples that nobody can follow.
    mutating func encode(_ triples: [Triple], packed: Bool, given: Int) {
        var literals = triples.flatMap(\.literals) + [UInt8](repeating: 0, count: spare)
        while literals.count % 4 != 0 { literals.append(literals.last ?? 0) }
        let counts = FSEWriter.classes(16, [2, 3, 5, 8]), lengths = FSEWriter.classes(16, [3, 5, 8, 11])
        let distances = FSEWriter.classes(0, (0..<64).map { $0 / 4 })
        let numbers = [
            triples.map { counts.split($0.literals.count) }, triples.map { lengths.split($0.length) },
            triples.map { distances.split($0.distance) },
        ]
        var frequencies = [
            FSEWriter.frequencies(numbers[0].map(\.symbol), of: 20, order: 6),
            FSEWriter.frequencies(numbers[1].map(\.symbol), of: 20, order: 6),
            FSEWriter.frequencies(numbers[2].map(\.symbol), of: 64, order: 8),
            literalFrequencies ?? FSEWriter.frequencies(literals.map(Int.init), of: 256, order: 10),
        ]
        let encoders = zip(frequencies, [6, 6, 8, 10]).map { FSEWriter(frequencies: $0, order: $1) }
        adjust(&frequencies)

        var literalBits = BitWriter()
        var literalStates = [0, 0, 0, 0]
        for index in literals.indices.reversed() {
            encoders[3].write(Int(literals[index]), &literalStates[index % 4], to: &literalBits)
        }
        var bits = BitWriter()
        for _ in 0..<pad { bits.append(0, 8) }
        var states = [0, 0, 0]
        for index in triples.indices.reversed() {
            for part in [2, 1, 0] {
                let number = numbers[part][index]
                bits.append(UInt64(number.extra), number.extraBits)
                encoders[part].write(number.symbol, &states[part], to: &bits)
            }
        }
        literalBits.dropFirst(trim.literals)
        bits.dropFirst(trim.triples)
        let header =
            packed
            ? packedHeader(given, literals.count, triples.count, literalBits, bits, literalStates, states, frequencies)
            : plainHeader(given, literals.count, triples.count, literalBits, bits, literalStates, states, frequencies)
        bytes += header + literalBits.bytes + bits.bytes
    }

    private func plainHeader(
        _ given: Int, _ literals: Int, _ triples: Int, _ literalBits: BitWriter, _ bits: BitWriter,
        _ literalStates: [Int], _ states: [Int], _ frequencies: [[UInt16]]
    ) -> [UInt8] {
        var out = Array("bvx1".utf8)
        let payloads = [literalBits.bytes.count, bits.bytes.count]
        for value in [given, payloads[0] + payloads[1], literals, triples] + payloads { out.putLE(UInt32(value)) }
        out.putLE(Int32(-literalBits.padding))
        for state in literalStates { out.putLE(UInt16(state)) }
        out.putLE(Int32(-bits.padding))
        for state in states { out.putLE(UInt16(state)) }
        for frequency in frequencies.joined() { out.putLE(frequency) }
        return out + [0, 0]
    }

    private func packedHeader(
        _ given: Int, _ literals: Int, _ triples: Int, _ literalBits: BitWriter, _ bits: BitWriter,
        _ literalStates: [Int], _ states: [Int], _ frequencies: [[UInt16]]
    ) -> [UInt8] {
        var packed = BitWriter()
        for frequency in frequencies.joined().map(UInt64.init) {
            switch frequency {
            case 0: packed.append(0b00, 2)
            case 1: packed.append(0b10, 2)
            case 2: packed.append(0b001, 3)
            case 3: packed.append(0b101, 3)
            case 4...7: packed.append((frequency - 4) << 3 | 0b011, 5)
            case 8...23: packed.append((frequency - 8) << 4 | 0b0111, 8)
            default: packed.append((frequency - 24) << 4 | 0b1111, 14)
            }
        }
        var out = Array("bvx2".utf8)
        out.putLE(UInt32(given))
        func word(_ fields: [(value: Int, shift: Int)]) -> UInt64 {
            fields.reduce(0) { $0 | UInt64($1.value) << UInt64($1.shift) }
        }
        out.putLE(
            word([(literals, 0), (literalBits.bytes.count, 20), (triples, 40), (7 - literalBits.padding, 60)]))
        let four = literalStates.enumerated().map { ($1, $0 * 10) }
        out.putLE(word(four + [(bits.bytes.count, 40), (7 - bits.padding, 60)]))
        out.putLE(word([(32 + packed.bytes.count, 0)] + states.enumerated().map { ($1, 32 + $0 * 10) }))
        return out + packed.bytes
    }

    /// Blocks of the given kinds in turn, `step` bytes each.
    static func compress(_ input: [UInt8], kinds: [Kind] = Kind.allCases, step: Int = 20000) -> [UInt8] {
        var writer = LZFSEWriter()
        for (number, start) in stride(from: 0, to: input.count, by: step).enumerated() {
            let end = min(start + step, input.count)
            let part = Array(input[start..<end])
            switch kinds[number % kinds.count] {
            case .stored: writer.store(part)
            case .lzvn:
                writer.lzvn { writer in
                    for triple in matches(part, literals: 271, length: 271, distance: 65535) {
                        writer.literals(triple.literals)
                        if triple.length > 0 { writer.large([], max(3, min(10, triple.length)), triple.distance) }
                        if triple.length > 10 { writer.match(triple.length - 10) }
                    }
                }
            case .plainHeader, .packedHeader:
                writer.block(
                    matches(part, literals: 315, length: 2359, distance: 262139),
                    packed: kinds[number % kinds.count] == .packedHeader)
            }
        }
        return writer.finished
    }

    /// A greedy search; matches are four bytes long or more.
    private static func matches(_ input: [UInt8], literals: Int, length: Int, distance: Int) -> [Triple] {
        var out: [Triple] = []
        var plain: [UInt8] = []
        var last: [UInt32: Int] = [:]
        var at = 0
        while at < input.count {
            var run = 0
            if at + 4 <= input.count {
                let key = input.le32(at)
                if let found = last[key], at - found <= distance {
                    while run < length, at + run < input.count, input[found + run] == input[at + run] { run += 1 }
                    out.append(Triple(literals: plain, length: run, distance: at - found))
                    plain = []
                }
                last[key] = at
            }
            if run == 0 { plain.append(input[at]) }
            if plain.count == literals {
                out.append(Triple(literals: plain, length: 0, distance: 1))
                plain = []
            }
            at += max(run, 1)
        }
        return plain.isEmpty ? out : out + [Triple(literals: plain, length: 0, distance: 1)]
    }
}

/// Bits from the lowest of the first byte on.
struct BitWriter {
    private(set) var bytes: [UInt8] = []
    private var count = 0

    /// Unused bits of the last byte.
    var padding: Int { bytes.count * 8 - count }

    mutating func dropFirst(_ number: Int) {
        bytes.removeFirst(number)
        count -= number * 8
    }

    mutating func append(_ value: UInt64, _ width: Int) {
        for bit in 0..<width {
            if count % 8 == 0 { bytes.append(0) }
            bytes[count / 8] |= UInt8(value >> UInt64(bit) & 1) << UInt8(count % 8)
            count += 1
        }
    }
}

/// Encodes symbols of one table, last first.
struct FSEWriter {
    private let frequencies: [UInt16]
    private let starts: [Int]
    private let order: Int

    init(frequencies: [UInt16], order: Int) {
        self.frequencies = frequencies
        self.order = order
        var next = 0
        starts = frequencies.map { frequency in
            defer { next += Int(frequency) }
            return next
        }
    }

    /// The state in which the decoder gives `symbol` and goes on to `state`.
    func write(_ symbol: Int, _ state: inout Int, to bits: inout BitWriter) {
        let frequency = Int(frequencies[symbol])
        var value = state + 1 << order
        var width = 0
        while value >= 2 * frequency {
            value >>= 1
            width += 1
        }
        bits.append(UInt64(state & (1 << width - 1)), width)
        state = starts[symbol] + value - frequency
    }

    /// Frequencies that add up to 2^`order`, none of them zero for a symbol that occurs.
    static func frequencies(_ symbols: [Int], of count: Int, order: Int) -> [UInt16] {
        var totals = [Int](repeating: 0, count: count)
        for symbol in symbols { totals[symbol] += 1 }
        var out = totals.map { $0 == 0 ? 0 : max(1, $0 << order / symbols.count) }
        var surplus = out.reduce(0, +) - 1 << order
        if surplus < 0 { out[totals.indices.max { totals[$0] < totals[$1] } ?? 0] -= surplus }
        while surplus > 0 {
            let largest = out.indices.max { out[$0] < out[$1] } ?? 0
            out[largest] -= 1
            surplus -= 1
        }
        return out.map(UInt16.init)
    }

    struct Classes {
        var first: [Int]
        var bits: [Int]

        func split(_ value: Int) -> (symbol: Int, extra: Int, extraBits: Int) {
            let symbol = first.lastIndex { $0 <= value } ?? 0
            return (symbol, value - first[symbol], bits[symbol])
        }
    }

    /// `plain` numbers that stand for themselves, then classes of so many bits.
    static func classes(_ plain: Int, _ bits: [Int]) -> Classes {
        let all = [Int](repeating: 0, count: plain) + bits
        return Classes(first: all.indices.map { all[..<$0].reduce(0) { $0 + 1 << $1 } }, bits: all)
    }
}
