/// A disk's cylinders, heads and sectors, chosen as QEMU chooses them, so that a disk partitioned there boots here.
struct DiskGeometry: Equatable {
    /// How the BIOS should map CHS to this geometry; raw values as CMOS byte 39h holds them.
    enum Translation: UInt8 {
        case none = 0
        case lba = 1
        case large = 2
    }

    var cylinders: Int
    var heads: Int
    var sectorsPerTrack: Int
    var translation: Translation

    mutating func exchange(_ c: StateCoder) {
        c.field("cylinders", &cylinders, in: 1...16383)
        c.field("heads", &heads, in: 1...16)
        c.field("sectorsPerTrack", &sectorsPerTrack, in: 1...63)
        c.field("translation", &translation)
    }

    var sectors: Int { cylinders * heads * sectorsPerTrack }

    /// - Parameters:
    ///   - totalSectors: the disk's size in 512-byte sectors.
    ///   - bootSector: its first sector; a partition's end tells the geometry that the disk was made with.
    init(totalSectors: UInt64, bootSector: [UInt8]) {
        let total = Int(clamping: totalSectors)
        cylinders = min(max(total / (16 * 63), 2), 16383)
        heads = 16
        sectorsPerTrack = 63
        guard let found = Self.fromPartitionTable(bootSector, totalSectors: total) else {
            translation = cylinders <= 1024 ? .none : .lba
            return
        }
        if found.heads > 16 {
            // A translated geometry: the disk has the standard one, and the BIOS must translate the same way.
            translation = cylinders * heads <= 131_072 ? .large : .lba
        } else {
            cylinders = found.cylinders
            heads = found.heads
            sectorsPerTrack = found.sectors
            translation = .none
        }
    }

    /// Partitions end on a cylinder boundary by custom, so that an entry's last head and sector are the maxima.
    private static func fromPartitionTable(
        _ sector: [UInt8], totalSectors: Int
    ) -> (cylinders: Int, heads: Int, sectors: Int)? {
        guard sector.count >= 512, sector[510] == 0x55, sector[511] == 0xAA else { return nil }
        for entry in stride(from: 0x1BE, to: 0x1FE, by: 16) {
            let isUsed = sector[entry + 12..<entry + 16].contains { $0 != 0 }
            let heads = Int(sector[entry + 5]) + 1
            let sectors = Int(sector[entry + 6] & 63)
            guard isUsed, heads > 1, sectors > 0 else { continue }
            let cylinders = totalSectors / (heads * sectors)
            if (1...16383).contains(cylinders) { return (cylinders, heads, sectors) }
        }
        return nil
    }
}
