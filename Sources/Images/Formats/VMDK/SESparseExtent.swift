/// A space-efficient sparse extent of ESXi 6.5 and newer. Little-endian 64-bit fields, offsets in sectors; read only.
///
///     constant header, sector 0: 0 magic 0x00000000cafebabe, 8 version 0x200000001, 16 capacity, 24 grain (8),
///         32 grain table sectors (64), 40 flags, 80 volatile header: offset 80, size 88, journal header 96/104,
///         journal 112/120, directory 128/136, grain tables 144/152, free bitmap 160/168, backmap 176/184, grains 192/200
///     volatile header: 0 magic 0x00000000cafecafe, 8 generation, 16 sequence, 24 replay the journal
///
/// Directory entry: 0x1000000000000000 | number of a grain table. Table entry: top nibble 0 not there, 1 and 2 zeros,
/// 3 a grain whose number is (bits 48–59) | (bits 0–47) << 12.
final class SESparseExtent: BlockMappedImage, @unchecked Sendable {
    private let directory: EntryTable
    private let tablesStart: UInt64
    private let grainsStart: UInt64
    private let tables: MetadataCache
    private let cacheLock = Lock()
    private static let grainBytes = 4096
    private static let tableEntries = 4096

    /// Whether a file that begins with `head` is such an extent.
    static func matches(_ head: some Collection<UInt8>) -> Bool {
        head.starts(with: [0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0])
    }

    init(_ storage: any Storage) throws(ImageError) {
        let head = try storage.readBytes(at: 0, count: 512)
        func bad(_ kind: ImageError.Kind, _ message: String, _ offset: UInt64) -> ImageError {
            ImageError(kind, message, format: "vmdk", path: storage.path, offset: offset)
        }
        guard head.le64(0) == 0xcafe_babe else { throw bad(.corrupt, "invalid seSparse magic \(head.le64(0).hex)", 0) }
        guard head.le64(8) == 0x2_0000_0001 else {
            throw bad(.unsupported, "unsupported seSparse version \(head.le64(8).hex)", 8)
        }
        guard head.le64(24) == 8, head.le64(32) == 64 else {
            throw bad(.unsupported, "unsupported seSparse grain or table size", 24)
        }
        let volatile = head.le64(80)
        guard volatile < 1 << 40 else { throw bad(.corrupt, "seSparse volatile header offset is invalid", 80) }
        let state = try storage.readBytes(at: volatile * 512, count: 512)
        guard state.le64(0) == 0xcafe_cafe else {
            throw bad(.corrupt, "invalid seSparse volatile magic", volatile * 512)
        }
        guard state[24] == 0 else {
            throw bad(
                .unsupported, "seSparse image is dirty: its journal must be replayed by ESXi", volatile * 512 + 24)
        }
        let capacity = head.le64(16)
        guard capacity < 1 << 48, head.le64(144) < 1 << 40, head.le64(192) < 1 << 40 else {
            throw bad(.corrupt, "seSparse capacity or offsets are too large", 16)
        }
        let entries = (capacity + 8 * UInt64(Self.tableEntries) - 1) / (8 * UInt64(Self.tableEntries))
        let offset = head.le64(128), room = head.le64(136)
        guard entries <= 32 << 20, room < 1 << 40, entries * 8 <= room * 512, offset < 1 << 40,
            offset * 512 + entries * 8 <= storage.byteCount
        else { throw bad(.corrupt, "the seSparse grain directory does not fit", 128) }
        directory = try EntryTable(storage, at: offset * 512, count: Int(entries), width: 8, bigEndian: false)
        tablesStart = head.le64(144)
        grainsStart = head.le64(192)
        tables = MetadataCache(tableBytes: Self.tableEntries * 8, budgetBytes: 2 << 20)
        super.init(storage: storage, formatName: "vmdk", size: capacity * 512, blockBytes: Self.grainBytes)
    }

    override var isReadOnly: Bool { true }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        let grain = UInt64(blockBytes)
        let index = offset / grain
        let length = grain - offset % grain
        let entry = try directory[Int(index) / Self.tableEntries]
        if entry == 0 { return BlockRun(kind: .unallocated, length: length) }
        guard entry >> 32 == 0x1000_0000 else { throw corrupt("seSparse directory entry \(entry.hex) is invalid") }
        cacheLock.lock()
        defer { cacheLock.unlock() }
        let key = Int(entry & 0xffff_ffff)
        let host = (tablesStart + UInt64(key) * 64) * 512
        let slot: Int
        if let found = tables.find(key) {
            slot = found
        } else {
            guard host < storage.byteCount, let claimed = tables.claim(key, hostOffset: host) else {
                throw corrupt("seSparse grain table \(key) lies beyond the file", host)
            }
            try storage.read(into: tables.bytes(claimed), at: host)
            slot = claimed
        }
        let value = tables.table(slot).le64(Int(index) % Self.tableEntries * 8)
        switch value >> 60 {
        case 0:
            guard value == 0 else { throw corrupt("seSparse table entry \(value.hex) is invalid") }
            return BlockRun(kind: .unallocated, length: length)
        case 1, 2: return BlockRun(kind: .zero, length: length)
        case 3:
            let number = (value >> 48 & 0xfff) | (value & 0xffff_ffff_ffff) << 12
            guard number < 1 << 40, (grainsStart + number * 8) * 512 < storage.byteCount else {
                throw corrupt("seSparse grain \(number) lies beyond the file")
            }
            return BlockRun(kind: .data, length: length, host: (grainsStart + number * 8) * 512 + offset % grain)
        default: throw corrupt("seSparse table entry \(value.hex) is invalid")
        }
    }
}
