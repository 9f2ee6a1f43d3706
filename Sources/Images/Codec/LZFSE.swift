/// LZFSE, Apple's compression of 2015 (facts from its reference implementation, github.com/lzfse/lzfse). A stream is a
/// row of blocks, each beginning with four bytes that name its kind; numbers are little-endian:
///
///     bvx-   stored:  4 4 bytes n       8 n bytes
///     bvxn   LZVN:    4 4 bytes given   8 4 bytes n    12 n bytes, see `LZVN`
///     bvx1   LZFSE with a plain header, see `LZFSEHeader`
///     bvx2   LZFSE with a packed header
///     bvx$   end of the stream
///
/// Matches reach back over all blocks before.
enum LZFSE {
    private enum Kind: UInt32 {
        case stored = 0x2d78_7662
        case lzvn = 0x6e78_7662
        case plainHeader = 0x3178_7662
        case packedHeader = 0x3278_7662
        case end = 0x2478_7662
    }

    /// Decompresses exactly `output.count` bytes; false when the stream is damaged, ends early or late, or bytes follow
    /// its end. Time grows with the lengths of both, memory is 56 KiB.
    static func decompress(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        guard let target = output.baseAddress else { return false }
        var window = LZWindow(target, capacity: output.count)
        let decoder = LZFSEDecoder()
        var rest = input
        /// Splits bytes off the front of what is left.
        func take(_ count: Int) -> UnsafeRawBufferPointer? {
            guard count <= rest.count else { return nil }
            defer { rest = UnsafeRawBufferPointer(rebasing: rest[count...]) }
            return rest.part(0, count)
        }
        while rest.count >= 4, let base = rest.baseAddress, let kind = Kind(rawValue: base.le32(0)) {
            if kind == .end { return rest.count == 4 && window.done == window.capacity }
            // All other blocks say here what they give.
            guard rest.count >= 8 else { return false }
            let given = Int(base.le32(4))
            guard given <= window.capacity - window.done else { return false }
            switch kind {
            case .end, .stored:
                guard take(8) != nil, let bytes = take(given)?.baseAddress else { return false }
                window.append(bytes, given)
            case .lzvn:
                guard let fields = take(12)?.baseAddress, let payload = take(Int(fields.le32(8))),
                    LZVN.decompress(payload, into: &window, limit: window.done + given)
                else { return false }
            case .plainHeader, .packedHeader:
                let found = kind == .plainHeader ? decoder.readPlainHeader(rest) : decoder.readPackedHeader(rest)
                guard let header = found, header.isSound, take(header.bytes) != nil,
                    let literals = take(header.literals.bytes), let triples = take(header.matches.bytes),
                    decoder.decode(header, literals, triples, into: &window)
                else { return false }
            }
        }
        return false
    }
}
