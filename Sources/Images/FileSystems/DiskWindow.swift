/// A part of a disk that a file system lies in, read byte by byte with checks: what a guest wrote there may be anything.
struct DiskWindow: Sendable {
    let device: any BlockDevice
    /// Where it begins on the disk, in bytes.
    let start: UInt64
    let length: UInt64

    /// The whole disk.
    init(_ device: any BlockDevice) {
        self.device = device
        start = 0
        length = device.size
    }

    private init(_ device: any BlockDevice, _ start: UInt64, _ length: UInt64) {
        self.device = device
        self.start = start
        self.length = length
    }

    /// A part of it; nil where it is not inside.
    func part(at offset: UInt64, length count: UInt64) -> DiskWindow? {
        guard offset < length, count > 0 else { return nil }
        // A partition that ends beyond the disk is read as far as there is disk.
        return DiskWindow(device, start + offset, min(count, length - offset))
    }

    /// Bytes at an offset.
    /// - Throws: `.corrupt` where they are not inside.
    func bytes(at offset: UInt64, count: Int) throws(ImageError) -> FieldBytes {
        guard count >= 0, offset <= length, UInt64(count) <= length - offset else {
            throw ImageError(.corrupt, "the file system names bytes beyond its end", path: device.path, offset: offset)
        }
        var bytes = [UInt8](repeating: 0, count: count)
        var fault: ImageError?
        bytes.withUnsafeMutableBytes { buffer in
            do throws(ImageError) {
                try device.read(into: buffer, at: start + offset)
            } catch {
                fault = error
            }
        }
        if let fault { throw fault }
        return FieldBytes(bytes)
    }
}

/// Bytes with little-endian numbers in them. What lies outside reads as zero.
struct FieldBytes: Sendable {
    let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var count: Int { bytes.count }

    /// A number of `size` bytes.
    func number(_ offset: Int, _ size: Int) -> UInt64 {
        guard offset >= 0, offset + size <= bytes.count else { return 0 }
        return (0..<size).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
    }

    func byte(_ offset: Int) -> UInt8 { UInt8(number(offset, 1)) }
    func word(_ offset: Int) -> Int { Int(number(offset, 2)) }
    func long(_ offset: Int) -> UInt32 { UInt32(number(offset, 4)) }

    func slice(_ offset: Int, _ count: Int) -> ArraySlice<UInt8> {
        let start = min(max(0, offset), bytes.count)
        return bytes[start..<min(bytes.count, start + max(0, count))]
    }
}
