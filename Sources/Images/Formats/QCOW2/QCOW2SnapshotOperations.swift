import Glibc

/// Taking, applying and deleting internal snapshots.
///
/// A snapshot is a copy of the L1 table; everything that it reaches counts one reference more. References are raised
/// before a table on disk relies on them and lowered after the last table that did is gone.
extension QCOW2Image {
    public func createSnapshot(named name: String) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        guard dataStorage === storage else {
            throw ImageError(.unsupported, "-95 (Operation not supported)", format: "qcow2", path: path)
        }
        guard snapshots.count < Int(QCOW2Layout.maximumSnapshots) else {
            throw ImageError(.invalidArgument, "the image has 65536 snapshots already", format: "qcow2", path: path)
        }
        try settle()
        try checkRoomForReferences(l1)
        let l1Copy = l1.map { $0 & ~QCOW2Layout.copied }
        let offset = try writeTable(l1Copy)
        try adjustReferences(l1, by: 1)
        try settle()
        try updateCopiedFlags()
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        let identifier = (snapshots.compactMap { UInt64($0.info.id) }.max() ?? 0) + 1
        let info = SnapshotInfo(
            id: String(identifier), name: name, vmStateSize: 0, dateSeconds: UInt32(truncatingIfNeeded: now.tv_sec),
            dateNanoseconds: UInt32(now.tv_nsec), vmClockNanoseconds: 0, icount: 0, diskSize: header.size)
        let fresh = QCOW2Snapshot(l1Offset: offset, l1Size: UInt32(l1.count), info: info)
        try replaceSnapshotTable(snapshots + [fresh])
    }

    public func deleteSnapshot(_ selector: String) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        // By name only: who means to delete "2" means the snapshot called so, whatever has the number 2.
        guard let index = snapshots.firstIndex(where: { $0.info.name == selector }) else {
            throw ImageError(.notFound, "snapshot not found", format: "qcow2", path: path)
        }
        try settle()
        let gone = snapshots[index]
        let table = try Self.readTable(storage, at: gone.l1Offset, entries: Int(gone.l1Size))
        var rest = snapshots
        rest.remove(at: index)
        try replaceSnapshotTable(rest)
        try adjustReferences(table, by: -1)
        try freeNow(gone.l1Offset, UInt64(gone.l1Size) * 8)
        try settle()
        try updateCopiedFlags()
    }

    public func applySnapshot(_ selector: String) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        // The disk becomes another one, of which the bitmaps would tell nothing.
        if hasConsistentBitmaps {
            throw ImageError(.unsupported, "Device has active dirty bitmaps", format: "qcow2", path: path)
        }
        try prepareForWriting()
        guard let index = snapshotIndex(selector) else {
            throw ImageError(
                .notFound, "Failed to load snapshot: No such file or directory", format: "qcow2", path: path)
        }
        try settle()
        let snapshot = snapshots[index]
        let table = try Self.readTable(storage, at: snapshot.l1Offset, entries: Int(snapshot.l1Size))
        guard layout.l1Entries(forSize: snapshot.info.diskSize) <= UInt64(table.count) else {
            throw corrupt("Snapshot L1 table is too small for \(snapshot.info.diskSize) bytes", snapshot.l1Offset)
        }
        try checkRoomForReferences(table)
        try adjustReferences(table, by: 1)
        let offset = try writeTable(table.map { $0 & ~QCOW2Layout.copied })
        try settle()
        let old = (table: l1, offset: header.l1Offset, bytes: UInt64(header.l1Size) * 8)
        try switchL1(to: table, at: offset, size: snapshot.info.diskSize)
        try adjustReferences(old.table, by: -1)
        try freeNow(old.offset, old.bytes)
        try settle()
        try updateCopiedFlags()
    }

    // MARK: Parts that resizing uses too

    /// Everything in the caches is on disk, and nothing waits to be freed.
    func settle() throws(ImageError) {
        try writeMetadata()
        try writeMetadata()
        try storage.sync()
    }

    /// Writes a table of entries into newly allocated clusters.
    func writeTable(_ entries: [UInt64]) throws(ImageError) -> UInt64 {
        let clusters = max(1, Int(layout.clusters(UInt64(entries.count) * 8)))
        let offset = try allocateContiguous(clusters)
        let buffer = HeapBuffer(clusters * layout.clusterSize)
        for (index, entry) in entries.enumerated() { buffer.base.putBE64(entry, index * 8) }
        try storage.write(from: buffer.readable, at: offset)
        return offset
    }

    /// Makes another L1 table and size the active ones, by one short write into the header.
    func switchL1(to table: [UInt64], at offset: UInt64, size: UInt64) throws(ImageError) {
        header.l1Offset = offset
        header.l1Size = UInt32(table.count)
        header.size = size
        l1 = table
        l1Dirty = nil
        var fields: [UInt8] = []
        fields.putBE(size)
        fields.putBE(header.cryptMethod)
        fields.putBE(header.l1Size)
        fields.putBE(offset)
        try storage.write(fields, at: 24)
        try storage.sync()
        l2Cache.dropAll()
        decompressed.removeAll()
    }

    /// Writes the snapshot table anew and switches the header over.
    private func replaceSnapshotTable(_ table: [QCOW2Snapshot]) throws(ImageError) {
        let bytes = try QCOW2Snapshot.encode(table, version: header.version)
        guard bytes.count <= QCOW2Layout.maximumSnapshotTableBytes else {
            throw ImageError(.invalidArgument, "the snapshot table would exceed 64 MiB", format: "qcow2", path: path)
        }
        let old = (header.snapshotsOffset, try QCOW2Snapshot.encode(snapshots, version: header.version).count)
        var offset: UInt64 = 0
        if !bytes.isEmpty {
            offset = try allocateContiguous(Int(layout.clusters(UInt64(bytes.count))))
            try storage.write(bytes, at: offset)
        }
        try settle()
        header.snapshotCount = UInt32(table.count)
        header.snapshotsOffset = offset
        var fields: [UInt8] = []
        fields.putBE(header.snapshotCount)
        fields.putBE(offset)
        try storage.write(fields, at: 60)
        try storage.sync()
        snapshots = table
        if old.1 > 0 { try freeNow(old.0, UInt64(old.1)) }
        try settle()
    }

    /// Calls `body` with every host range that a table reaches: L2 tables and data.
    private func forEachReference(
        _ table: [UInt64], _ body: (UInt64, UInt64) throws(ImageError) -> Void
    ) throws(ImageError) {
        let buffer = HeapBuffer(layout.clusterSize, zeroed: false)
        for entry in table {
            let l2Offset = entry & QCOW2Layout.offsetMask
            if l2Offset == 0 { continue }
            guard l2Offset & layout.clusterMask == 0 else {
                throw corrupt("L2 table offset \(l2Offset.hex) unaligned", l2Offset)
            }
            try storage.read(into: buffer.bytes, at: l2Offset)
            for index in 0..<layout.l2Entries {
                let value = buffer.base.be64(index * layout.entryBytes)
                if value & QCOW2Layout.compressed != 0 {
                    let (host, bytes) = layout.compressedRange(value)
                    try body(host & ~511, UInt64(bytes) + host & 511)
                } else if value & QCOW2Layout.offsetMask != 0 {
                    try body(value & QCOW2Layout.offsetMask, UInt64(layout.clusterSize))
                }
            }
            try body(l2Offset, UInt64(layout.clusterSize))
        }
    }

    private func checkRoomForReferences(_ table: [UInt64]) throws(ImageError) {
        let limit = layout.maximumRefcount
        try forEachReference(table) { (offset, count) throws(ImageError) in
            for cluster in self.clusters(offset, count) where try self.refcount(cluster) >= limit {
                throw ImageError(
                    .outOfSpace,
                    "a cluster is referenced \(limit) times already, more does not fit \(self.layout.refcountBits) bits",
                    format: "qcow2", path: self.path, offset: offset)
            }
        }
    }

    private func clusters(_ offset: UInt64, _ count: UInt64) -> ClosedRange<UInt64> {
        let bits = UInt64(layout.clusterBits)
        return offset >> bits...(offset + count - 1) >> bits
    }

    private func adjustReferences(_ table: [UInt64], by step: Int) throws(ImageError) {
        try forEachReference(table) { (offset, count) throws(ImageError) in
            if step < 0 { return try self.freeNow(offset, count) }
            for cluster in self.clusters(offset, count) {
                try self.setRefcount(cluster, try self.refcount(cluster) + 1)
            }
        }
    }

    /// Sets COPIED exactly where the refcount is one, in the active L1 table and its L2 tables.
    func updateCopiedFlags() throws(ImageError) {
        l2Cache.dropAll()
        let buffer = HeapBuffer(layout.clusterSize, zeroed: false)
        for index in l1.indices {
            let l2Offset = l1[index] & QCOW2Layout.offsetMask
            if l2Offset == 0 { continue }
            let l1Flag = try refcount(l2Offset >> UInt64(layout.clusterBits)) == 1 ? QCOW2Layout.copied : 0
            if l1[index] != l2Offset | l1Flag {
                l1[index] = l2Offset | l1Flag
                markL1Dirty(index)
            }
            // A shared L2 table is copied before any write through it, with the flags as they are: data clusters of a
            // shared table are shared too.
            try storage.read(into: buffer.bytes, at: l2Offset)
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
            if isChanged { try storage.write(from: buffer.readable, at: l2Offset) }
        }
        try settle()
    }
}
