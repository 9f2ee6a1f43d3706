/// Which parts of a Mode 1 sector a read returns (ECMA-130, clause 14; MMC-5, READ CD).
///
/// | offset | bytes | part |
/// | --- | --- | --- |
/// | 0 | 12 | sync: 00, ten FF, 00 |
/// | 12 | 4 | header: minute, second, frame in BCD, mode |
/// | 16 | 2048 | user data |
/// | 2064 | 4 | EDC: CRC-32 of bytes 0–2063 |
/// | 2068 | 8 | zero |
/// | 2076 | 172 | P parity |
/// | 2248 | 104 | Q parity |
enum CDSectorLayout: UInt8 {
    case userData = 0
    case raw

    var bytes: Int { self == .userData ? 2048 : 2352 }

    /// Fills `target`, a whole number of sectors, from `disc`, whose bytes are user data only.
    func read(
        _ disc: any DiskBackend, lba: UInt64, into target: UnsafeMutableRawBufferPointer
    ) throws(DiskBackendError) {
        switch self {
        case .userData: try disc.read(into: target, at: lba * 2048)
        case .raw:
            for index in 0..<target.count / bytes {
                let sector = UnsafeMutableRawBufferPointer(
                    rebasing: target[index * bytes..<(index + 1) * bytes])
                try disc.read(
                    into: UnsafeMutableRawBufferPointer(rebasing: sector[16..<2064]),
                    at: (lba + UInt64(index)) * 2048)
                CDSectorCode.complete(sector, lba: lba + UInt64(index))
            }
        }
    }

    /// Minute, second and frame of a block, counted from the start of the lead-in's end (block 0 is 00:02:00).
    static func msf(_ lba: UInt64) -> (minute: UInt8, second: UInt8, frame: UInt8) {
        let frames = lba + 150
        return (
            UInt8(truncatingIfNeeded: frames / (75 * 60)), UInt8(frames / 75 % 60), UInt8(frames % 75)
        )
    }
}

/// Sync, header, error detection and error correction codes of a Mode 1 sector (ECMA-130, 14.3 to annex A).
enum CDSectorCode {
    /// EDC polynomial x^32+x^31+x^16+x^15+x^4+x^3+x+1, bits reflected.
    private static let edcTable: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 != 0 ? value >> 1 ^ 0xD801_8001 : value >> 1 }
    }
    /// Multiplication by α in GF(2^8) with polynomial x^8+x^4+x^3+x^2+1.
    private static let timesAlpha: [UInt8] = (0..<256).map { value in
        UInt8(truncatingIfNeeded: value << 1 ^ (value & 0x80 != 0 ? 0x11D : 0))
    }
    /// Division by α + 1.
    private static let overAlphaPlusOne: [UInt8] = {
        var table = [UInt8](repeating: 0, count: 256)
        for value in 0..<256 { table[Int(UInt8(value) ^ timesAlpha[value])] = UInt8(value) }
        return table
    }()

    /// Fills everything but the user data of one 2352-byte sector.
    static func complete(_ sector: UnsafeMutableRawBufferPointer, lba: UInt64) {
        for i in 0..<12 { sector[i] = i == 0 || i == 11 ? 0 : 0xFF }
        let time = CDSectorLayout.msf(lba)
        for (i, value) in [time.minute, time.second, time.frame].enumerated() {
            sector[12 + i] = value / 10 % 10 << 4 | value % 10
        }
        sector[15] = 1
        var edc: UInt32 = 0
        for i in 0..<2064 { edc = edc >> 8 ^ edcTable[Int(UInt8(truncatingIfNeeded: edc) ^ sector[i])] }
        for i in 0..<4 { sector[2064 + i] = UInt8(truncatingIfNeeded: edc >> UInt32(8 * i)) }
        for i in 2068..<2076 { sector[i] = 0 }
        parity(sector, at: 2076, columns: 86, rows: 24, step: 2, rowStride: 86)
        parity(sector, at: 2248, columns: 52, rows: 43, step: 86, rowStride: 88)
    }

    /// Reed–Solomon parity over bytes 12 onwards, seen as a matrix of 16-bit words whose bytes are coded apart.
    /// P walks columns of the 43×24 matrix, Q its diagonals, which wrap at 2236 bytes.
    private static func parity(
        _ sector: UnsafeMutableRawBufferPointer, at place: Int, columns: Int, rows: Int, step: Int, rowStride: Int
    ) {
        let size = columns * rows
        for column in 0..<columns {
            var index = (column >> 1) * step + (column & 1)
            var first: UInt8 = 0
            var second: UInt8 = 0
            for _ in 0..<rows {
                let value = sector[12 + index]
                index += rowStride
                if index >= size { index -= size }
                first = timesAlpha[Int(first ^ value)]
                second ^= value
            }
            first = overAlphaPlusOne[Int(timesAlpha[Int(first)] ^ second)]
            sector[place + column] = first
            sector[place + columns + column] = first ^ second
        }
    }
}
