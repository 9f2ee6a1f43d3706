/// LZVN, the LZ77 that LZFSE has for short inputs. Opcodes with literals L, match length M and match distance D, whose
/// bytes the literals follow:
///
///     00000110 and 7 more bytes        end
///     00001110, 00010110               nothing
///     LLMMMDDD DDDDDDDD                M + 3 bytes from D back; upper bits of D 0 to 5
///     LLMMM110                         the distance of the match before; L not 0
///     LLMMM111 DDDDDDDD DDDDDDDD       D little-endian
///     101LLMMM DDDDDDMM DDDDDDDD       M + 3 bytes; lower bits of M and D, then the upper ones of D
///     1110LLLL                         literals alone; L not 0
///     11100000 LLLLLLLL                L + 16 literals
///     1111MMMM                         M bytes at the distance of the match before; M not 0
///     11110000 MMMMMMMM                M + 16 bytes
///
/// Where several rows fit, the lower one is meant, so that LLMMM stand for up to 10 - 2L bytes behind L literals.
/// 0111xxxx, 1101xxxx and the rest of 00xxx110 are not defined.
enum LZVN {
    /// Bytes of the end's opcode; as many stand behind any other.
    private static let endBytes = 8

    /// Decompresses all of `input` behind what the window holds, up to `limit` exactly; false when it is damaged.
    static func decompress(_ input: UnsafeRawBufferPointer, into output: inout LZWindow, limit: Int) -> Bool {
        guard let source = input.baseAddress, limit <= output.capacity else { return false }
        var window = output
        defer { output = window }
        let end = input.count
        var at = 0
        var distance = 0
        while end &- at >= endBytes {
            // SAFETY: no opcode is longer than the eight bytes that are there.
            let code = Int(source.load(fromByteOffset: at, as: UInt8.self))
            var literals = code &>> 6
            var match = (code &>> 3 & 7) &+ 3
            if code >= 0xe0 {
                var count = code & 15
                at &+= 1
                if count == 0 {
                    count = Int(source.load(fromByteOffset: at, as: UInt8.self)) &+ 16
                    at &+= 1
                }
                (literals, match) = code < 0xf0 ? (count, 0) : (0, count)
            } else if code & 0xe0 == 0xa0 {
                let rest = Int(source.le16(at &+ 1))
                literals = code &>> 3 & 3
                match = (code & 7) &<< 2 &+ (rest & 3) &+ 3
                distance = rest &>> 2
                at &+= 3
            } else if code & 0xf0 == 0x70 || code & 0xf0 == 0xd0 {
                return false
            } else if code & 7 == 7 {
                distance = Int(source.le16(at &+ 1))
                at &+= 3
            } else if code & 7 < 6 {
                distance = (code & 7) &<< 8 &+ Int(source.load(fromByteOffset: at &+ 1, as: UInt8.self))
                at &+= 2
            } else if literals > 0 {
                at &+= 1
            } else if code == 0x06 {
                return at &+ endBytes == end && window.done == limit
            } else if code == 0x0e || code == 0x16 {
                at &+= 1
                continue
            } else {
                return false
            }
            guard literals &+ endBytes <= end &- at, literals &+ match <= limit &- window.done else { return false }
            if literals <= endBytes, window.hasSlack(literals &+ match) {
                window.appendWord(source + at, literals)
            } else {
                window.append(source + at, literals)
            }
            at &+= literals
            if match == 0 { continue }
            guard window.reaches(distance, pending: 0) else { return false }
            if window.hasSlack(match) { window.repeatWide(distance, match) } else { window.repeat(distance, match) }
        }
        return false
    }
}
