/// Consistency of a qcow2 image: every cluster's references are counted from the tables and compared with the refcounts.
///
/// A refcount that is too high is a leak; one that is too low, a pointer that cannot be right, or a COPIED flag that
/// contradicts the refcount is a corruption. Looking and mending are apart: first everything is counted and judged, then
/// (`QCOW2Repair`) all of it is mended, or, where one fault cannot be, nothing is changed at all.
struct QCOW2Check {
    let image: QCOW2Image
    let layout: QCOW2Layout
    var result = CheckResult()
    var repair = RepairMode.none
    private var verifyData = false
    /// References found, by host cluster.
    let found: QCOW2ReferenceCounts
    let fileClusters: UInt64
    /// Clusters below this number can be named: preallocated and sparse images may name some past the end of the file, but
    /// not arbitrarily far.
    private let reach: UInt64
    /// L2 tables in the order in which they were met. Each is read once, however many entries and snapshots share it.
    private(set) var tables: [UInt64: TableUse] = [:]
    private(set) var tableOrder: [UInt64] = []
    /// Bytes that the tables and compressed clusters met so far need if no two of them share a place.
    private var snapshotTableBytes: UInt64 = 0
    private var compressedBytes: UInt64 = 0
    private var previousHost: UInt64 = 0

    /// Corruptions that a repair mends.
    var repairable = 0
    /// Refcount blocks that cannot be what their entry in the table says. Their clusters are not compared.
    var unusableBlocks: Set<Int> = []
    /// Clusters that table and blocks were counted at.
    var refcountClusters: [Int] = []
    /// Clusters that the file must have for everything that is named to lie inside.
    private(set) var neededClusters: UInt64 = 0
    /// Refcount table and blocks have to be made anew, elsewhere.
    var needsRebuild = false
    /// Clusters of what stays where it is: header, L1 tables, snapshot table, bitmaps.
    private var settled: Set<UInt64> = []
    /// L2 tables with an entry to be mended.
    private(set) var damagedTables: Set<UInt64> = []
    /// L2 entries that call a table guest data: what is seen through them gets a cluster of its own.
    private(set) var misplacedData: [UInt64: Set<Int>] = [:]
    private(set) var misplacedCount = 0
    /// L2 tables that lie on other metadata: they get places of their own too.
    private(set) var misplacedTables: [UInt64] = []
    /// L1 entries with bits that mean nothing, by the place of the entry.
    private(set) var dirtyL1Entries: [UInt64: UInt64] = [:]
    /// More than that are taken for a table of garbage.
    static let misplacedLimit = 4096

    /// An L2 table: entries that name it, the disk offset of the first of them, and whether that is in the active table.
    struct TableUse {
        var times: Int
        var base: UInt64
        var isActive: Bool
    }

    init(_ image: QCOW2Image) throws(ImageError) {
        self.image = image
        layout = image.layout
        fileClusters = layout.clusters(image.storage.byteCount)
        guard fileClusters <= 1 << 30 else {
            throw ImageError(
                .unsupported, "the file has \(fileClusters) clusters, too many to check", format: "qcow2",
                path: image.path)
        }
        reach = fileClusters + UInt64(layout.refblockEntries)
        // A repair adds clusters behind: new refcount blocks, and data that lay on metadata.
        found = try QCOW2ReferenceCounts(
            count: Int(reach) + 2 * Int(reach) / layout.refblockEntries + 2 * Self.misplacedLimit + 1 << 16)
    }

    mutating func run(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        image.access.lockExclusive()
        defer { image.access.unlock() }
        self.repair = repair
        self.verifyData = verifyData
        if repair != .none { try image.checkWritable() }
        result.totalClusters = layout.clusters(image.header.size)
        settle(0, UInt64(layout.clusterSize), "header")
        countL1(image.l1, at: image.header.l1Offset, isActive: true, times: 1)
        try countSnapshots()
        countSnapshotTable()
        countBitmapsAndCrypto()
        try countL2Tables()
        countRefcountStructures()
        try compareRefcounts()
        try checkCopiedFlags()
        result.imageEndOffset = UInt64(found.end) << UInt64(layout.clusterBits)
        try mend()
        return result
    }

    // MARK: Findings

    mutating func note(_ line: String) { result.note(line) }

    /// A fault; `repairable` if it can be mended without any content getting lost.
    mutating func corruption(_ line: String, repairable isRepairable: Bool = false) {
        if isRepairable { repairable += 1 } else { result.corruptions += 1 }
        note("ERROR \(line)")
    }

    /// Counts references to every cluster of a host range. False when the range leaves the file's reach.
    @discardableResult
    mutating func count(
        _ offset: UInt64, _ bytes: UInt64, _ what: String, times: Int = 1, repairable isRepairable: Bool = false
    ) -> Bool {
        guard bytes > 0 else { return true }
        guard let clusters = clusters(offset, bytes) else {
            corruption(
                "\(what) of \(bytes) bytes at offset \(offset.hex) lies beyond the end of the file",
                repairable: isRepairable)
            return false
        }
        // The last cluster may be there in part. More than that reads as zeros, which a longer file has too.
        if !isRepairable, offset + bytes >= image.storage.byteCount + UInt64(layout.clusterSize) {
            corruption("\(what) at offset \(offset.hex) lies beyond the end of the file", repairable: true)
            neededClusters = max(neededClusters, UInt64(clusters.upperBound) + 1)
        }
        for cluster in clusters { found.add(times, to: cluster) }
        return true
    }

    /// The clusters of a host range; nil where they are out of the file's reach.
    func clusters(_ offset: UInt64, _ bytes: UInt64) -> ClosedRange<Int>? {
        let (end, overflow) = offset.addingReportingOverflow(bytes - 1)
        let last = end >> UInt64(layout.clusterBits)
        guard !overflow, last < reach else { return nil }
        return Int(offset >> UInt64(layout.clusterBits))...Int(last)
    }

    /// Counts what will stay where it is. Two of these in one place cannot be told apart any more.
    private mutating func settle(_ offset: UInt64, _ bytes: UInt64, _ what: String, times: Int = 1) {
        guard count(offset, bytes, what, times: times), bytes > 0, let clusters = clusters(offset, bytes) else {
            return
        }
        for cluster in clusters where !settled.insert(UInt64(cluster)).inserted {
            corruption("\(what) at offset \(offset.hex) overlaps with other metadata")
            return
        }
    }

    // MARK: Tables

    private mutating func countL1(_ table: [UInt64], at offset: UInt64, isActive: Bool, times: Int) {
        settle(offset, UInt64(table.count) * 8, "L1 table", times: times)
        for (index, entry) in table.enumerated() {
            if entry & QCOW2Layout.l1Reserved != 0 {
                corruption("found L1 entry with reserved bits set: \(String(entry, radix: 16))", repairable: true)
                dirtyL1Entries[offset + UInt64(index) * 8] = entry & ~QCOW2Layout.l1Reserved
            }
            let l2Offset = entry & QCOW2Layout.offsetMask
            if l2Offset == 0 { continue }
            guard l2Offset & layout.clusterMask == 0 else {
                corruption("l2_offset=\(String(l2Offset, radix: 16)): Table is not cluster aligned; L1 entry corrupted")
                continue
            }
            guard count(l2Offset, UInt64(layout.clusterSize), "L2 table", times: times) else { continue }
            if let known = tables[l2Offset] {
                tables[l2Offset] = TableUse(times: known.times + times, base: known.base, isActive: known.isActive)
            } else {
                let base = UInt64(index) << UInt64(layout.clusterBits + layout.l2Bits)
                tables[l2Offset] = TableUse(times: times, base: base, isActive: isActive)
                tableOrder.append(l2Offset)
            }
        }
    }

    /// The tables of all snapshots; one that several snapshots name is read once.
    private mutating func countSnapshots() throws(ImageError) {
        var uses: [QCOW2TablePlace: Int] = [:]
        var order: [QCOW2TablePlace] = []
        for snapshot in image.snapshots where snapshot.hasUsableL1 {
            let place = QCOW2TablePlace(offset: snapshot.l1Offset, entries: snapshot.l1Size)
            if uses.updateValue(uses[place, default: 0] + 1, forKey: place) == nil { order.append(place) }
        }
        for place in order {
            snapshotTableBytes += place.byteCount
            guard snapshotTableBytes <= image.storage.byteCount else {
                corruption(
                    "L1 tables of snapshots share places: the file of \(image.storage.byteCount) bytes is too short")
                return
            }
            let table = try QCOW2Image.readTable(image.storage, at: place.offset, entries: Int(place.entries))
            countL1(table, at: place.offset, isActive: false, times: uses[place, default: 1])
        }
    }

    private mutating func countL2Tables() throws(ImageError) {
        let buffer = HeapBuffer(layout.clusterSize, zeroed: false)
        for offset in tableOrder where settled.contains(offset >> UInt64(layout.clusterBits)) {
            misplacedTables.append(offset)
            corruption(
                "L2 table at offset \(offset.hex) overlaps with other metadata",
                repairable: misplacedTables.count <= Self.misplacedLimit)
        }
        for offset in tableOrder {
            guard let use = tables[offset] else { continue }
            try image.storage.read(into: buffer.bytes, at: offset)
            countL2(UnsafeRawPointer(buffer.base), at: offset, use)
        }
    }

    private mutating func countL2(_ table: UnsafeRawPointer, at place: UInt64, _ use: TableUse) {
        // As QEMU counts: what lies apart within one table.
        previousHost = 0
        for index in 0..<layout.l2Entries {
            let entry = table.be64(index * layout.entryBytes)
            let bitmap = layout.isExtended ? table.be64(index * 16 + 8) : 0
            if entry == 0, bitmap == 0 { continue }
            let disk = use.base + UInt64(index) << UInt64(layout.clusterBits)
            if entry & QCOW2Layout.compressed != 0 {
                countCompressed(entry, bitmap, disk, at: place, use)
                continue
            }
            if layout.isExtended, UInt32(truncatingIfNeeded: bitmap) & UInt32(truncatingIfNeeded: bitmap >> 32) != 0 {
                corruption("Invalid subcluster bitmap \(bitmap.hex) at disk offset \(disk.hex)")
            }
            if entry & QCOW2Layout.offsetMask == 0, bitmap & 0xffff_ffff != 0, image.dataStorage === image.storage {
                corruption("Unallocated cluster has non-zero subcluster allocation map at disk offset \(disk.hex)")
            }
            if entry & QCOW2Layout.l2Reserved != 0 {
                corruption("found l2 entry with reserved bits set: \(String(entry, radix: 16))", repairable: true)
                damagedTables.insert(place)
            }
            countData(entry, bitmap, index, at: place, use)
        }
    }

    private mutating func countCompressed(
        _ entry: UInt64, _ bitmap: UInt64, _ disk: UInt64, at place: UInt64, _ use: TableUse
    ) {
        if entry & QCOW2Layout.copied != 0 {
            corruption("coffset=\(entry.hex): copied flag must never be set for compressed clusters", repairable: true)
            damagedTables.insert(place)
        }
        if bitmap != 0 {
            corruption("compressed cluster at disk offset \(disk.hex) has a subcluster bitmap", repairable: true)
            damagedTables.insert(place)
        }
        let (host, bytes) = layout.compressedRange(entry)
        count(host & ~511, UInt64(bytes) + host & 511, "compressed cluster", times: use.times)
        if use.isActive, disk < image.header.size {
            result.allocatedClusters += 1
            result.compressedClusters += 1
            // Compressed clusters are fragmented by nature.
            result.fragmentedClusters += 1
        }
        if verifyData { verify(entry, disk) }
    }

    private mutating func countData(
        _ entry: UInt64, _ bitmap: UInt64, _ index: Int, at place: UInt64, _ use: TableUse
    ) {
        let host = entry & QCOW2Layout.offsetMask
        let isExternal = image.dataStorage !== image.storage
        if host == 0, !(isExternal && entry & QCOW2Layout.copied != 0) { return }
        guard host & layout.clusterMask == 0 else {
            let hasData = layout.isExtended ? bitmap & 0xffff_ffff != 0 : entry & QCOW2Layout.zeroFlag == 0
            corruption(
                "offset=\(String(host, radix: 16)): "
                    + (hasData
                        ? "Cluster is not properly aligned; L2 entry corrupted."
                        : "Preallocated cluster is not properly aligned; L2 entry corrupted."),
                repairable: !hasData)
            if !hasData { damagedTables.insert(place) }
            return
        }
        if use.isActive {
            result.allocatedClusters += 1
            if previousHost != 0, host != previousHost + UInt64(layout.clusterSize) { result.fragmentedClusters += 1 }
            previousHost = host
        }
        guard !isExternal, count(host, UInt64(layout.clusterSize), "data cluster", times: use.times) else { return }
        guard settled.contains(host >> UInt64(layout.clusterBits)) || tables[host] != nil else { return }
        misplacedCount += 1
        corruption(
            "data cluster at offset \(host.hex) overlaps with metadata",
            repairable: misplacedCount <= Self.misplacedLimit)
        if misplacedCount <= Self.misplacedLimit {
            damagedTables.insert(place)
            misplacedData[place, default: []].insert(index)
        }
    }

    /// Decompresses a cluster to see that it can be. Deflate shortens nothing to less than a thousandth, so tables that
    /// name more compressed clusters than the file can hold, snapshots counted, need not be followed.
    private mutating func verify(_ entry: UInt64, _ disk: UInt64) {
        compressedBytes += UInt64(max(1, layout.clusterSize / 1100))
        let room = image.storage.byteCount * UInt64(image.snapshots.count + 1)
        guard compressedBytes <= room else {
            if compressedBytes - room <= UInt64(max(1, layout.clusterSize / 1100)) {
                corruption("compressed clusters share places: the file is too short for all that the tables name")
            }
            return
        }
        let whole = image.clusterPool.take()
        defer { image.clusterPool.give(whole) }
        do throws(ImageError) {
            try image.decompress(entry, into: whole.bytes, at: disk)
        } catch {
            corruption("disk offset \(disk.hex): \(error.message)")
        }
    }

    private mutating func countSnapshotTable() {
        for finding in image.snapshotFindings { corruption(finding.message, repairable: finding.isRepairable) }
        settle(image.header.snapshotsOffset, image.snapshotTableBytes, "snapshot table")
    }

    private mutating func countBitmapsAndCrypto() {
        if let crypto = image.header.cryptoHeader { settle(crypto.offset, crypto.length, "LUKS header") }
        guard let place = image.header.bitmaps else { return }
        settle(place.directoryOffset, place.directorySize, "bitmap directory")
        do throws(ImageError) {
            for bitmap in try QCOW2Bitmap.readDirectory(image) {
                for range in try image.ranges(of: bitmap) { settle(range.0, range.1, "bitmap '\(bitmap.name)'") }
            }
        } catch {
            corruption("bitmaps: \(error.message)")
        }
    }

    // MARK: COPIED

    /// COPIED must be set exactly where the refcount is one, in the active L1 and its L2 tables.
    private mutating func checkCopiedFlags() throws(ImageError) {
        let buffer = HeapBuffer(layout.clusterSize, zeroed: false)
        var seen: Set<UInt64> = []
        for entry in image.l1 {
            let l2Offset = entry & QCOW2Layout.offsetMask
            if l2Offset == 0 || l2Offset & layout.clusterMask != 0 { continue }
            try checkFlag(entry, l2Offset, "L2 table", "l1_entry")
            guard l2Offset < image.storage.byteCount, seen.insert(l2Offset).inserted else { continue }
            guard image.dataStorage === image.storage else { continue }
            try image.storage.read(into: buffer.bytes, at: l2Offset)
            for position in 0..<layout.l2Entries {
                let value = buffer.base.be64(position * layout.entryBytes)
                let host = value & QCOW2Layout.offsetMask
                if value & QCOW2Layout.compressed != 0 || host == 0 || host & layout.clusterMask != 0 { continue }
                try checkFlag(value, host, "data cluster", "l2_entry")
            }
        }
    }

    private mutating func checkFlag(
        _ entry: UInt64, _ host: UInt64, _ what: String, _ name: String
    ) throws(ImageError) {
        let references = try storedRefcount(host >> UInt64(layout.clusterBits))
        if (references == 1) == (entry & QCOW2Layout.copied != 0) { return }
        // Where the refcount is what is wrong, mending that is enough.
        let counted = host >> UInt64(layout.clusterBits) < reach ? found[Int(host >> UInt64(layout.clusterBits))] : 0
        let isMended = repair == .all || (repair == .leaks && references > UInt64(counted))
        if isMended, (counted == 1) == (entry & QCOW2Layout.copied != 0) { return }
        corruption(
            "OFLAG_COPIED \(what): \(name)=\(String(entry, radix: 16)) refcount=\(references)", repairable: true)
    }
}

extension QCOW2Image: CheckableImage {
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var checker = try QCOW2Check(self)
        return try checker.run(repair: repair, verifyData: verifyData)
    }
}
