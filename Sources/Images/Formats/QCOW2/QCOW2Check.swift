/// Consistency of a qcow2 image: every cluster's references are counted from the tables and compared with the refcounts.
///
/// A refcount that is too high is a leak; one that is too low, a pointer that cannot be right, or a COPIED flag that
/// contradicts the refcount is a corruption.
struct QCOW2Check {
    let image: QCOW2Image
    private let layout: QCOW2Layout
    private var result = CheckResult()
    private var repair = RepairMode.none
    private var verifyData = false
    /// What was repaired; told after all that was found.
    private var repairLines: [String] = []
    /// References found, by host cluster.
    private let found: QCOW2ReferenceCounts
    private let fileClusters: UInt64
    /// L2 tables in the order in which they were met. Each is read once, however many entries and snapshots share it.
    private var tables: [UInt64: TableUse] = [:]
    private var tableOrder: [UInt64] = []
    /// Bytes that the tables and compressed clusters met so far need if no two of them share a place.
    private var snapshotTableBytes: UInt64 = 0
    private var compressedBytes: UInt64 = 0
    /// Refcount blocks that cannot be what their entry in the table says. Their clusters are not compared.
    private var unusableBlocks: Set<Int> = []
    private var previousHost: UInt64 = 0

    /// An L2 table: entries that name it, the disk offset of the first of them, and whether that is in the active table.
    private struct TableUse {
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
        // Preallocated and sparse images may name clusters past the end of the file, but not arbitrarily far.
        found = try QCOW2ReferenceCounts(count: Int(fileClusters) + layout.refblockEntries)
    }

    mutating func run(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        image.access.lockExclusive()
        defer { image.access.unlock() }
        self.repair = repair
        self.verifyData = verifyData
        if repair != .none { try image.checkWritable() }
        result.totalClusters = layout.clusters(image.header.size)
        count(0, UInt64(layout.clusterSize), "header")
        countL1(image.l1, at: image.header.l1Offset, isActive: true, times: 1)
        try countSnapshots()
        try countL2Tables()
        try countSnapshotTable()
        countBitmapsAndCrypto()
        try countRefcountStructures()
        try compare()
        for line in repairLines { note(line) }
        try checkCopiedFlags()
        result.imageEndOffset = UInt64(found.end) << UInt64(layout.clusterBits)
        if repair != .none { try finishRepair() }
        return result
    }

    private mutating func note(_ line: String) { result.note(line) }

    private mutating func corruption(_ line: String) {
        result.corruptions += 1
        note("ERROR \(line)")
    }

    /// Counts references to every cluster of a host range. False when the range leaves the file's reach.
    @discardableResult
    private mutating func count(_ offset: UInt64, _ bytes: UInt64, _ what: String, times: Int = 1) -> Bool {
        guard bytes > 0 else { return true }
        let (end, overflow) = offset.addingReportingOverflow(bytes - 1)
        let first = offset >> UInt64(layout.clusterBits)
        let last = end >> UInt64(layout.clusterBits)
        guard !overflow, last < UInt64(found.count) else {
            corruption("\(what) of \(bytes) bytes at offset \(offset.hex) lies beyond the end of the file")
            return false
        }
        for cluster in Int(first)...Int(last) { found.add(times, to: cluster) }
        return true
    }

    private mutating func countL1(_ table: [UInt64], at offset: UInt64, isActive: Bool, times: Int) {
        count(offset, UInt64(table.count) * 8, "L1 table", times: times)
        for (index, entry) in table.enumerated() {
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
        var uses: [[UInt64]: Int] = [:]
        var order: [[UInt64]] = []
        for snapshot in image.snapshots where snapshot.l1Size > 0 {
            let place = [snapshot.l1Offset, UInt64(snapshot.l1Size)]
            if uses.updateValue(uses[place, default: 0] + 1, forKey: place) == nil { order.append(place) }
        }
        for place in order {
            snapshotTableBytes += place[1] * 8
            guard snapshotTableBytes <= image.storage.byteCount else {
                corruption(
                    "L1 tables of snapshots share places: the file of \(image.storage.byteCount) bytes is too short")
                return
            }
            let table = try QCOW2Image.readTable(image.storage, at: place[0], entries: Int(place[1]))
            countL1(table, at: place[0], isActive: false, times: uses[place, default: 1])
        }
    }

    private mutating func countL2Tables() throws(ImageError) {
        let buffer = HeapBuffer(layout.clusterSize, zeroed: false)
        for offset in tableOrder {
            guard let use = tables[offset] else { continue }
            try image.storage.read(into: buffer.bytes, at: offset)
            countL2(UnsafeRawPointer(buffer.base), use)
        }
    }

    private mutating func countL2(_ table: UnsafeRawPointer, _ use: TableUse) {
        let isActive = use.isActive
        // As QEMU counts: what lies apart within one table.
        previousHost = 0
        for index in 0..<layout.l2Entries {
            let entry = table.be64(index * layout.entryBytes)
            let bitmap = layout.isExtended ? table.be64(index * 16 + 8) : 0
            if entry == 0, bitmap == 0 { continue }
            let disk = use.base + UInt64(index) << UInt64(layout.clusterBits)
            if layout.isExtended, UInt32(truncatingIfNeeded: bitmap) & UInt32(truncatingIfNeeded: bitmap >> 32) != 0 {
                corruption("Invalid subcluster bitmap \(bitmap.hex) at disk offset \(disk.hex)")
            }
            if entry & QCOW2Layout.compressed != 0 {
                if entry & QCOW2Layout.copied != 0 {
                    corruption("coffset=\(entry.hex): copied flag must never be set for compressed clusters")
                }
                let (host, bytes) = layout.compressedRange(entry)
                count(host & ~511, UInt64(bytes) + host & 511, "compressed cluster", times: use.times)
                if isActive, disk < image.header.size {
                    result.allocatedClusters += 1
                    result.compressedClusters += 1
                    // Compressed clusters are fragmented by nature.
                    result.fragmentedClusters += 1
                }
                if verifyData { verify(entry, disk) }
                continue
            }
            let host = entry & QCOW2Layout.offsetMask
            let isExternal = image.dataStorage !== image.storage
            if host == 0, !(isExternal && entry & QCOW2Layout.copied != 0) { continue }
            guard host & layout.clusterMask == 0 else {
                corruption("offset=\(String(host, radix: 16)): Cluster is not properly aligned; L2 entry corrupted.")
                continue
            }
            if isActive {
                result.allocatedClusters += 1
                if previousHost != 0, host != previousHost + UInt64(layout.clusterSize) {
                    result.fragmentedClusters += 1
                }
                previousHost = host
            }
            if image.dataStorage === image.storage {
                count(host, UInt64(layout.clusterSize), "data cluster", times: use.times)
            }
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

    private mutating func countSnapshotTable() throws(ImageError) {
        guard image.header.snapshotCount > 0 else { return }
        let bytes = try QCOW2Snapshot.encode(image.snapshots, version: image.header.version).count
        count(image.header.snapshotsOffset, UInt64(bytes), "snapshot table")
    }

    private mutating func countBitmapsAndCrypto() {
        if let crypto = image.header.cryptoHeader { count(crypto.offset, crypto.length, "LUKS header") }
        guard let place = image.header.bitmaps else { return }
        count(place.directoryOffset, place.directorySize, "bitmap directory")
        do throws(ImageError) {
            for bitmap in try QCOW2Bitmap.readDirectory(image) {
                for range in try image.ranges(of: bitmap) { count(range.0, range.1, "bitmap '\(bitmap.name)'") }
            }
        } catch {
            corruption("bitmaps: \(error.message)")
        }
    }

    private mutating func countRefcountStructures() throws(ImageError) {
        count(
            image.header.refcountTableOffset,
            UInt64(image.header.refcountTableClusters) << UInt64(layout.clusterBits), "refcount table")
        var blocks: Set<UInt64> = []
        for (index, entry) in image.refcountTable.enumerated() {
            let offset = entry & QCOW2Layout.refcountOffsetMask
            if offset == 0 { continue }
            guard offset & layout.clusterMask == 0 else {
                corruption("refcount block \(index) is not cluster aligned; refcount table entry corrupted")
                unusableBlocks.insert(index)
                continue
            }
            guard blocks.insert(offset).inserted else {
                corruption("refcount block \(index) at offset \(offset.hex) is used twice")
                unusableBlocks.insert(index)
                continue
            }
            if !count(offset, UInt64(layout.clusterSize), "refcount block \(index)") { unusableBlocks.insert(index) }
        }
    }

    /// Compares counted references with stored refcounts over everything that either side knows.
    private mutating func compare() throws(ImageError) {
        let entries = UInt64(layout.refblockEntries)
        let counted = UInt64(image.refcountTable.lastIndex { $0 != 0 }.map { $0 + 1 } ?? 0) * entries
        let end = max(UInt64(found.count), min(counted, UInt64(Int.max)))
        var cluster: UInt64 = 0
        while cluster < end {
            let block = Int(cluster / entries)
            if unusableBlocks.contains(block) {
                cluster = UInt64(block + 1) * entries
                continue
            }
            let hasBlock =
                block < image.refcountTable.count
                && image.refcountTable[block] & QCOW2Layout.refcountOffsetMask != 0
            if !hasBlock {
                let first = Int(min(cluster, UInt64(found.count)))
                let last = Int(min(UInt64(block + 1) * entries, UInt64(found.count)))
                if found.isUnreferenced(first..<last) {
                    cluster = UInt64(block + 1) * entries
                    continue
                }
            }
            let stored = hasBlock ? try image.refcount(cluster) : 0
            let references = cluster < UInt64(found.count) ? found[Int(cluster)] : 0
            if stored != references { try mismatch(cluster, stored: stored, references: references) }
            cluster += 1
        }
    }

    private mutating func mismatch(_ cluster: UInt64, stored: UInt64, references: UInt64) throws(ImageError) {
        let isLeak = stored > references
        let repairs = isLeak ? repair != .none : repair == .all
        let facts = "cluster \(cluster) refcount=\(stored) reference=\(references)"
        note((isLeak ? "Leaked " : "ERROR ") + facts)
        if repairs {
            if repairLines.count < CheckResult.shownFindings { repairLines.append("Repairing " + facts) }
            try image.setRefcount(cluster, references)
            if references == 0 { image.freeHint = min(image.freeHint, cluster) }
            if isLeak { result.leaksFixed += 1 } else { result.corruptionsFixed += 1 }
        } else if isLeak {
            result.leaks += 1
        } else {
            result.corruptions += 1
        }
    }

    /// COPIED must be set exactly where the refcount is one, in the active L1 and its L2 tables.
    private mutating func checkCopiedFlags() throws(ImageError) {
        let buffer = HeapBuffer(layout.clusterSize, zeroed: false)
        var seen: Set<UInt64> = []
        for index in image.l1.indices {
            let entry = image.l1[index]
            let l2Offset = entry & QCOW2Layout.offsetMask
            if l2Offset == 0 || l2Offset & layout.clusterMask != 0 { continue }
            if try flagIsWrong(entry, l2Offset, "L2 table", "l1_entry") {
                image.l1[index] ^= QCOW2Layout.copied
                image.markL1Dirty(index)
            }
            guard l2Offset < image.storage.byteCount, seen.insert(l2Offset).inserted else { continue }
            try image.storage.read(into: buffer.bytes, at: l2Offset)
            var changed = false
            for position in 0..<layout.l2Entries {
                let at = position * layout.entryBytes
                let value = buffer.base.be64(at)
                let host = value & QCOW2Layout.offsetMask
                if value & QCOW2Layout.compressed != 0 || host == 0 || host & layout.clusterMask != 0 { continue }
                if image.dataStorage !== image.storage { continue }
                if try flagIsWrong(value, host, "data cluster", "l2_entry") {
                    buffer.base.putBE64(value ^ QCOW2Layout.copied, at)
                    changed = true
                }
            }
            if changed {
                try image.storage.write(from: buffer.readable, at: l2Offset)
                image.l2Cache.dropAll()
            }
        }
    }

    /// Reports a wrong flag; true when it shall be flipped.
    private mutating func flagIsWrong(
        _ entry: UInt64, _ host: UInt64, _ what: String, _ name: String
    ) throws(ImageError) -> Bool {
        let references = try image.refcount(host >> UInt64(layout.clusterBits))
        if (references == 1) == (entry & QCOW2Layout.copied != 0) { return false }
        let verb = repair == .all ? "Repairing" : "ERROR"
        note("\(verb) OFLAG_COPIED \(what): \(name)=\(String(entry, radix: 16)) refcount=\(references)")
        if repair == .all { result.corruptionsFixed += 1 } else { result.corruptions += 1 }
        return repair == .all
    }

    /// Writes the repairs, then clears the marks that asked for them.
    private mutating func finishRepair() throws(ImageError) {
        try image.writeMetadata()
        try image.storage.sync()
        if repair == .all, result.corruptions == 0 {
            let marks = QCOW2Header.Incompatible.dirty | QCOW2Header.Incompatible.corrupt
            if image.header.incompatible & marks != 0 {
                image.header.incompatible &= ~marks
                try image.writeHeader()
                try image.storage.sync()
            }
        }
    }
}

extension QCOW2Image: CheckableImage {
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var checker = try QCOW2Check(self)
        return try checker.run(repair: repair, verifyData: verifyData)
    }
}
