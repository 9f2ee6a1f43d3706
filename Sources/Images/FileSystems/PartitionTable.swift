/// Partitions of a disk: the master boot record and, where that says so, the GUID partition table (UEFI specification, 5.3).
///
/// | offset | size | master boot record, and each extended one |
/// | --- | --- | --- |
/// | 446 + 16 n | 16 | entry: type at 4, first sector at 8, sectors at 12 |
/// | 510 | 2 | 55 AA |
///
/// | offset | size | header of the GUID partition table, in sector 1 |
/// | --- | --- | --- |
/// | 0 | 8 | `EFI PART` |
/// | 72 | 8 | first sector of the entries |
/// | 80, 84 | 4, 4 | number of entries, bytes of each: type GUID at 0, first and last sector at 32 and 40 |
enum PartitionTable {
    private static let sector: UInt64 = 512
    private enum Kind {
        static let empty: UInt8 = 0, protective: UInt8 = 0xEE
        static let extended: [UInt8] = [0x05, 0x0F, 0x85]
    }
    /// More than anybody has.
    private static let most = 128

    /// The partitions, in the order of the table; none where there is no table.
    static func partitions(of disk: DiskWindow) throws(ImageError) -> [DiskWindow] {
        guard disk.length >= 2 * sector, let entries = try entries(of: disk, at: 0) else { return [] }
        if entries.contains(where: { $0.kind == Kind.protective }) { return try guidPartitions(of: disk) }
        var found: [DiskWindow] = []
        for entry in entries where entry.kind != Kind.empty {
            if Kind.extended.contains(entry.kind) {
                found += try logicalPartitions(of: disk, from: entry.start)
            } else if let part = disk.part(at: entry.start * sector, length: entry.count * sector) {
                found.append(part)
            }
        }
        return found
    }

    private typealias Entry = (kind: UInt8, start: UInt64, count: UInt64)

    private static func entries(of disk: DiskWindow, at offset: UInt64) throws(ImageError) -> [Entry]? {
        let record = try disk.bytes(at: offset, count: Int(sector))
        guard record.word(510) == 0xAA55 else { return nil }
        return (0..<4).map { index in
            let entry = 446 + 16 * index
            return (record.byte(entry + 4), record.number(entry + 8, 4), record.number(entry + 12, 4))
        }
    }

    /// A chain of records, each with a partition, counted from the record, and the next record, counted from the first.
    private static func logicalPartitions(of disk: DiskWindow, from first: UInt64) throws(ImageError) -> [DiskWindow] {
        var found: [DiskWindow] = []
        var record = first
        for _ in 0..<most {
            guard record * sector < disk.length, let entries = try entries(of: disk, at: record * sector) else { break }
            if entries[0].kind != Kind.empty,
                let part = disk.part(at: (record + entries[0].start) * sector, length: entries[0].count * sector)
            {
                found.append(part)
            }
            guard Kind.extended.contains(entries[1].kind), entries[1].start > 0 else { break }
            record = first + entries[1].start
        }
        return found
    }

    private static func guidPartitions(of disk: DiskWindow) throws(ImageError) -> [DiskWindow] {
        let header = try disk.bytes(at: sector, count: Int(sector))
        guard header.slice(0, 8).elementsEqual("EFI PART".utf8) else { return [] }
        let (first, size) = (header.number(72, 8), Int(header.long(84)))
        guard size >= 128, size <= 4096, first < disk.length / sector else { return [] }
        let count = min(Int(header.long(80)), most)
        let entries = try disk.bytes(at: first * sector, count: count * size)
        return (0..<count).compactMap { index in
            let (low, high) = (entries.number(index * size + 32, 8), entries.number(index * size + 40, 8))
            let isUsed = entries.slice(index * size, 16).contains { $0 != 0 }
            guard isUsed, low <= high, high < disk.length / sector else { return nil }
            return disk.part(at: low * sector, length: (high - low + 1) * sector)
        }
    }
}
