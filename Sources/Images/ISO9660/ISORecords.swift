import Glibc

/// Bytes of ISO 9660 structures. Numbers stand there twice, little endian first ("both-byte orders", ECMA-119 7.2.3, 7.3.3).
struct ISOBytes {
    var bytes: [UInt8] = []

    mutating func little16(_ value: UInt16) { bytes += [UInt8(truncatingIfNeeded: value), UInt8(value >> 8)] }
    mutating func big16(_ value: UInt16) { bytes += [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)] }
    mutating func little32(_ value: UInt32) {
        for shift in [0, 8, 16, 24] { bytes.append(UInt8(value >> UInt32(shift) & 0xFF)) }
    }
    mutating func big32(_ value: UInt32) {
        for shift in [24, 16, 8, 0] { bytes.append(UInt8(value >> UInt32(shift) & 0xFF)) }
    }

    mutating func both16(_ value: UInt16) {
        little16(value)
        big16(value)
    }

    mutating func both32(_ value: UInt32) {
        little32(value)
        big32(value)
    }

    mutating func zeros(_ count: Int) { bytes += [UInt8](repeating: 0, count: max(0, count)) }

    /// Seven bytes of a directory record (9.1.5): years since 1900, month, day, hour, minute, second, zone (UTC).
    static func shortDate(_ seconds: Int64) -> [UInt8] {
        let date = calendar(seconds)
        let year = min(max(Int(date.tm_year), 0), 255)
        return [
            year, Int(date.tm_mon) + 1, Int(date.tm_mday), Int(date.tm_hour), Int(date.tm_min), Int(date.tm_sec), 0,
        ]
        .map { UInt8(truncatingIfNeeded: $0) }
    }

    /// Seventeen bytes of a volume descriptor (8.4.26.1): digits, hundredths, zone.
    static func longDate(_ seconds: Int64) -> [UInt8] {
        let date = calendar(seconds)
        func digits(_ value: Int32, _ count: Int) -> String {
            let text = String(max(0, value))
            return String(repeating: "0", count: max(0, count - text.count)) + text.suffix(count)
        }
        let text =
            digits(date.tm_year + 1900, 4) + digits(date.tm_mon + 1, 2) + digits(date.tm_mday, 2)
            + digits(date.tm_hour, 2) + digits(date.tm_min, 2) + digits(date.tm_sec, 2) + "00"
        return Array(text.utf8) + [0]
    }

    private static func calendar(_ seconds: Int64) -> tm {
        var time = time_t(seconds)
        var date = tm()
        gmtime_r(&time, &date)
        return date
    }
}

/// A directory record (ECMA-119, 9.1).
///
///     0   1  length of the record          25  1  flags: 2 folder, 80 more extents follow
///     2   8  first sector                  28  4  volume number, 1
///     10  8  bytes of data                 32  1  length of the name
///     18  7  date                          33  …  name, a zero to make it even, system use
struct ISORecord {
    static let folderFlag: UInt8 = 0x02, moreFlag: UInt8 = 0x80
    static let longest = 255

    var name: [UInt8]
    var flags: UInt8
    var seconds: Int64
    /// Rock Ridge, and what has to go to the continuation area.
    var systemUse: [UInt8] = []

    /// Where system use begins.
    static func head(_ name: [UInt8]) -> Int { (33 + name.count + 1) & ~1 }

    var length: Int { (ISORecord.head(name) + systemUse.count + 1) & ~1 }

    func encoded(sector: UInt32, sizeBytes: UInt32) -> [UInt8] {
        var out = ISOBytes()
        out.bytes = [UInt8(length), 0]
        out.both32(sector)
        out.both32(sizeBytes)
        out.bytes += ISOBytes.shortDate(seconds)
        out.bytes += [flags, 0, 0]
        out.both16(1)
        out.bytes.append(UInt8(name.count))
        out.bytes += name
        out.zeros(ISORecord.head(name) - out.bytes.count)
        out.bytes += systemUse
        out.zeros(length - out.bytes.count)
        return out.bytes
    }
}

/// Rock Ridge (IEEE P1282, RRIP 1.12) over the System Use Sharing Protocol (SUSP 1.12): owners, modes, real names and symbolic
/// links, as entries of two letters, length, version and data.
enum RockRidge {
    private static func entry(_ signature: String, _ data: [UInt8]) -> [UInt8] {
        Array(signature.utf8) + [UInt8(data.count + 4), 1] + data
    }

    /// `SP`, in the root's own record: the protocol is in use from the first byte on.
    static let sharing = entry("SP", [0xBE, 0xEF, 0])

    /// `ER`: which extension this is.
    static let extensionReference: [UInt8] = {
        let id = Array("RRIP_1991A".utf8)
        let text = Array("THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS".utf8)
        let source = Array("PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE".utf8)
        return entry("ER", [UInt8(id.count), UInt8(text.count), UInt8(source.count), 1] + id + text + source)
    }()

    /// `PX`: mode, links, owner, group, serial number.
    static func attributes(_ mode: UInt32, links: UInt32, serial: UInt32) -> [UInt8] {
        var out = ISOBytes()
        for value in [mode, links, 0, 0, serial] { out.both32(value) }
        return entry("PX", out.bytes)
    }

    /// `TF`: times of modification, access and change.
    static func times(_ seconds: Int64) -> [UInt8] {
        let date = ISOBytes.shortDate(seconds)
        return entry("TF", [0x0E] + date + date + date)
    }

    /// `NM`, as many as a name needs.
    static func name(_ name: String) -> [[UInt8]] {
        var rest = Array(name.utf8)[...]
        var entries: [[UInt8]] = []
        repeat {
            let piece = rest.prefix(200)
            rest = rest.dropFirst(200)
            entries.append(entry("NM", [rest.isEmpty ? 0 : 1] + piece))
        } while !rest.isEmpty
        return entries
    }

    /// `SL`, as many as a link needs. Components: flags (1 goes on, 2 `.`, 4 `..`, 8 root), length, text.
    static func link(_ target: String) -> [[UInt8]] {
        var components: [[UInt8]] = target.hasPrefix("/") ? [[8, 0]] : []
        for part in target.split(separator: "/") {
            switch part {
            case ".": components.append([2, 0])
            case "..": components.append([4, 0])
            default:
                var rest = Array(part.utf8)[...]
                repeat {
                    let piece = rest.prefix(150)
                    rest = rest.dropFirst(150)
                    components.append([rest.isEmpty ? 0 : 1, UInt8(piece.count)] + piece)
                } while !rest.isEmpty
            }
        }
        var entries: [[UInt8]] = []
        var data: [UInt8] = []
        for component in components {
            if data.count + component.count > 240 {
                entries.append(entry("SL", [1] + data))
                data = []
            }
            data += component
        }
        entries.append(entry("SL", [0] + data))
        return entries
    }

    static let continuationBytes = 28

    /// `CE`: where the rest stands.
    static func continuation(sector: UInt32, offset: UInt32, length: UInt32) -> [UInt8] {
        var out = ISOBytes()
        for value in [sector, offset, length] { out.both32(value) }
        return entry("CE", out.bytes)
    }
}
