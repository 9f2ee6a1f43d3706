/// Changes that touch many refcounts, COPIED flags and tables at once, made at one instant.
///
/// Refcount blocks, refcount table, the L2 tables whose flags change, the L1 table and the snapshot table are all written
/// anew into free clusters, from the old ones as they will be afterwards. Then one write of 48 bytes into the header
/// (offsets 24–71, one sector) replaces old by new. Interrupted before it, the image is as it was and has leaked the new
/// tables; after it, nothing is left to do but giving host space back.
extension QCOW2Image {
    /// What shall hold after a switch.
    struct NextTables {
        var snapshots: [QCOW2Snapshot]
        /// Entries of the active L1 table, and the size of the disk it maps.
        var active: [UInt64]
        var size: UInt64
        /// L1 tables whose L2 tables and data count one reference more, or one less.
        var raised: [UInt64] = []
        var lowered: [UInt64] = []
        /// A range that nobody names afterwards, besides the tables that are replaced.
        var freed: (offset: UInt64, count: UInt64) = (0, 0)
    }

    /// Places for what a switch writes.
    private struct Room {
        var l1: UInt64 = 0
        var snapshots: UInt64 = 0
        var refcountTable: UInt64 = 0
        var refcountBlocks: [UInt64] = []
        var l2: [UInt64] = []
    }

    /// Makes `next` the image's tables. Everything must have settled; afterwards it has again.
    func switchTables(to next: NextTables) throws(ImageError) {
        let snapshotTable = try QCOW2Snapshot.encode(next.snapshots, version: header.version)
        guard snapshotTable.count <= QCOW2Layout.maximumSnapshotTableBytes else {
            throw ImageError(.invalidArgument, "the snapshot table would exceed 64 MiB", format: "qcow2", path: path)
        }
        let room = try makeRoom(for: next, snapshotTableBytes: snapshotTable.count)
        let old = (header: header, refcountTable: refcountTable)
        var given = GivenUpClusters()
        var active = next.active
        do throws(ImageError) {
            try moveRefcounts(to: room, &given)
            try raise(next.raised)
            try lower(next.lowered, &given)
            try lower(next.freed.offset, next.freed.count, &given)
            try lower(old.header.l1Offset, UInt64(old.header.l1Size) * 8, &given)
            try lower(old.header.snapshotsOffset, snapshotTableBytes, &given)
            try renewFlags(&active, copies: room.l2, &given)
            try storage.write(active.bigEndianBytes, at: room.l1)
            try storage.write(snapshotTable, at: room.snapshots)
            try refblockCache.writeBack(to: storage)
            refcountTableDirty.removeAll()
            try storage.write(refcountTable.bigEndianBytes, at: room.refcountTable)
            try storage.sync()
            header.size = next.size
            header.l1Size = UInt32(active.count)
            header.l1Offset = room.l1
            header.snapshotCount = UInt32(next.snapshots.count)
            header.snapshotsOffset = room.snapshots
            try storage.write(switchedFields, at: 24)
        } catch {
            (header, refcountTable) = old
            refblockCache.dropAll()
            refcountTableDirty.removeAll()
            throw error
        }
        l1 = active
        l1Dirty = nil
        snapshots = next.snapshots
        snapshotTableBytes = UInt64(snapshotTable.count)
        metadata = nil
        l2Cache.dropAll()
        decompressed.removeAll()
        compressedTail = 0
        freeHint = min(freeHint, given.lowest)
        try storage.sync()
        for range in given.ranges {
            let bits = UInt64(layout.clusterBits)
            storage.punch(at: range.lowerBound << bits, count: UInt64(range.count) << bits)
        }
    }

    /// Header fields from the disk size to the snapshot table.
    private var switchedFields: [UInt8] {
        var fields: [UInt8] = []
        fields.putBE(header.size)
        fields.putBE(header.cryptMethod)
        fields.putBE(header.l1Size)
        fields.putBE(header.l1Offset)
        fields.putBE(header.refcountTableOffset)
        fields.putBE(header.refcountTableClusters)
        fields.putBE(header.snapshotCount)
        fields.putBE(header.snapshotsOffset)
        return fields
    }

    /// Takes free clusters for all that will be written, before anything is given up: what is free now is used by
    /// neither the old tables nor the new ones.
    private func makeRoom(for next: NextTables, snapshotTableBytes: Int) throws(ImageError) -> Room {
        var room = Room()
        room.l1 = try allocateContiguous(max(1, Int(layout.clusters(UInt64(next.active.count) * 8))))
        if snapshotTableBytes > 0 {
            room.snapshots = try allocateContiguous(Int(layout.clusters(UInt64(snapshotTableBytes))))
        }
        try allocate(next.active.count { $0 & QCOW2Layout.offsetMask != 0 }, into: &room.l2)
        // Taking clusters can make new refcount blocks and even a larger table: until both are enough.
        var tableClusters: UInt32 = 0
        while room.refcountBlocks.count < refcountBlockCount || tableClusters != header.refcountTableClusters {
            if tableClusters != header.refcountTableClusters {
                if tableClusters > 0 {
                    try freeNow(room.refcountTable, UInt64(tableClusters) << UInt64(layout.clusterBits))
                }
                tableClusters = header.refcountTableClusters
                room.refcountTable = try allocateContiguous(Int(tableClusters))
            }
            try allocate(refcountBlockCount - room.refcountBlocks.count, into: &room.refcountBlocks)
        }
        try settle()
        return room
    }

    private var refcountBlockCount: Int {
        refcountTable.count { $0 & QCOW2Layout.refcountOffsetMask != 0 }
    }

    private func allocate(_ count: Int, into places: inout [UInt64]) throws(ImageError) {
        var missing = count
        while missing > 0 {
            let (offset, got) = try allocate(upTo: missing)
            for step in 0..<UInt64(got) { places.append(offset + step << UInt64(layout.clusterBits)) }
            missing -= got
        }
    }

    /// From here on the refcounts in memory are those to be, and none of their blocks lies where an old one does.
    private func moveRefcounts(to room: Room, _ given: inout GivenUpClusters) throws(ImageError) {
        let bytes = UInt64(layout.clusterSize)
        let oldTable = (header.refcountTableOffset, UInt64(header.refcountTableClusters) * bytes)
        var places = room.refcountBlocks
        var oldBlocks: [UInt64] = []
        let buffer = HeapBuffer(layout.clusterSize, zeroed: false)
        refblockCache.dropAll()
        for index in refcountTable.indices {
            let offset = refcountTable[index] & QCOW2Layout.refcountOffsetMask
            if offset == 0 { continue }
            guard let place = places.popLast() else { throw corrupt("the refcount table has changed", offset) }
            try storage.read(into: buffer.bytes, at: offset)
            try storage.write(from: buffer.readable, at: place)
            refcountTable[index] = place
            oldBlocks.append(offset)
        }
        header.refcountTableOffset = room.refcountTable
        for place in places { try lower(place, bytes, &given) }
        for offset in oldBlocks { try lower(offset, bytes, &given) }
        try lower(oldTable.0, oldTable.1, &given)
    }

    private func raise(_ table: [UInt64]) throws(ImageError) {
        try forEachReference(table) { (offset, count, _) throws(ImageError) in
            for cluster in self.clusters(offset, count) {
                let value = try self.refcount(cluster)
                guard value > 0 else { throw self.unusedCluster(cluster) }
                try self.setRefcount(cluster, value + 1)
            }
        }
    }

    private func lower(_ table: [UInt64], _ given: inout GivenUpClusters) throws(ImageError) {
        var freed = given
        try forEachReference(table) { (offset, count, isTable) throws(ImageError) in
            try self.lower(offset, count, isData: !isTable, &freed)
        }
        given = freed
    }

    private func lower(
        _ offset: UInt64, _ count: UInt64, isData: Bool = false, _ given: inout GivenUpClusters
    ) throws(ImageError) {
        guard count > 0 else { return }
        for cluster in clusters(offset, count) {
            let value = try refcount(cluster)
            guard value > 0 else { throw unusedCluster(cluster) }
            if isData, value == 1, let structure = metadata?[cluster] {
                throw refuse(
                    "Preventing invalid freeing of the cluster that holds the \(structure.name)", cluster: cluster)
            }
            try setRefcount(cluster, value - 1)
            if value == 1 { given.append(cluster) }
        }
    }

    private func unusedCluster(_ cluster: UInt64) -> ImageError {
        refuse("Preventing invalid change of a used cluster with the refcount 0", cluster: cluster)
    }

    /// Sets COPIED exactly where the refcount is one. An L2 table whose flags change becomes one of `copies`; the ones
    /// that are not needed are given up.
    private func renewFlags(
        _ active: inout [UInt64], copies: [UInt64], _ given: inout GivenUpClusters
    ) throws(ImageError) {
        var copies = copies
        let buffer = HeapBuffer(layout.clusterSize, zeroed: false)
        for index in active.indices {
            var place = active[index] & QCOW2Layout.offsetMask
            if place == 0 { continue }
            try storage.read(into: buffer.bytes, at: place)
            var isChanged = false
            for entry in 0..<layout.l2Entries {
                let value = buffer.base.be64(entry * layout.entryBytes)
                let host = value & QCOW2Layout.offsetMask
                if value & QCOW2Layout.compressed != 0 || host == 0 { continue }
                let flag = try refcount(host >> UInt64(layout.clusterBits)) == 1 ? QCOW2Layout.copied : 0
                if value & QCOW2Layout.copied != flag {
                    buffer.base.putBE64(value & ~QCOW2Layout.copied | flag, entry * layout.entryBytes)
                    isChanged = true
                }
            }
            if isChanged, let copy = copies.popLast() {
                try storage.write(from: buffer.readable, at: copy)
                try lower(place, UInt64(layout.clusterSize), &given)
                place = copy
            }
            active[index] = place | (try refcount(place >> UInt64(layout.clusterBits)) == 1 ? QCOW2Layout.copied : 0)
        }
        for copy in copies { try lower(copy, UInt64(layout.clusterSize), &given) }
    }
}

/// Clusters that are free after a switch.
private struct GivenUpClusters {
    private(set) var ranges: [Range<UInt64>] = []
    private(set) var lowest = UInt64.max

    mutating func append(_ cluster: UInt64) {
        lowest = min(lowest, cluster)
        if let last = ranges.last, last.upperBound == cluster {
            ranges[ranges.count - 1] = last.lowerBound..<cluster + 1
        } else {
            ranges.append(cluster..<cluster + 1)
        }
    }
}

extension [UInt64] {
    /// The entries of a table as they lie in the file.
    var bigEndianBytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count * 8)
        for entry in self { bytes.putBE(entry) }
        return bytes
    }
}
