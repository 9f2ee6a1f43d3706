/// FAT12, FAT16 and FAT32 with long names (Microsoft, "FAT: General Overview of On-Disk Format"), read only.
///
/// | offset | size | boot sector |
/// | --- | --- | --- |
/// | 11 | 2 | bytes per sector |
/// | 13 | 1 | sectors per cluster |
/// | 14 | 2 | sectors before the first table |
/// | 16 | 1 | tables |
/// | 17 | 2 | entries of the root folder; 0: FAT32 |
/// | 19, 32 | 2, 4 | sectors in all |
/// | 22, 36 | 2, 4 | sectors of a table |
/// | 44 | 4 | first cluster of the root folder (FAT32) |
/// | 510 | 2 | 55 AA |
///
/// | offset | size | folder entry of 32 bytes |
/// | --- | --- | --- |
/// | 0 | 11 | name, 8 and 3 characters |
/// | 11 | 1 | attributes; 0x0F: a piece of the long name of the entry behind it |
/// | 20, 26 | 2, 2 | first cluster, high and low half |
/// | 28 | 4 | size |
struct FATFileSystem: GuestFileSystem {
    private enum Attribute { static let label: UInt8 = 0x08, folder: UInt8 = 0x10, longName: UInt8 = 0x0F }
    private static let entryBytes = 32
    /// Folders are no longer (65,536 entries).
    private static let largestFolder = 2 << 20

    private let window: DiskWindow
    private let clusterBytes: Int
    /// Bits of an entry of the table.
    private let bits: Int
    private let table: FieldBytes
    private let dataStart: UInt64
    private let clusters: UInt64
    private let rootStart: UInt64
    private let rootBytes: Int
    private let rootCluster: UInt64

    /// - Returns: nil where there is no such file system.
    init?(_ window: DiskWindow) throws(ImageError) {
        guard window.length >= 4096 else { return nil }
        let boot = try window.bytes(at: 0, count: 512)
        let (sector, perCluster) = (boot.word(11), Int(boot.byte(13)))
        let (reserved, tables) = (boot.word(14), Int(boot.byte(16)))
        guard boot.word(510) == 0xAA55, [512, 1024, 2048, 4096].contains(sector),
            perCluster > 0, perCluster & (perCluster - 1) == 0, reserved > 0, (1...4).contains(tables)
        else { return nil }
        let sectors = boot.word(19) != 0 ? UInt64(boot.word(19)) : UInt64(boot.long(32))
        let tableSectors = boot.word(22) != 0 ? UInt64(boot.word(22)) : UInt64(boot.long(36))
        rootBytes = boot.word(17) * Self.entryBytes
        let rootSectors = UInt64((rootBytes + sector - 1) / sector)
        let before = UInt64(reserved) + UInt64(tables) * tableSectors + rootSectors
        guard tableSectors > 0, tableSectors < 1 << 22, before < sectors, sectors <= window.length / UInt64(sector)
        else {
            return nil
        }
        clusters = (sectors - before) / UInt64(perCluster)
        bits = rootBytes == 0 ? 32 : clusters < 4085 ? 12 : 16
        clusterBytes = sector * perCluster
        rootStart = (before - rootSectors) * UInt64(sector)
        dataStart = before * UInt64(sector)
        rootCluster = UInt64(boot.long(44))
        let needed = min(tableSectors * UInt64(sector), ((clusters + 2) * UInt64(bits) + 7) / 8)
        table = try window.bytes(at: UInt64(reserved) * UInt64(sector), count: Int(needed))
        self.window = window
    }

    func contents(of path: [String]) throws(ImageError) -> [UInt8]? {
        let names = GuestDisk.resolved(path)
        guard let last = names.last else { return nil }
        var folder =
            rootBytes > 0
            ? try window.bytes(at: rootStart, count: rootBytes)
            : FieldBytes(try chain(rootCluster, atMost: Self.largestFolder))
        for name in names.dropLast() {
            guard let entry = entry(name, in: folder), entry.isFolder else { return nil }
            folder = FieldBytes(try chain(entry.cluster, atMost: Self.largestFolder))
        }
        guard let entry = entry(last, in: folder) else { return nil }
        guard !entry.isFolder else {
            throw ImageError(.unsupported, "/\(names.joined(separator: "/")) is not a file", path: window.device.path)
        }
        guard UInt64(entry.size) <= GuestDisk.largestFile else {
            throw ImageError(
                .unsupported, "a file of \(entry.size) bytes is not read here: at most \(GuestDisk.largestFile)",
                path: window.device.path)
        }
        return Array(try chain(entry.cluster, atMost: entry.size).prefix(entry.size))
    }

    private struct Entry {
        var isFolder: Bool
        var cluster: UInt64
        var size: Int
    }

    /// The entry of a name, long or short, capital or not.
    private func entry(_ name: String, in folder: FieldBytes) -> Entry? {
        let wanted = name.lowercased()
        var longName: [UInt16] = []
        for offset in stride(from: 0, to: folder.count - Self.entryBytes + 1, by: Self.entryBytes) {
            let first = folder.byte(offset)
            if first == 0 { break }
            let attributes = folder.byte(offset + 11)
            if first == 0xE5 {
                longName = []
            } else if attributes & 0x3F == Attribute.longName {
                // The last piece comes first.
                let places = Array(stride(from: 1, to: 11, by: 2)) + Array(stride(from: 14, to: 26, by: 2)) + [28, 30]
                longName = places.map { UInt16(folder.word(offset + $0)) } + longName
            } else {
                let long = String(decoding: longName.prefix { $0 != 0 && $0 != 0xFFFF }, as: UTF16.self)
                longName = []
                guard attributes & Attribute.label == 0 else { continue }
                guard [long.lowercased(), shortName(folder, offset)].contains(wanted) else { continue }
                let high = bits == 32 ? UInt64(folder.word(offset + 20)) : 0
                return Entry(
                    isFolder: attributes & Attribute.folder != 0,
                    cluster: high << 16 | UInt64(folder.word(offset + 26)), size: Int(folder.long(offset + 28)))
            }
        }
        return nil
    }

    private func shortName(_ folder: FieldBytes, _ offset: Int) -> String {
        func text(_ at: Int, _ count: Int) -> String {
            var bytes = folder.slice(at, count)
            while bytes.last == 0x20 { bytes.removeLast() }
            return String(decoding: bytes, as: UTF8.self).lowercased()
        }
        let (name, ending) = (text(offset, 8), text(offset + 8, 3))
        return ending.isEmpty ? name : "\(name).\(ending)"
    }

    /// The bytes of a chain of clusters, at least `limit` where it has them.
    private func chain(_ first: UInt64, atMost limit: Int) throws(ImageError) -> [UInt8] {
        var bytes: [UInt8] = []
        var cluster = first
        // No chain is longer than there are clusters: one that is goes round in a circle, and the limit ends it.
        while bytes.count < limit, cluster >= 2, cluster < clusters + 2 {
            bytes += try window.bytes(
                at: dataStart + (cluster - 2) * UInt64(clusterBytes), count: clusterBytes
            ).bytes
            cluster = next(cluster)
        }
        return bytes
    }

    private func next(_ cluster: UInt64) -> UInt64 {
        switch bits {
        case 12:
            let pair = UInt64(table.word(Int(cluster + cluster / 2)))
            return cluster & 1 == 0 ? pair & 0xFFF : pair >> 4
        case 16: return UInt64(table.word(Int(2 * cluster)))
        default: return UInt64(table.long(Int(4 * cluster))) & 0x0FFF_FFFF
        }
    }
}
