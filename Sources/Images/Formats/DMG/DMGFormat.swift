/// Apple disk images (UDIF; the layout is known from its readers, Apple has published none). Big-endian, read only.
///
/// The file ends with a trailer of 512 bytes:
///
///     offset size                                    offset size
///          0    4  "koly"                               80   4  kind of checksum of the data, 2 CRC-32
///          4    4  version, 4                           84   4  its bits     88 128  the checksum
///          8    4  size of the trailer, 512            216   8  place of the property list
///         24    8  place of the data that chunks       224   8  its length
///                  are relative to                     352   4  kind of checksum of all tables
///         32    8  its length                          360 128  that checksum
///         40    8  place of the resource fork          492   8  sectors of the disk
///         48    8  its length
///
/// The property list holds resource-fork → blkx → [Data: a table]; older images hold the same tables as resources of
/// the kind "blkx" in a resource fork. `DMGTable` reads a table.
public struct DMGFormat: ImageFormat {
    static let listBytes: UInt64 = 64 << 20
    static let maximumSectors: UInt64 = 1 << 35

    public init() {}
    public var name: String { "dmg" }
    public var capabilities: FormatCapabilities { [.read, .check] }

    /// The head of a disk image says nothing; its name may.
    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        FilePath.suffix(of: path) == "dmg" && fileSize >= 512 ? 2 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        func bad(_ message: String, _ offset: UInt64) -> ImageError {
            ImageError(.corrupt, message, format: name, path: storage.path, offset: offset)
        }
        guard storage.byteCount >= 512 else { throw bad("the file is shorter than a UDIF trailer", 0) }
        let trailerPlace = storage.byteCount - 512
        let trailer = try storage.readBytes(at: trailerPlace, count: 512)
        guard trailer.starts(with: Array("koly".utf8)) else {
            throw bad("Image not in UDIF format (no trailer \"koly\" at its end)", trailerPlace)
        }
        let dataStart = trailer.be64(24), dataLength = trailer.be64(32)
        guard dataStart <= trailerPlace, dataLength <= trailerPlace - dataStart else {
            throw bad("the data of \(dataLength) bytes at \(dataStart.hex) lies beyond the trailer", trailerPlace + 24)
        }
        func part(_ field: Int, _ what: String) throws(ImageError) -> [UInt8]? {
            let start = trailer.be64(field), length = trailer.be64(field + 8)
            guard length > 0 else { return nil }
            guard length <= Self.listBytes, start <= trailerPlace, length <= trailerPlace - start else {
                throw bad("the \(what) of \(length) bytes at \(start.hex) does not fit", trailerPlace + UInt64(field))
            }
            return try storage.readBytes(at: start, count: Int(length))
        }
        let tables: [[UInt8]]
        if let list = try part(216, "property list") {
            guard let found = DMGResources.inPropertyList(list) else {
                throw bad("the property list is not well-formed or has no tables", trailer.be64(216))
            }
            tables = found
        } else if let fork = try part(40, "resource fork") {
            guard let found = DMGResources.inFork(fork) else {
                throw bad("the resource fork has no tables", trailer.be64(40))
            }
            tables = found
        } else {
            throw bad("the trailer names neither a property list nor a resource fork", trailerPlace + 40)
        }
        var parsed: [DMGTable] = []
        for bytes in tables {
            parsed.append(
                try DMGTable(bytes, dataStart: dataStart, fileEnd: trailerPlace, path: storage.path))
        }
        var sectors = trailer.be64(492)
        for table in parsed { sectors = max(sectors, table.endSector) }
        guard sectors <= Self.maximumSectors else { throw bad("\(sectors) sectors are too many", trailerPlace + 492) }
        return try DMGImage(
            storage, size: sectors * 512, tables: parsed,
            dataCRC: trailer.be32(80) == 2 ? trailer.be32(88) : nil, data: (dataStart, dataLength),
            masterCRC: trailer.be32(352) == 2 ? trailer.be32(360) : nil)
    }
}

/// Where disk images keep their tables.
enum DMGResources {
    /// plist → dict → "resource-fork" → dict → "blkx" → array of dict → "Data" → base64.
    static func inPropertyList(_ bytes: [UInt8]) -> [[UInt8]]? {
        guard let list = XMLTree.parse(bytes), list.name == "plist", let top = list.child("dict"),
            let fork = value(of: "resource-fork", in: top), let blocks = value(of: "blkx", in: fork)
        else { return nil }
        var tables: [[UInt8]] = []
        for entry in blocks.children where entry.name == "dict" {
            guard let data = value(of: "Data", in: entry), data.name == "data", let table = base64(data.text) else {
                return nil
            }
            tables.append(table)
        }
        return tables.isEmpty ? nil : tables
    }

    private static func value(of key: String, in dict: XMLTree) -> XMLTree? {
        guard let index = dict.children.firstIndex(where: { $0.name == "key" && $0.text == key }),
            index + 1 < dict.children.count
        else { return nil }
        return dict.children[index + 1]
    }

    private static func base64(_ text: String) -> [UInt8]? {
        var out: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for byte in text.utf8 {
            let value: UInt32
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = UInt32(byte - 65)
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = UInt32(byte - 97 + 26)
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt32(byte - 48 + 52)
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            case 9, 10, 13, 32, UInt8(ascii: "="): continue
            default: return nil
            }
            bits = bits << 6 | value
            count += 6
            if count >= 8 {
                count -= 8
                out.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return out
    }

    /// Inside Macintosh, "Resource File Format": 0 place of the data, 4 of the map; in the map: 24 place of the list of
    /// kinds: count - 1, then kind, count - 1, place of its references; a reference: 2 id, 2 name, 1 attributes, 3 place
    /// of the resource: 4 length, bytes.
    static func inFork(_ fork: [UInt8]) -> [[UInt8]]? {
        func be16(_ at: Int) -> Int? { at >= 0 && at + 2 <= fork.count ? Int(fork[at]) << 8 | Int(fork[at + 1]) : nil }
        func be32(_ at: Int) -> Int? { at >= 0 && at + 4 <= fork.count ? Int(fork.be32(at)) : nil }
        guard let data = be32(0), let map = be32(4), let kinds = be16(map + 24).map({ $0 + map }),
            let count = be16(kinds)
        else { return nil }
        var tables: [[UInt8]] = []
        for index in 0...(count == 0xffff ? 0 : count) {
            let entry = kinds + 2 + index * 8
            guard let kind = be32(entry), let more = be16(entry + 4), let list = be16(entry + 6) else { return nil }
            guard kind == 0x626c_6b78 else { continue }
            for number in 0...more {
                guard let place = be32(kinds + list + number * 12 + 4).map({ $0 & 0xff_ffff }),
                    let length = be32(data + place), data + place + 4 + length <= fork.count
                else { return nil }
                tables.append(Array(fork[data + place + 4..<data + place + 4 + length]))
            }
        }
        return tables.isEmpty ? nil : tables
    }
}
