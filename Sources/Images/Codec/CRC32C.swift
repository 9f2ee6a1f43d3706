/// The Castagnoli CRC (RFC 3720, B.4), as VHDX guards its metadata with.
package enum CRC32C {
    /// Eight tables, so that eight bytes go in one step.
    private static let tables: [[UInt32]] = {
        var first = [UInt32](repeating: 0, count: 256)
        for index in 0..<256 {
            var value = UInt32(index)
            for _ in 0..<8 { value = value & 1 != 0 ? value >> 1 ^ 0x82f6_3b78 : value >> 1 }
            first[index] = value
        }
        var all = [first]
        for step in 1..<8 { all.append(all[step - 1].map { $0 >> 8 ^ first[Int($0 & 0xff)] }) }
        return all
    }()

    /// The checksum of `bytes` with the four bytes at `field` taken as zeros.
    package static func checksum(_ bytes: [UInt8], zeroing field: Int? = nil) -> UInt32 {
        let tables = tables
        var crc = UInt32.max
        var index = 0
        func byte(_ at: Int) -> UInt8 {
            if let field, at >= field, at < field + 4 { return 0 }
            return bytes[at]
        }
        while index + 8 <= bytes.count {
            if let field, index < field + 4, index + 8 > field {
                for step in 0..<8 {
                    crc = tables[0][Int(UInt8(truncatingIfNeeded: crc) ^ byte(index + step))] ^ crc >> 8
                }
            } else {
                let low = crc ^ bytes.le32(index)
                let high = bytes.le32(index + 4)
                crc = tables[7][Int(low & 0xff)] ^ tables[6][Int(low >> 8 & 0xff)] ^ tables[5][Int(low >> 16 & 0xff)]
                crc ^= tables[4][Int(low >> 24)] ^ tables[3][Int(high & 0xff)] ^ tables[2][Int(high >> 8 & 0xff)]
                crc ^= tables[1][Int(high >> 16 & 0xff)] ^ tables[0][Int(high >> 24)]
            }
            index += 8
        }
        while index < bytes.count {
            crc = tables[0][Int(UInt8(truncatingIfNeeded: crc) ^ byte(index))] ^ crc >> 8
            index += 1
        }
        return ~crc
    }

    /// Stores the checksum of `bytes` at `field`.
    package static func seal(_ bytes: inout [UInt8], at field: Int) {
        let value = checksum(bytes, zeroing: field)
        for step in 0..<4 { bytes[field + step] = UInt8(truncatingIfNeeded: value >> UInt32(step * 8)) }
    }
}

extension [UInt8] {
    mutating func putLE<T: FixedWidthInteger>(_ value: T) {
        for shift in stride(from: 0, to: T.bitWidth, by: 8) { append(UInt8(truncatingIfNeeded: value >> T(shift))) }
    }

    /// Overwrites bytes from `index` on.
    mutating func overwrite(_ index: Int, with bytes: [UInt8]) {
        replaceSubrange(index..<index + bytes.count, with: bytes)
    }
}
