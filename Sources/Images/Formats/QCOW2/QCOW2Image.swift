/// An open qcow2 image.
///
/// Locking: requests that change the mapping hold `access` exclusively, all others shared. Cached tables are only touched
/// under `cacheLock`, which is never held across data transfers.
///
/// Crash safety: metadata changes collect in the caches and reach the file in `writeMetadata`, refcounts first, then
/// L2 tables, then L1; clusters that were given up are reused only after the tables that named them are on disk. What
/// changes more at once is switched with the header (`switchTables`). An interruption at any write can only leak clusters.
public final class QCOW2Image: BlockDevice, @unchecked Sendable {
    let storage: any Storage
    /// Where guest clusters lie: `storage`, or the external data file.
    let dataStorage: any Storage
    var header: QCOW2Header
    let layout: QCOW2Layout
    let access = ReadWriteLock()
    let cacheLock = Lock()

    /// Active L1 table, entries as numbers.
    var l1: [UInt64]
    var l1Dirty: Range<Int>?
    let l2Cache: MetadataCache

    /// Refcount table entries as numbers.
    var refcountTable: [UInt64]
    var refcountTableDirty: Set<Int> = []
    let refblockCache: MetadataCache
    /// No free cluster lies below this cluster number.
    var freeHint: UInt64 = 0
    /// Host ranges to be given up once the tables that named them are on disk.
    var pendingFrees: [(offset: UInt64, count: UInt64, isData: Bool)] = []
    /// The next compressed cluster may start at this byte, behind the previous one.
    var compressedTail: UInt64 = 0
    /// End of the last cluster handed out: the file is brought to this length when it is flushed.
    var highestAllocated: UInt64 = 0

    var snapshots: [QCOW2Snapshot] = []
    /// Length of the snapshot table in the file, and what is wrong with it.
    var snapshotTableBytes: UInt64 = 0
    var snapshotFindings: [(message: String, isRepairable: Bool)] = []
    public private(set) var backing: (any BlockDevice)?
    let clusterPool: BufferPool
    /// Encrypted images: nil when no secret was given (for `info` and `check`).
    var cipher: SectorCipher?
    /// What opened an encrypted image; `amend` needs it to add another.
    var passphrase: [UInt8]?
    let decompressed: DecompressedClusters
    var isPreparedForWriting = false
    /// Which clusters hold metadata; nil until somebody asks, and after whole tables have moved.
    var metadata: QCOW2MetadataMap?
    /// How much of that is looked at before data is written in place.
    var overlapCheck = OverlapCheck.cached
    /// A change was refused because it would have spread damage: no more changes.
    var isCorrupt = false
    /// The references have been compared with the refcounts.
    var isAudited = false
    /// Whether that takes little, wherever the first new cluster lies.
    private(set) lazy var isAuditCheap: Bool =
        (l1.count { $0 & QCOW2Layout.offsetMask != 0 }
            + snapshots.reduce(0) { $0 + Int($1.l1Size) }) <= Self.cheapAuditBytes / layout.clusterSize
    /// The file's length when it was opened.
    let openedByteCount: UInt64
    /// The refcounts have moved to another object: this one must not change them.
    var isSuperseded = false
    /// Whether clusters lie in holes of the file; nil until somebody asks.
    var knownToBeSparse: Bool?
    /// Bitmaps that record what is written; empty until the first write.
    var tracking: [QCOW2TrackedBitmap] = []
    /// Bytes that their tables, and their pages, may take in memory.
    var trackingBudget = 64 << 20
    private var isClosed = false

    init(
        storage: any Storage, dataStorage: (any Storage)?, header: QCOW2Header, forWriting: Bool = true
    ) throws(ImageError) {
        self.storage = storage
        self.dataStorage = dataStorage ?? storage
        self.header = header
        layout = header.layout
        l2Cache = MetadataCache(tableBytes: layout.clusterSize, budgetBytes: 16 << 20)
        refblockCache = MetadataCache(tableBytes: layout.clusterSize, budgetBytes: 4 << 20)
        clusterPool = BufferPool(byteCount: layout.clusterSize)
        decompressed = DecompressedClusters(clusterSize: layout.clusterSize)
        l1 = try Self.readTable(storage, at: header.l1Offset, entries: Int(header.l1Size))
        refcountTable = try Self.readTable(
            storage, at: header.refcountTableOffset,
            entries: Int(header.refcountTableClusters) * layout.clusterSize / 8)
        openedByteCount = storage.byteCount
        highestAllocated = storage.byteCount
        let table = try QCOW2Snapshot.readTable(storage, header: header, forWriting: forWriting)
        snapshots = table.snapshots
        snapshotTableBytes = table.byteCount
        snapshotFindings = table.findings
    }

    /// A table of big-endian 64-bit entries as numbers.
    static func readTable(_ storage: any Storage, at offset: UInt64, entries: Int) throws(ImageError) -> [UInt64] {
        let buffer = HeapBuffer(entries * 8, zeroed: false)
        try storage.read(into: buffer.bytes.part(0, entries * 8), at: offset)
        let base = UnsafeRawPointer(buffer.base)
        return (0..<entries).map { base.be64($0 * 8) }
    }

    public var formatName: String { "qcow2" }
    public var path: String { storage.path }
    public var size: UInt64 { header.size }
    public var isReadOnly: Bool { storage.isReadOnly }
    public var hostFiles: [FileStorage] {
        storage.hostFiles + (dataStorage === storage ? [] : dataStorage.hostFiles)
    }
    public var clusterSize: Int? { layout.clusterSize }

    public var backingReference: BackingReference? {
        header.backingFile.map { BackingReference(file: $0, format: header.backingFormat) }
    }

    public func attach(backing: any BlockDevice) { self.backing = backing }

    func corrupt(_ message: String, _ offset: UInt64) -> ImageError {
        ImageError(.corrupt, message, format: "qcow2", path: path, offset: offset)
    }

    // MARK: Flushing

    public func flush() throws(ImageError) {
        guard !isReadOnly else { return }
        access.lockExclusive()
        defer { access.unlock() }
        try writeMetadata()
        if dataStorage !== storage { try dataStorage.sync() }
        try storage.sync()
    }

    public func close() throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        guard !isClosed else { return }
        isClosed = true
        defer {
            storage.close()
            if dataStorage !== storage { dataStorage.close() }
        }
        if !isReadOnly {
            try writeMetadata()
            try finishTracking()
            try writeMetadata()  // the refcounts of clusters that the first round gave up
            if dataStorage !== storage { try dataStorage.sync() }
            try storage.sync()
        }
        try backing?.close()
    }

    /// Brings the caches to the file in the order that keeps it consistent. Caller holds `access` exclusively.
    func writeMetadata() throws(ImageError) {
        if storage.byteCount < highestAllocated { try storage.resize(to: highestAllocated) }
        let hasMapping = l2Cache.dirtyCount > 0 || l1Dirty != nil
        let hasRefcounts = refblockCache.dirtyCount > 0
        try refblockCache.writeBack(to: storage)
        if !refcountTableDirty.isEmpty {
            try storage.sync()
            try writeRefcountTableEntries()
        }
        if hasMapping {
            // Data and refcounts must be there before any table names them.
            if dataStorage !== storage { try dataStorage.sync() }
            if hasRefcounts || dataStorage === storage { try storage.sync() }
            try l2Cache.writeBack(to: storage)
            if let range = l1Dirty {
                try storage.sync()
                try writeL1(range)
                l1Dirty = nil
            }
        }
        if !pendingFrees.isEmpty {
            try storage.sync()
            try releasePending()
        }
    }

    private func writeL1(_ range: Range<Int>) throws(ImageError) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(range.count * 8)
        for index in range { bytes.putBE(l1[index]) }
        try storage.write(bytes, at: header.l1Offset + UInt64(range.lowerBound) * 8)
    }

    func markL1Dirty(_ index: Int) {
        guard let range = l1Dirty else {
            l1Dirty = index..<index + 1
            return
        }
        l1Dirty = min(range.lowerBound, index)..<max(range.upperBound, index + 1)
    }

    /// Writes the header anew, at one instant: fields and extensions fit the first sector. A backing file name that does
    /// not goes to a place where the old one is not, before the sector that points to it.
    func writeHeader() throws(ImageError) {
        let whole = try header.encoded()
        let nameBytes = header.backingFile?.utf8.count ?? 0
        let head = whole.count - nameBytes
        guard whole.count > QCOW2Header.sectorBytes, head <= QCOW2Header.sectorBytes, layout.clusterSize >= 4096 else {
            return try storage.write(whole, at: 0)
        }
        let old = try storage.readBytes(at: 8, count: 12)
        let room = UInt64(1024)
        let low = UInt64(QCOW2Header.sectorBytes)
        let place = old.be64(0) + UInt64(old.be32(8)) <= low || old.be64(0) >= low + room ? low : low + room
        try storage.write(Array(whole[head...]), at: place)
        try storage.sync()
        var fields = Array(whole[..<head])
        fields.replaceSubrange(8..<16, with: [place].bigEndianBytes)
        try storage.write(fields, at: 0)
    }

    /// Before the first change: features that only hold while every writer keeps them are given up, and bitmaps that
    /// record writes are marked as in use, so that nobody trusts them should this be the end.
    func prepareForWriting() throws(ImageError) {
        if isPreparedForWriting, !isCorrupt { return }
        try checkWritable()
        guard !isSuperseded else { throw corrupt("the image was changed through another object", 0) }
        try guardMetadata()
        if isAuditCheap, overlapCheck != .none { try auditReferences() }
        let keepsBitmaps = try startTracking()
        var kept = header.autoclear & QCOW2Header.autoclearRawData
        if keepsBitmaps { kept |= header.autoclear & QCOW2Header.autoclearBitmaps }
        if header.autoclear != kept {
            header.autoclear = kept
            try writeHeader()
            try storage.sync()
        }
        isPreparedForWriting = true
    }

    // MARK: Facts

    public var summary: ImageSummary {
        var summary = ImageSummary()
        summary.actualSize = storage.allocatedBytes
        summary.isEncrypted = header.cryptMethod != 0
        summary.isDirty = header.incompatible & QCOW2Header.Incompatible.dirty != 0
        summary.snapshots = snapshots.map(\.info)
        return summary
    }

    private var encryptionInfo: [InfoField] {
        guard header.cryptMethod == 2 else { return [InfoField("format", .string("aes"))] }
        let format = InfoField("format", .string("luks"))
        guard let place = header.cryptoHeader, let luks = try? LUKSHeader(storage, at: place.offset) else {
            return [format]
        }
        return luks.info + [format]
    }

    public var formatDetails: FormatDetails? {
        var fields = [InfoField("compat", .string(header.version == 2 ? "0.10" : "1.1"))]
        fields.append(InfoField("compression-type", .string(header.compression == .zstd ? "zstd" : "zlib")))
        if header.version >= 3 {
            fields.append(
                InfoField("lazy-refcounts", .bool(header.compatible & QCOW2Header.lazyRefcounts != 0)))
        }
        if header.cryptMethod != 0 {
            fields.append(InfoField("encrypt", .object(encryptionInfo)))
        }
        if hasConsistentBitmaps, let bitmaps = try? QCOW2Bitmap.readDirectory(self), !bitmaps.isEmpty {
            fields.append(InfoField("bitmaps", .array(bitmaps.map(\.info))))
        }
        fields.append(InfoField("refcount-bits", .integer(Int64(layout.refcountBits))))
        if header.version >= 3 {
            fields.append(
                InfoField("corrupt", .bool(header.incompatible & QCOW2Header.Incompatible.corrupt != 0)))
            if let dataFile = header.dataFile {
                fields.insert(InfoField("data-file", .string(dataFile)), at: 2)
                fields.insert(
                    InfoField("data-file-raw", .bool(header.autoclear & QCOW2Header.autoclearRawData != 0)), at: 3)
            }
            fields.append(InfoField("extended-l2", .bool(layout.isExtended)))
        }
        return FormatDetails(type: "qcow2", fields: fields)
    }
}
