/// Refcounts and allocation. All callers hold `access` exclusively.
///
/// The refcount table points to refcount blocks of one cluster each; block n holds the refcounts of clusters
/// n × refblockEntries and following. A missing block means that all of them are free.
extension QCOW2Image {
    /// The slot of refcount block `index`; nil where there is none.
    private func loadRefblock(_ index: Int) throws(ImageError) -> Int? {
        if let slot = refblockCache.find(index) { return slot }
        guard index < refcountTable.count else { return nil }
        let offset = refcountTable[index] & QCOW2Layout.refcountOffsetMask
        if offset == 0 { return nil }
        guard offset & layout.clusterMask == 0 else {
            throw corrupt("Refblock offset \(offset.hex) unaligned (reftable index: \(UInt64(index).hex))", offset)
        }
        let slot = try claimRefblock(index, hostOffset: offset)
        do throws(ImageError) {
            try storage.read(into: refblockCache.bytes(slot), at: offset)
        } catch {
            refblockCache.drop(slot)
            throw error
        }
        return slot
    }

    private func claimRefblock(_ index: Int, hostOffset: UInt64) throws(ImageError) -> Int {
        if let slot = refblockCache.claim(index, hostOffset: hostOffset) { return slot }
        // Refcounts may always be written early: at worst clusters leak.
        try refblockCache.writeBack(to: storage)
        guard let slot = refblockCache.claim(index, hostOffset: hostOffset) else {
            throw corrupt("the refcount cache cannot be written back", hostOffset)
        }
        return slot
    }

    /// The refcount of a host cluster.
    func refcount(_ cluster: UInt64) throws(ImageError) -> UInt64 {
        let index = Int(cluster / UInt64(layout.refblockEntries))
        guard let slot = try loadRefblock(index) else { return 0 }
        return layout.refcount(refblockCache.table(slot), Int(cluster % UInt64(layout.refblockEntries)))
    }

    func setRefcount(_ cluster: UInt64, _ value: UInt64) throws(ImageError) {
        let index = Int(cluster / UInt64(layout.refblockEntries))
        let slot = try ensureRefblock(index)
        layout.setRefcount(refblockCache.table(slot), Int(cluster % UInt64(layout.refblockEntries)), value)
        refblockCache.markDirty(slot)
    }

    /// The slot of block `index`, made if there is none. A new block takes the first cluster that it counts itself:
    /// without a block all of those are free.
    private func ensureRefblock(_ index: Int) throws(ImageError) -> Int {
        if index >= refcountTable.count { try growRefcountTable(toHold: index) }
        if let slot = try loadRefblock(index) { return slot }
        let cluster = UInt64(index) * UInt64(layout.refblockEntries)
        let offset = cluster << UInt64(layout.clusterBits)
        try checkUnclaimed(cluster)
        let slot = try claimRefblock(index, hostOffset: offset)
        refblockCache.bytes(slot).zero(from: 0)
        layout.setRefcount(refblockCache.table(slot), 0, 1)
        metadata?.insert(.refcountBlock, at: offset, bytes: UInt64(layout.clusterSize))
        refblockCache.markDirty(slot)
        refcountTable[index] = offset
        refcountTableDirty.insert(index)
        highestAllocated = max(highestAllocated, offset + UInt64(layout.clusterSize))
        return slot
    }

    func writeRefcountTableEntries() throws(ImageError) {
        for index in refcountTableDirty.sorted() {
            var bytes: [UInt8] = []
            bytes.putBE(refcountTable[index])
            try storage.write(bytes, at: header.refcountTableOffset + UInt64(index) * 8)
        }
        refcountTableDirty.removeAll()
    }

    /// Moves the refcount table to a larger place, past everything that the present one can count. The header is
    /// switched over with one write after everything it will name is on disk.
    private func growRefcountTable(toHold index: Int) throws(ImageError) {
        let perCluster = layout.clusterSize / 8
        let wanted = max(index + 1, refcountTable.count + refcountTable.count / 2)
        let entries = layout.refblockEntries
        let firstBlock = max(refcountTable.count, index)
        let firstCluster = UInt64(firstBlock) * UInt64(entries)
        // The blocks that count the new table and themselves; more blocks need a larger table, so settle both.
        var blockCount = 1
        var tableClusters = 0
        while true {
            tableClusters = (max(wanted, firstBlock + blockCount) + perCluster - 1) / perCluster
            let needed = (tableClusters + blockCount + entries - 1) / entries
            if needed <= blockCount { break }
            blockCount = needed
        }
        guard UInt64(tableClusters * layout.clusterSize) <= QCOW2Layout.maximumRefcountTableBytes else {
            throw ImageError(
                .outOfSpace, "The image would need a refcount table above 8 MiB; larger clusters allow larger images",
                format: "qcow2", path: path)
        }
        try writeMetadata()
        let used = blockCount + tableClusters
        for step in 0..<UInt64(used) { try checkUnclaimed(firstCluster + step) }
        let block = HeapBuffer(layout.clusterSize)
        var table = refcountTable + [UInt64](repeating: 0, count: tableClusters * perCluster - refcountTable.count)
        for number in 0..<blockCount {
            block.bytes.zero(from: 0)
            for entry in 0..<min(entries, used - number * entries) { layout.setRefcount(block.base, entry, 1) }
            let offset = (firstCluster + UInt64(number)) << UInt64(layout.clusterBits)
            try storage.write(from: block.readable, at: offset)
            table[firstBlock + number] = offset
        }
        let tableOffset = (firstCluster + UInt64(blockCount)) << UInt64(layout.clusterBits)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(table.count * 8)
        for entry in table { bytes.putBE(entry) }
        try storage.write(bytes, at: tableOffset)
        try storage.sync()
        let old = (header.refcountTableOffset, UInt64(header.refcountTableClusters) << UInt64(layout.clusterBits))
        var field: [UInt8] = []
        field.putBE(tableOffset)
        field.putBE(UInt32(tableClusters))
        try storage.write(field, at: 48)
        header.refcountTableOffset = tableOffset
        header.refcountTableClusters = UInt32(tableClusters)
        refcountTable = table
        highestAllocated = max(highestAllocated, tableOffset + UInt64(bytes.count))
        metadata = nil
        freeLater(old.0, old.1)
    }

    // MARK: Allocating

    /// Takes up to `wanted` adjoining free clusters, at least one; their refcounts become 1.
    /// Returns the host offset and how many there are.
    func allocate(upTo wanted: Int) throws(ImageError) -> (offset: UInt64, count: Int) {
        let first = try nextFree(from: freeHint)
        var count = 1
        while count < wanted, try isFree(first + UInt64(count)) { count += 1 }
        try take(first, count)
        freeHint = first + UInt64(count)
        return (first << UInt64(layout.clusterBits), count)
    }

    /// Takes exactly `count` adjoining free clusters and returns their offset (tables that must be contiguous).
    func allocateContiguous(_ count: Int) throws(ImageError) -> UInt64 {
        var first = try nextFree(from: freeHint)
        search: while true {
            for step in 1..<max(count, 1) where try !isFree(first + UInt64(step)) {
                let taken = first + UInt64(step)
                // Every block that is yet to be made will lie at the beginning of what it counts.
                if count >= layout.refblockEntries, !hasRefblock(Int(taken / UInt64(layout.refblockEntries))) {
                    return try allocateBehindEverything(count)
                }
                first = try nextFree(from: taken + 1)
                continue search
            }
            break
        }
        try take(first, count)
        if first == freeHint { freeHint = first + UInt64(count) }
        return first << UInt64(layout.clusterBits)
    }

    /// Takes `count` adjoining clusters, more than one refcount block counts, where there is nothing yet. The new blocks
    /// lie before them, one behind the other, instead of each where it begins to count.
    private func allocateBehindEverything(_ count: Int) throws(ImageError) -> UInt64 {
        let entries = layout.refblockEntries
        var blocks = 1
        while blocks * entries < blocks + count { blocks += 1 }
        let firstBlock = (refcountTable.indices.last(where: hasRefblock) ?? -1) + 1
        // A larger table, and what counts it, comes to lie behind our room.
        if firstBlock + blocks > refcountTable.count { try growRefcountTable(toHold: firstBlock + blocks) }
        let start = UInt64(firstBlock) * UInt64(entries)
        guard (start + UInt64(blocks + count)) << UInt64(layout.clusterBits) < 1 << 56 else { throw noRoom }
        for step in 0..<UInt64(blocks + count) { try checkUnclaimed(start + step) }
        for number in 0..<blocks {
            let offset = (start + UInt64(number)) << UInt64(layout.clusterBits)
            let slot = try claimRefblock(firstBlock + number, hostOffset: offset)
            refblockCache.bytes(slot).zero(from: 0)
            refblockCache.markDirty(slot)
            refcountTable[firstBlock + number] = offset
            refcountTableDirty.insert(firstBlock + number)
            metadata?.insert(.refcountBlock, at: offset, bytes: UInt64(layout.clusterSize))
        }
        try take(start, blocks + count)
        return (start + UInt64(blocks)) << UInt64(layout.clusterBits)
    }

    private func hasRefblock(_ index: Int) -> Bool {
        index < refcountTable.count && refcountTable[index] & QCOW2Layout.refcountOffsetMask != 0
    }

    private var noRoom: ImageError {
        ImageError(.outOfSpace, "No host offset below 2^56 is free", format: "qcow2", path: path)
    }

    private func take(_ first: UInt64, _ count: Int) throws(ImageError) {
        for step in 0..<UInt64(count) { try setRefcount(first + step, 1) }
        highestAllocated = max(highestAllocated, (first + UInt64(count)) << UInt64(layout.clusterBits))
    }

    /// Whether a cluster is free and not the place that a refcount block yet to be made would take.
    private func isFree(_ cluster: UInt64) throws(ImageError) -> Bool {
        let entries = UInt64(layout.refblockEntries)
        let index = Int(cluster / entries)
        if !hasRefblock(index) {
            // With a single refcount per block every cluster would be a block: such layouts do not exist.
            guard cluster % entries != 0, cluster << UInt64(layout.clusterBits) < 1 << 56 else { return false }
        } else if try refcount(cluster) != 0 {
            return false
        }
        try checkUnclaimed(cluster)
        return true
    }

    private func nextFree(from start: UInt64) throws(ImageError) -> UInt64 {
        var cluster = start
        while try !isFree(cluster) {
            cluster += 1
            guard cluster << UInt64(layout.clusterBits) < 1 << 56 else { throw noRoom }
        }
        // Making a missing block now keeps a grown table from landing on this cluster.
        _ = try ensureRefblock(Int(cluster / UInt64(layout.refblockEntries)))
        if try refcount(cluster) != 0 { return try nextFree(from: cluster + 1) }
        return cluster
    }

    // MARK: Freeing

    /// Gives host bytes up once the tables that named them are on disk. `isData`: an L2 entry named them.
    func freeLater(_ offset: UInt64, _ count: UInt64, isData: Bool = false) {
        pendingFrees.append((offset, count, isData))
    }

    /// Lowers the refcounts of clusters that no table on disk or in memory names any more.
    func freeNow(_ offset: UInt64, _ count: UInt64, isData: Bool = false) throws(ImageError) {
        guard count > 0 else { return }
        let first = offset >> UInt64(layout.clusterBits)
        let last = (offset + count - 1) >> UInt64(layout.clusterBits)
        for cluster in first...last {
            let value = try refcount(cluster)
            guard value > 0 else {
                throw refuse("Preventing invalid freeing of a cluster with the refcount 0", cluster: cluster)
            }
            if isData, value == 1, !mayFreeData(cluster) { continue }
            try setRefcount(cluster, value - 1)
            if value == 1 {
                metadata?.remove(cluster)
                freeHint = min(freeHint, cluster)
                let start = cluster << UInt64(layout.clusterBits)
                if layout.clusterStart(compressedTail) == start { compressedTail = 0 }
                storage.punch(at: start, count: UInt64(layout.clusterSize))
            }
        }
    }

    func releasePending() throws(ImageError) {
        let frees = pendingFrees
        pendingFrees.removeAll(keepingCapacity: true)
        if frees.isEmpty { return }
        decompressed.removeAll()
        for range in frees { try freeNow(range.offset, range.count, isData: range.isData) }
    }
}
