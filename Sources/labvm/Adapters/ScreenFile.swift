import CZlib

/// The screen as a picture file.
extension ScreenImage {
    /// Portable pixmap (Netpbm `ppm(5)`, raw form): a text header, then the pixels as they are.
    var ppm: [UInt8] { Array("P6\n\(width) \(height)\n255\n".utf8) + rgb }

    /// Portable Network Graphics (ISO/IEC 15948): 8-bit RGB, no interlace, one IDAT chunk.
    ///
    /// | bytes | content |
    /// | --- | --- |
    /// | 8 | signature 89 50 4E 47 0D 0A 1A 0A |
    /// | 4, 4, n, 4 | per chunk: length, type, data, CRC-32 of type and data; big-endian |
    /// | IHDR data | width (4), height (4), depth 8, colour type 2, compression 0, filter 0, interlace 0 |
    /// | IDAT data | zlib stream of rows, each behind filter type 0 |
    var png: [UInt8] {
        var file: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
        Self.appendChunk("IHDR", Self.bigEndian(width) + Self.bigEndian(height) + [8, 2, 0, 0, 0], to: &file)
        var rows: [UInt8] = []
        rows.reserveCapacity((width * 3 + 1) * height)
        for row in 0..<height {
            rows.append(0)
            rows += rgb[(row * width * 3)..<((row + 1) * width * 3)]
        }
        Self.appendChunk("IDAT", Self.deflate(rows), to: &file)
        Self.appendChunk("IEND", [], to: &file)
        return file
    }

    private static func appendChunk(_ type: String, _ data: [UInt8], to file: inout [UInt8]) {
        let body = Array(type.utf8) + data
        file += bigEndian(data.count)
        file += body
        file += bigEndian(Int(crc32(0, body, UInt32(body.count))))
    }

    private static func bigEndian(_ value: Int) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) }
    }

    private static func deflate(_ bytes: [UInt8]) -> [UInt8] {
        var length = compressBound(UInt(bytes.count))
        return [UInt8](unsafeUninitializedCapacity: Int(length)) { buffer, count in
            // The bound is zlib's own promise: the buffer is always large enough.
            compress2(buffer.baseAddress, &length, bytes, UInt(bytes.count), 6)
            count = Int(length)
        }
    }
}
