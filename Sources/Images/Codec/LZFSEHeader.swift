/// The head of an LZFSE block: sizes, the states at which the decoder begins, and the frequencies of the four tables.
///
///     plain  packed: byte, bits        field
///          4    4     4 bytes          bytes that the block gives
///          8    –                      bytes of both payloads
///         12    8     0…19             literals, a multiple of four, up to 40000
///         16    8    40…59             triples, up to 10000
///         20    8    20…39             bytes of the literals' payload, which follows the header
///         24   16    40…59             bytes of the triples' payload behind it
///         28    8    60…62             the bits of the literals' last byte that are unused: less than zero in a plain
///                                      header (4 bytes), 7 less them in a packed one
///         32   16     0…39             states of the four decoders of literals, 2 bytes or 10 bits each
///         40   16    60…62             the same of the triples' last byte
///         44   24    32…61             states of literal count, match length and distance, 2 bytes or 10 bits each
///          –   24     0…31             bytes of this header
///         50   32                      frequencies: 20 of literal counts, 20 of match lengths, 64 of distances,
///                                      256 of literals; 2 bytes each, or see `FrequencyReader`
///        772                           end of a plain header
struct LZFSEHeader {
    static let plainBytes = 772
    static let packedBytes = 32
    /// Where the frequencies of each table begin, and where the last ones end.
    static let frequencyStarts = [0, 20, 40, 104, 360]
    /// Binary logarithms of the tables' sizes.
    static let orders = [6, 6, 8, 10]

    /// One payload.
    struct Part {
        var count: Int
        var bytes: Int
        /// Unused bits in the last byte, zeros above the others.
        var padding: Int
    }

    /// Bytes that the block gives.
    var given: Int
    var bytes: Int
    var literals: Part
    var matches: Part
    var literalStates: [UInt16]
    /// Of literal count, match length and distance.
    var matchStates: [UInt16]

    /// Whether the fields keep to their limits. Blocks that give less than they hold are made by nobody, and would take
    /// long to read.
    var isSound: Bool {
        literals.count <= 40000 && literals.count % 4 == 0 && literals.count <= given + 3
            && matches.count <= 10000 && matches.count <= given
            && 0...7 ~= literals.padding && 0...7 ~= matches.padding
            && literalStates.allSatisfy { $0 < 1 << Self.orders[3] }
            && zip(matchStates, Self.orders).allSatisfy { $0 < 1 << $1 }
    }
}

/// Frequencies of packed headers, in a prefix code that begins at the lowest bit:
///
///     00     0        xx011            4 + x
///     10     1        xxxx0111         8 + x
///     001    2        xxxxxxxxxx1111   24 + x
///     101    3
struct FrequencyReader {
    private let bytes: UnsafeRawBufferPointer
    private var at = 0
    private var bits: UInt32 = 0
    private var count = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// The next frequency; nil beyond the end.
    mutating func next() -> UInt16? {
        while count <= 16, at < bytes.count {
            bits |= UInt32(bytes[at]) &<< UInt32(count)
            at += 1
            count += 8
        }
        let (length, value): (Int, UInt32) =
            if bits & 1 == 0 {
                (2, bits &>> 1 & 1)
            } else if bits & 2 == 0 {
                (3, 2 + (bits &>> 2 & 1))
            } else if bits & 4 == 0 {
                (5, 4 + (bits &>> 3 & 3))
            } else if bits & 8 == 0 {
                (8, 8 + (bits &>> 4 & 15))
            } else {
                (14, 24 + (bits &>> 4 & 1023))
            }
        guard length <= count else { return nil }
        bits &>>= UInt32(length)
        count -= length
        return UInt16(truncatingIfNeeded: value)
    }

    /// Whether all bytes were needed.
    var isAtEnd: Bool { at == bytes.count && count < 8 }
}
