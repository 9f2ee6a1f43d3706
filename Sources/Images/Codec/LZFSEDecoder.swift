/// Decodes LZFSE blocks: first all literals, by four decoders that take turns over one table, then triples of a count
/// of literals, a match length and a distance, zero standing for the distance before.
struct LZFSEDecoder: ~Copyable {
    private static let literalCounts = FSE.Classes([UInt8](repeating: 0, count: 16) + [2, 3, 5, 8])
    private static let matchLengths = FSE.Classes([UInt8](repeating: 0, count: 16) + [3, 5, 8, 11])
    private static let distances = FSE.Classes((0..<64).map { UInt8($0 / 4) })
    /// Literals of a block, and what wide copies read beyond them.
    private static let literalRoom = 40000 + LZWindow.slack

    private let frequencies = UnsafeMutableBufferPointer<UInt16>.allocate(capacity: LZFSEHeader.frequencyStarts[4])
    private let literalTable = UnsafeMutablePointer<FSE.ByteState>.allocate(capacity: 1 << LZFSEHeader.orders[3])
    private let countTable = UnsafeMutablePointer<FSE.NumberState>.allocate(capacity: 1 << LZFSEHeader.orders[0])
    private let lengthTable = UnsafeMutablePointer<FSE.NumberState>.allocate(capacity: 1 << LZFSEHeader.orders[1])
    private let distanceTable = UnsafeMutablePointer<FSE.NumberState>.allocate(capacity: 1 << LZFSEHeader.orders[2])
    private let literals = UnsafeMutableRawPointer.allocate(byteCount: literalRoom, alignment: 64)

    init() { frequencies.initialize(repeating: 0) }

    deinit {
        frequencies.deallocate()
        literalTable.deallocate()
        countTable.deallocate()
        lengthTable.deallocate()
        distanceTable.deallocate()
        literals.deallocate()
    }

    /// Reads a header with plain fields, and its frequencies; nil where `input` is too short or fields contradict.
    borrowing func readPlainHeader(_ input: UnsafeRawBufferPointer) -> LZFSEHeader? {
        guard input.count >= LZFSEHeader.plainBytes, let base = input.baseAddress else { return nil }
        func field(_ offset: Int) -> Int { Int(base.le32(offset)) }
        func padding(_ offset: Int) -> Int { -Int(Int32(bitPattern: base.le32(offset))) }
        guard field(8) == field(20) + field(24) else { return nil }
        for index in frequencies.indices { frequencies[index] = base.le16(50 + index * 2) }
        return LZFSEHeader(
            given: field(4), bytes: LZFSEHeader.plainBytes,
            literals: .init(count: field(12), bytes: field(20), padding: padding(28)),
            matches: .init(count: field(16), bytes: field(24), padding: padding(40)),
            literalStates: (0..<4).map { base.le16(32 + $0 * 2) }, matchStates: (0..<3).map { base.le16(44 + $0 * 2) })
    }

    /// Reads a header with packed fields, and its frequencies; nil where it does not end where it says.
    borrowing func readPackedHeader(_ input: UnsafeRawBufferPointer) -> LZFSEHeader? {
        guard input.count >= LZFSEHeader.packedBytes, let base = input.baseAddress else { return nil }
        func field(_ offset: Int, _ shift: UInt64, _ width: UInt64) -> Int {
            Int(base.le64(offset) >> shift & (1 << width - 1))
        }
        let bytes = field(24, 0, 32)
        guard bytes >= LZFSEHeader.packedBytes, bytes <= input.count else { return nil }
        var reader = FrequencyReader(input.part(LZFSEHeader.packedBytes, bytes - LZFSEHeader.packedBytes))
        for index in frequencies.indices {
            guard let frequency = reader.next() else { return nil }
            frequencies[index] = frequency
        }
        guard reader.isAtEnd else { return nil }
        return LZFSEHeader(
            given: Int(base.le32(4)), bytes: bytes,
            literals: .init(count: field(8, 0, 20), bytes: field(8, 20, 20), padding: 7 - field(8, 60, 3)),
            matches: .init(count: field(8, 40, 20), bytes: field(16, 40, 20), padding: 7 - field(16, 60, 3)),
            literalStates: (0..<4).map { UInt16(field(16, UInt64($0) * 10, 10)) },
            matchStates: (0..<3).map { UInt16(field(24, 32 + UInt64($0) * 10, 10)) })
    }

    /// The frequencies of one table; nil where they do not add up to its size.
    private borrowing func frequencies(_ table: Int) -> UnsafeBufferPointer<UInt16>? {
        let range = LZFSEHeader.frequencyStarts[table]..<LZFSEHeader.frequencyStarts[table + 1]
        let part = UnsafeBufferPointer(rebasing: UnsafeBufferPointer(frequencies)[range])
        return FSE.fill(part, order: LZFSEHeader.orders[table]) ? part : nil
    }

    /// Decodes the block of a sound header that was read last. Its payloads lie behind it in memory.
    borrowing func decode(
        _ header: LZFSEHeader, _ literalPayload: UnsafeRawBufferPointer, _ matchPayload: UnsafeRawBufferPointer,
        into window: inout LZWindow
    ) -> Bool {
        guard let counts = frequencies(0), let lengths = frequencies(1), let distances = frequencies(2),
            let bytes = frequencies(3),
            // The header's 32 bytes and more are readable in front of the payloads.
            let literalBits = FSEBits(literalPayload, padding: header.literals.padding),
            let matchBits = FSEBits(matchPayload, padding: header.matches.padding)
        else { return false }
        FSE.build(countTable, order: LZFSEHeader.orders[0], counts, Self.literalCounts)
        FSE.build(lengthTable, order: LZFSEHeader.orders[1], lengths, Self.matchLengths)
        FSE.build(distanceTable, order: LZFSEHeader.orders[2], distances, Self.distances)
        FSE.build(literalTable, order: LZFSEHeader.orders[3], bytes)
        return decodeLiterals(header, literalBits) && decodeTriples(header, matchBits, into: &window)
    }

    private borrowing func decodeLiterals(_ header: LZFSEHeader, _ payload: FSEBits) -> Bool {
        let table = literalTable
        let target = literals
        var bits = payload
        var first = Int(header.literalStates[0]), second = Int(header.literalStates[1])
        var third = Int(header.literalStates[2]), fourth = Int(header.literalStates[3])
        var at = 0
        while at < header.literals.count {
            let word = bits.load()
            let top = bits.top
            var bit = top
            // SAFETY: states stay below the table's size (see `FSE`); four bytes fit, the count being a multiple of
            // four. Four symbols take 40 bits at most.
            target.storeBytes(of: table[first].take(word, &bit, next: &first), toByteOffset: at, as: UInt8.self)
            target.storeBytes(of: table[second].take(word, &bit, next: &second), toByteOffset: at &+ 1, as: UInt8.self)
            target.storeBytes(of: table[third].take(word, &bit, next: &third), toByteOffset: at &+ 2, as: UInt8.self)
            target.storeBytes(of: table[fourth].take(word, &bit, next: &fourth), toByteOffset: at &+ 3, as: UInt8.self)
            guard bits.advance(from: top, to: bit) else { return false }
            at &+= 4
        }
        return true
    }

    private borrowing func decodeTriples(
        _ header: LZFSEHeader, _ payload: FSEBits, into output: inout LZWindow
    ) -> Bool {
        let (countTable, lengthTable, distanceTable) = (countTable, lengthTable, distanceTable)
        var window = output
        defer { output = window }
        let limit = window.done + header.given
        var bits = payload
        var countState = Int(header.matchStates[0]), lengthState = Int(header.matchStates[1])
        var distanceState = Int(header.matchStates[2])
        var literal = UnsafeRawPointer(literals)
        var literalsLeft = header.literals.count
        var distance = 0
        var triples = header.matches.count
        while triples > 0 {
            triples &-= 1
            let word = bits.load()
            let top = bits.top
            var bit = top
            // SAFETY: states stay below the tables' sizes (see `FSE`). A triple takes 54 bits at most.
            let count = countTable[countState].take(word, &bit, next: &countState)
            let length = lengthTable[lengthState].take(word, &bit, next: &lengthState)
            let next = distanceTable[distanceState].take(word, &bit, next: &distanceState)
            if next != 0 { distance = next }
            guard bits.advance(from: top, to: bit), count <= literalsLeft, count &+ length <= limit &- window.done,
                window.reaches(distance, pending: count)
            else { return false }
            if window.hasSlack(count &+ length) {
                window.appendWide(literal, count)
                window.repeatWide(distance, length)
            } else {
                window.append(literal, count)
                window.repeat(distance, length)
            }
            literal += count
            literalsLeft &-= count
        }
        return window.done == limit
    }
}
