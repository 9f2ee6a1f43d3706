/// Damage must not spread: nothing is written onto metadata, and nothing onto what something else still names.
///
/// A change that would do so is refused, the image is marked as corrupt (bit 1 of the incompatible features), and every
/// further change is refused as well. Reading goes on, and what was written before still reaches the file.
extension QCOW2Image {
    /// Before any change: the image is not known to be corrupt, and no two structures lie in one place.
    /// Caller holds `access` exclusively.
    func guardMetadata() throws(ImageError) {
        guard !isCorrupt else {
            throw corrupt("Image is corrupt; it cannot be changed any more ('check -r all' repairs it)", 0)
        }
        guard metadata == nil else { return }
        for conflict in try metadataMap().conflicts {
            let (one, other) = conflict.structures
            guard max(one.mode, other.mode) <= overlapCheck else { continue }
            throw refuse(
                "Preventing invalid write on metadata (\(other.name) overlaps with \(one.name))",
                cluster: conflict.cluster)
        }
    }

    /// Before guest data is written in place.
    func checkInPlace(_ host: UInt64, _ count: UInt64) throws(ImageError) {
        guard dataStorage === storage, overlapCheck != .none, count > 0 else { return }
        if metadata == nil { _ = try metadataMap() }
        for cluster in clusters(host, count) {
            if let structure = metadata?[cluster], structure.mode <= overlapCheck {
                throw refuse(
                    "Preventing invalid write on metadata (overlaps with \(structure.name))", cluster: cluster)
            }
            // A stray COPIED flag: a snapshot, or another part of the disk, has these bytes too.
            if overlapCheck >= .cached, try refcount(cluster) > 1 {
                throw refuse("Preventing invalid write on a cluster that is used more than once", cluster: cluster)
            }
        }
    }

    /// Before a cluster that the refcounts call free is taken: nothing may lie there.
    func checkUnclaimed(_ cluster: UInt64) throws(ImageError) {
        try auditReferences(forCluster: cluster)
        if let structure = try metadataMap()[cluster] {
            throw refuse(
                "Preventing invalid allocation of the cluster that holds the \(structure.name), whose refcount is 0",
                cluster: cluster)
        }
    }

    /// Whether clusters of guest data that nobody names any more may be given up: not what metadata lies in. The image is
    /// marked as corrupt then; that the data is gone is as it should be.
    func mayFreeData(_ cluster: UInt64) -> Bool {
        guard let structure = metadata?[cluster] else { return true }
        _ = refuse("Preventing invalid freeing of the cluster that holds the \(structure.name)", cluster: cluster)
        return false
    }

    /// Marks the image as corrupt and gives the error for the request that showed it.
    func refuse(_ what: String, cluster: UInt64) -> ImageError {
        let isMarked = isCorrupt || header.incompatible & QCOW2Header.Incompatible.corrupt != 0
        isCorrupt = true
        if !isMarked, header.version >= 3 {
            header.incompatible |= QCOW2Header.Incompatible.corrupt
            // This field alone: the rest of the header may not be what is in memory.
            var field: [UInt8] = []
            field.putBE(header.incompatible)
            if (try? storage.write(field, at: 72)) != nil { try? storage.sync() }
        }
        return corrupt(
            "\(header.version >= 3 ? "Marking image as corrupt" : "Image is corrupt"): \(what) at offset "
                + "\((cluster << UInt64(layout.clusterBits)).hex); 'check -r all' repairs it",
            cluster << UInt64(layout.clusterBits))
    }

    // MARK: Before the first allocation

    /// L2 tables of up to this many bytes are read before the first cluster is taken, wherever that lies.
    static let cheapAuditBytes = 16 << 20

    /// Once, before the first cluster is taken: refcounts that call free what a table names would hand it out to somebody
    /// else. Behind the end of the file nothing can be lost, so there large images go without.
    private func auditReferences(forCluster cluster: UInt64) throws(ImageError) {
        if isAudited { return }
        guard isAuditCheap || cluster < layout.clusters(openedByteCount) else { return }
        try auditReferences()
    }

    /// Compares what the tables name with the refcounts. Caller holds `access` exclusively; nothing in memory is newer
    /// than the file.
    func auditReferences() throws(ImageError) {
        if isAudited { return }
        let map = try metadataMap()
        for cluster in map.occupied {
            try auditRange(cluster << UInt64(layout.clusterBits), 1, isOurs: false, map[cluster]?.name ?? "table")
        }
        var seen: Set<UInt64> = []
        var owned: [UInt64] = []
        let buffer = HeapBuffer(layout.clusterSize, zeroed: false)
        try audit(l1, isActive: true, &seen, &owned, buffer)
        // Two entries that both take a cluster for theirs alone: what one writes the other reads.
        owned.sort()
        for (one, other) in zip(owned, owned.dropFirst()) where one == other {
            throw refuse(
                "Preventing invalid write: a data cluster marked as used once is used twice",
                cluster: one >> UInt64(layout.clusterBits))
        }
        var places: Set<QCOW2TablePlace> = []
        var left = storage.byteCount
        for snapshot in snapshots where snapshot.hasUsableL1 {
            let place = QCOW2TablePlace(offset: snapshot.l1Offset, entries: snapshot.l1Size)
            guard place.byteCount <= left, places.insert(place).inserted else { continue }
            left -= place.byteCount
            let table = try Self.readTable(storage, at: place.offset, entries: Int(place.entries))
            try audit(table, isActive: false, &seen, &owned, buffer)
        }
        isAudited = true
    }

    private func audit(
        _ table: [UInt64], isActive: Bool, _ seen: inout Set<UInt64>, _ owned: inout [UInt64], _ buffer: HeapBuffer
    ) throws(ImageError) {
        for entry in table {
            let l2Offset = entry & QCOW2Layout.offsetMask
            guard l2Offset != 0, l2Offset & layout.clusterMask == 0, l2Offset < storage.byteCount,
                seen.insert(l2Offset).inserted
            else { continue }
            try auditRange(l2Offset, 1, isOurs: isActive && entry & QCOW2Layout.copied != 0, "L2 table")
            guard dataStorage === storage else { continue }
            try storage.read(into: buffer.bytes, at: l2Offset)
            for index in 0..<layout.l2Entries {
                let value = buffer.base.be64(index * layout.entryBytes)
                if value & QCOW2Layout.compressed != 0 {
                    let (host, bytes) = layout.compressedRange(value)
                    try auditRange(host, UInt64(bytes), isOurs: false, "compressed cluster")
                } else if value & QCOW2Layout.offsetMask != 0 {
                    let isOurs = isActive && value & QCOW2Layout.copied != 0
                    if isOurs { owned.append(value & QCOW2Layout.offsetMask) }
                    try auditRange(value & QCOW2Layout.offsetMask, 1, isOurs: isOurs, "data cluster")
                }
            }
        }
    }

    /// `isOurs`: the table says that nobody else names the range.
    private func auditRange(
        _ offset: UInt64, _ count: UInt64, isOurs: Bool, _ what: String
    ) throws(ImageError) {
        for cluster in clusters(offset, count) {
            let references = try refcount(cluster)
            // What lies behind the end of the file reads as zeros and can be counted nowhere.
            if references == 0, cluster < layout.clusters(openedByteCount) {
                throw refuse("Preventing invalid allocation: the refcount of the \(what) is 0", cluster: cluster)
            }
            if isOurs, references > 1 {
                throw refuse(
                    "Preventing invalid write: the \(what) marked as used once has the refcount \(references)",
                    cluster: cluster)
            }
        }
    }
}
