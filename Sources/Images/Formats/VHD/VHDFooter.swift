/// Virtual PC disk image (Microsoft, Virtual Hard Disk Image Format Specification 1.0). Big-endian.
///
/// Footer, 512 bytes, at the end of the file; dynamic images begin with a copy:
///
///     offset size
///          0    8  "conectix"          8  4  features (2)       12   4  version 0x00010000
///         16    8  offset of the dynamic header, all ones in fixed images
///         24    4  seconds since 2000  28  4  creator            32   4  creator version   36  4  creator OS
///         40    8  original size       48  8  present size
///         56    4  geometry: cylinders (2), heads, sectors per track
///         60    4  type: 2 fixed, 3 dynamic, 4 differencing
///         64    4  checksum: ones' complement of the sum of all bytes but these
///         68   16  UUID                84  1  saved state
package struct VHDFooter {
    enum Kind: UInt32 { case fixed = 2, dynamic = 3, differencing = 4 }

    static let cookie = Array("conectix".utf8)
    /// Seconds from 1970 to 2000.
    static let epoch: UInt64 = 946_684_800
    /// The largest disk that the geometry can express, in sectors.
    static let maximumGeometry: UInt64 = 65535 * 16 * 255
    /// 2040 GiB in sectors, the format's end.
    static let maximumSectors: UInt64 = 0xff00_0000

    var bytes: [UInt8]

    var dynamicOffset: UInt64 { bytes.be64(16) }
    var timestamp: UInt32 { bytes.be32(24) }
    var kind: Kind? { Kind(rawValue: bytes.be32(60)) }
    var uuid: [UInt8] { Array(bytes[68..<84]) }
    var geometrySectors: UInt64 { UInt64(bytes.be16(56)) * UInt64(bytes[58]) * UInt64(bytes[59]) }

    /// Disk size in bytes. Virtual PC and QEMU mean the geometry, everybody else the size field, and so does everybody
    /// where the geometry is at its limit.
    var diskSize: UInt64 {
        let creator = String(decoding: bytes[28..<32], as: UTF8.self)
        let usesGeometry = ["vpc ", "vs  ", "qemu"].contains(creator) && geometrySectors != Self.maximumGeometry
        return usesGeometry ? geometrySectors * 512 : bytes.be64(48)
    }

    /// The footer in a file: at its end (511 bytes long in old files), or the copy at the beginning.
    init?(_ storage: any Storage) throws(ImageError) {
        let end = storage.byteCount
        for (offset, count) in [(end >= 512 ? end - 512 : 0, 512), (end >= 511 ? end - 511 : 0, 511), (0, 512)] {
            let candidate = try storage.readBytes(at: offset, count: count) + (count == 511 ? [0] : [])
            if Array(candidate[0..<8]) == Self.cookie, Self.checksum(candidate, at: 64) == candidate.be32(64) {
                bytes = candidate
                return
            }
        }
        return nil
    }

    /// Whether a file that begins like any raw disk ends in the footer of a fixed one that takes all of it but the footer.
    static func endsFixedDisk(_ storage: any Storage) throws(ImageError) -> Bool {
        guard storage.byteCount > 512, storage.byteCount % 512 == 0 else { return false }
        let bytes = try storage.readBytes(at: storage.byteCount - 512, count: 512)
        return bytes.starts(with: cookie) && checksum(bytes, at: 64) == bytes.be32(64)
            && Kind(rawValue: bytes.be32(60)) == .fixed && bytes.be64(48) == storage.byteCount - 512
    }

    init(kind: Kind, size: UInt64, geometry: (cylinders: Int, heads: Int, sectors: Int), creator: String) {
        var out = Self.cookie
        out.putBE(UInt32(2))
        out.putBE(UInt32(0x0001_0000))
        out.putBE(kind == .fixed ? UInt64.max : 512)
        out.putBE(UInt32(truncatingIfNeeded: HostTime.now() - Self.epoch))
        out += Array(creator.utf8)
        out.putBE(UInt32(0x0005_0003))
        out += Array("Wi2k".utf8)
        out.putBE(size)
        out.putBE(size)
        out.putBE(UInt16(geometry.cylinders))
        out += [UInt8(geometry.heads), UInt8(geometry.sectors)]
        out.putBE(kind.rawValue)
        out.putBE(UInt32(0))
        out += GUID.random().bytes
        out += [UInt8](repeating: 0, count: 512 - out.count)
        bytes = out
        Self.seal(&bytes, at: 64)
    }

    /// Ones' complement of the sum of all bytes, the four of the checksum at `field` left out.
    static func checksum(_ bytes: [UInt8], at field: Int) -> UInt32 {
        var sum: UInt32 = 0
        for (index, byte) in bytes.enumerated() where index < field || index >= field + 4 { sum &+= UInt32(byte) }
        return ~sum
    }

    package static func seal(_ bytes: inout [UInt8], at field: Int) {
        var value: [UInt8] = []
        value.putBE(checksum(bytes, at: field))
        bytes.replaceSubrange(field..<field + 4, with: value)
    }

    /// The geometry for a number of sectors (specification, appendix "CHS Calculation").
    static func geometry(_ sectors: UInt64) -> (cylinders: Int, heads: Int, sectors: Int) {
        let total = Int(min(sectors, maximumGeometry))
        if total >= 65535 * 16 * 63 { return (total / 255 / 16, 16, 255) }
        var perTrack = 17
        var cylinderHeads = total / perTrack
        var heads = max(4, (cylinderHeads + 1023) / 1024)
        if cylinderHeads >= heads * 1024 || heads > 16 { (perTrack, heads, cylinderHeads) = (31, 16, total / 31) }
        if cylinderHeads >= heads * 1024 { (perTrack, heads, cylinderHeads) = (63, 16, total / 63) }
        return (cylinderHeads / heads, heads, perTrack)
    }

    /// The smallest geometry that holds at least so many sectors: what QEMU rounds a disk up to.
    static func roundedGeometry(_ sectors: UInt64) -> (cylinders: Int, heads: Int, sectors: Int) {
        var tried = sectors
        while true {
            let found = geometry(tried)
            if UInt64(found.cylinders * found.heads * found.sectors) >= min(sectors, maximumGeometry) { return found }
            tried += 1
        }
    }
}
