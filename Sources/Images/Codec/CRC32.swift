import CZlib

/// The CRC-32 of gzip and zlib over long runs.
enum CRC32 {
    /// The checksum of bytes whose own is `crc` and `count` zeros behind them, in steps that double.
    static func appendingZeros(_ count: UInt64, to crc: UInt32) -> UInt32 {
        var sum = UInt(crc)
        var run = crc32_z(0, [0], 1)
        var length: UInt64 = 1
        var rest = count
        while rest > 0 {
            if rest & 1 != 0 { sum = crc32_combine(sum, run, Int(length)) }
            rest >>= 1
            run = crc32_combine(run, run, Int(length))
            length <<= 1
        }
        return UInt32(truncatingIfNeeded: sum)
    }
}
