/// Screen pictures as PNG (ISO/IEC 15948): RGB with eight bits, every row filtered against the one above.
///
/// | chunk | data |
/// | --- | --- |
/// | IHDR | width, height, depth 8, colour type 2, compression 0, filter 0, interlace 0 |
/// | IDAT | zlib stream of rows, each a filter byte (2, Up) and its differences |
/// | IEND | – |
extension ScreenImage {
    /// The picture as a PNG file.
    public func png() -> [UInt8] {
        var file: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
        let header = PNGChecksum.be32(UInt32(width)) + PNGChecksum.be32(UInt32(height)) + [8, 2, 0, 0, 0]
        Self.append("IHDR", header, to: &file)
        Self.append("IDAT", RunLengthDeflate.zlib(filteredRows()), to: &file)
        Self.append("IEND", [], to: &file)
        return file
    }

    private func filteredRows() -> [UInt8] {
        let stride = width * 4
        var rows: [UInt8] = []
        rows.reserveCapacity((width * 3 + 1) * height)
        for y in 0..<height {
            rows.append(2)
            for at in Swift.stride(from: y * stride, to: (y + 1) * stride, by: 4) {
                for component in at..<at + 3 {
                    rows.append(rgba[component] &- (y == 0 ? 0 : rgba[component - stride]))
                }
            }
        }
        return rows
    }

    private static func append(_ type: String, _ data: [UInt8], to file: inout [UInt8]) {
        let body = Array(type.utf8) + data
        file += PNGChecksum.be32(UInt32(data.count)) + body + PNGChecksum.be32(PNGChecksum.crc32(body))
    }
}

/// CRC-32 of chunks and Adler-32 of zlib streams (RFC 1950).
enum PNGChecksum {
    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 != 0 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    }

    static func crc32(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~0) { $0 >> 8 ^ table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] }
    }

    static func adler32(_ bytes: [UInt8]) -> UInt32 {
        var (a, b): (UInt32, UInt32) = (1, 0)
        // 5552 additions fit into 32 bits before the remainder must be taken.
        var left = 5552
        for byte in bytes {
            a &+= UInt32(byte)
            b &+= a
            left -= 1
            if left == 0 {
                (a, b, left) = (a % 65521, b % 65521, 5552)
            }
        }
        return (b % 65521) << 16 | a % 65521
    }

    static func be32(_ value: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }
}

/// DEFLATE (RFC 1951) with the fixed Huffman code and matches of distance 1 and 3 only. Filtered screen rows are
/// mostly zeros or one repeated pixel, which such runs shrink to a few per cent without a match search.
struct RunLengthDeflate {
    private var output: [UInt8] = []
    private var bits: UInt64 = 0
    private var bitCount = 0

    /// Length symbols 257–285: first length and extra bits.
    private static let lengths: [(base: Int, extra: Int)] = [
        (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1), (15, 1), (17, 1), (19, 2),
        (23, 2), (27, 2), (31, 2), (35, 3), (43, 3), (51, 3), (59, 3), (67, 4), (83, 4), (99, 4), (115, 4), (131, 5),
        (163, 5), (195, 5), (227, 5), (258, 0),
    ]
    /// For each match length its row in `lengths`.
    private static let symbolOfLength: [Int] = (0...258).map { length in
        lengths.lastIndex { $0.base <= length } ?? 0
    }

    /// A zlib stream of one final block.
    static func zlib(_ data: [UInt8]) -> [UInt8] {
        var stream = RunLengthDeflate()
        stream.output = [0x78, 0x01]
        stream.put(0b011, 3)
        data.withUnsafeBufferPointer { stream.compress($0) }
        stream.putSymbol(256)
        stream.put(0, (8 - stream.bitCount % 8) % 8)
        return stream.output + PNGChecksum.be32(PNGChecksum.adler32(data))
    }

    private mutating func compress(_ data: UnsafeBufferPointer<UInt8>) {
        var at = 0
        while at < data.count {
            let near = run(data, at, distance: 1)
            let pixel = near == 258 ? 0 : run(data, at, distance: 3)
            let length = max(near, pixel)
            guard length >= 3 else {
                putSymbol(Int(data[at]))
                at += 1
                continue
            }
            let row = Self.symbolOfLength[length]
            putSymbol(257 + row)
            put(UInt64(length - Self.lengths[row].base), Self.lengths[row].extra)
            // Five-bit distance codes 0 and 2, most significant bit first.
            put(near >= pixel ? 0 : 0b01000, 5)
            at += length
        }
    }

    private func run(_ data: UnsafeBufferPointer<UInt8>, _ at: Int, distance: Int) -> Int {
        guard at >= distance else { return 0 }
        let limit = min(258, data.count - at)
        var length = 0
        while length < limit, data[at + length] == data[at + length - distance] { length += 1 }
        return length
    }

    /// Literal, end mark or length symbol in the fixed code (RFC 1951, 3.2.6).
    private mutating func putSymbol(_ symbol: Int) {
        switch symbol {
        case 0...143: putReversed(0x30 + symbol, 8)
        case 144...255: putReversed(0x190 + symbol - 144, 9)
        case 256...279: putReversed(symbol - 256, 7)
        default: putReversed(0xC0 + symbol - 280, 8)
        }
    }

    /// Huffman codes go out most significant bit first.
    private mutating func putReversed(_ code: Int, _ count: Int) {
        var reversed: UInt64 = 0
        for bit in 0..<count where code >> bit & 1 != 0 { reversed |= 1 << UInt64(count - 1 - bit) }
        put(reversed, count)
    }

    private mutating func put(_ value: UInt64, _ count: Int) {
        bits |= value << UInt64(bitCount)
        bitCount += count
        while bitCount >= 8 {
            output.append(UInt8(truncatingIfNeeded: bits))
            bits >>= 8
            bitCount -= 8
        }
    }
}
