import Glibc

/// Taking, applying and deleting internal snapshots.
///
/// A snapshot is a copy of the L1 table; everything that it reaches counts one reference more. All that changes with it
/// changes at one instant (`switchTables`).
extension QCOW2Image {
    public func createSnapshot(named name: String) throws(ImageError) { try createSnapshot(named: name, state: nil) }

    public func createSnapshot(named name: String, vmState: VMStateInfo) throws(ImageError) {
        try createSnapshot(named: name, state: vmState)
    }

    private func createSnapshot(named name: String, state: VMStateInfo?) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        guard dataStorage === storage else {
            throw ImageError(.unsupported, "-95 (Operation not supported)", format: "qcow2", path: path)
        }
        guard snapshots.count < Int(QCOW2Layout.maximumSnapshots) else {
            throw ImageError(.invalidArgument, "the image has 65536 snapshots already", format: "qcow2", path: path)
        }
        guard name.utf8.count <= QCOW2Snapshot.maximumName else {
            throw ImageError(
                .invalidArgument,
                "the name has \(name.utf8.count) bytes, at most \(QCOW2Snapshot.maximumName) can be asked for again",
                format: "qcow2", path: path)
        }
        try settle()
        // What lies behind the disk goes to the snapshot alone, and stays away from one without a VM.
        let disk = diskEntries(l1, diskSize: header.size)
        let kept = state == nil ? disk : l1
        try checkRoomForReferences(disk)
        let offset = try writeTable(kept.map { $0 & ~QCOW2Layout.copied })
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        let identifier = (snapshots.compactMap { UInt64($0.info.id) }.max() ?? 0) + 1
        let info = SnapshotInfo(
            id: String(identifier), name: name, vmStateSize: state?.byteCount ?? 0,
            dateSeconds: UInt32(truncatingIfNeeded: now.tv_sec), dateNanoseconds: UInt32(now.tv_nsec),
            vmClockNanoseconds: state?.clockNanoseconds ?? 0, icount: 0, diskSize: header.size)
        let fresh = QCOW2Snapshot(l1Offset: offset, l1Size: UInt32(kept.count), info: info)
        let forgotten = state == nil ? Array(l1[disk.count...]) : []
        try switchTables(
            to: NextTables(
                snapshots: snapshots + [fresh], active: disk, size: header.size, raised: disk, lowered: forgotten))
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
        let table = try l1Table(of: gone)
        var rest = snapshots
        rest.remove(at: index)
        try switchTables(
            to: NextTables(
                snapshots: rest, active: l1, size: header.size, lowered: table,
                freed: (gone.l1Offset, UInt64(gone.l1Size) * 8)))
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
        let table = try l1Table(of: snapshot)
        guard layout.l1Entries(forSize: snapshot.info.diskSize) <= UInt64(table.count) else {
            throw corrupt("Snapshot L1 table is too small for \(snapshot.info.diskSize) bytes", snapshot.l1Offset)
        }
        // A VM's state stays where it is.
        let disk = diskEntries(table, diskSize: snapshot.info.diskSize)
        try checkRoomForReferences(disk)
        try switchTables(
            to: NextTables(
                snapshots: snapshots, active: disk, size: snapshot.info.diskSize, raised: disk, lowered: l1))
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
        var fields: [UInt8] = []
        fields.putBE(size)
        fields.putBE(header.cryptMethod)
        fields.putBE(UInt32(table.count))
        fields.putBE(offset)
        try storage.write(fields, at: 24)
        header.l1Offset = offset
        header.l1Size = UInt32(table.count)
        header.size = size
        l1 = table
        l1Dirty = nil
        metadata = nil
        l2Cache.dropAll()
        decompressed.removeAll()
        try storage.sync()
    }

    /// Calls `body` with every host range that a table reaches: L2 tables (true) and data.
    func forEachReference(
        _ table: [UInt64], _ body: (UInt64, UInt64, Bool) throws(ImageError) -> Void
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
                    try body(host & ~511, UInt64(bytes) + host & 511, false)
                } else if value & QCOW2Layout.offsetMask != 0 {
                    try body(value & QCOW2Layout.offsetMask, UInt64(layout.clusterSize), false)
                }
            }
            try body(l2Offset, UInt64(layout.clusterSize), true)
        }
    }

    private func checkRoomForReferences(_ table: [UInt64]) throws(ImageError) {
        let limit = layout.maximumRefcount
        try forEachReference(table) { (offset, count, _) throws(ImageError) in
            for cluster in self.clusters(offset, count) where try self.refcount(cluster) >= limit {
                throw ImageError(
                    .outOfSpace,
                    "a cluster is referenced \(limit) times already, more does not fit \(self.layout.refcountBits) bits",
                    format: "qcow2", path: self.path, offset: offset)
            }
        }
    }

    func clusters(_ offset: UInt64, _ count: UInt64) -> ClosedRange<UInt64> {
        let bits = UInt64(layout.clusterBits)
        return offset >> bits...(offset + count - 1) >> bits
    }
}
