/// Mending what `QCOW2Check` has found.
///
/// What is seen through the image stays the same byte for byte. New refcount structures, and copies of data that lay on
/// metadata, go behind the end of the file, so nothing is overwritten that might still be of use; one write of the header
/// puts the refcounts in force, then the L2 tables follow. An interruption leaves an image that can be read and mended.
extension QCOW2Check {
    mutating func mend() throws(ImageError) {
        let lost = result.corruptions
        result.corruptions += repairable
        if repair == .none { return }
        // Behind a table that cannot be read lies what looks unused now.
        guard lost == 0 else {
            return note("Nothing was changed: \(lost) of the errors cannot be repaired")
        }
        if repair == .leaks { return try fixLeaks() }
        try mendAll()
        result.corruptions = 0
    }

    private mutating func fixLeaks() throws(ImageError) {
        var repairs = Repairs()
        try forEachMismatch { (cluster, stored, references, hasBlock) throws(ImageError) in
            guard hasBlock, stored > references else { return }
            repairs.add(cluster, stored, references)
            try image.setRefcount(cluster, references)
            if references == 0 { image.freeHint = min(image.freeHint, cluster) }
        }
        for line in repairs.lines { note(line) }
        result.leaksFixed += result.leaks
        result.leaks = 0
        try image.writeMetadata()
        try image.storage.sync()
    }

    /// Lines for what has been repaired, as many as are shown.
    private struct Repairs {
        private(set) var lines: [String] = []

        mutating func add(_ cluster: UInt64, _ stored: UInt64, _ references: UInt64) {
            guard lines.count < CheckResult.shownFindings else { return }
            lines.append("Repairing cluster \(cluster) refcount=\(stored) reference=\(references)")
        }
    }

    private mutating func mendAll() throws(ImageError) {
        var next = max(Int(fileClusters), found.end)
        if neededClusters > fileClusters {
            try image.storage.resize(to: neededClusters << UInt64(layout.clusterBits))
            image.highestAllocated = max(image.highestAllocated, image.storage.byteCount)
        }
        let copies = try copyMisplacedData(to: &next)
        let moved = try copyMisplacedTables(to: &next)
        let snapshotTable = try rewriteSnapshotTable(at: &next)
        if needsRebuild || !copies.isEmpty || !moved.isEmpty || snapshotTable != nil {
            note("Rebuilding refcount structure")
            for cluster in refcountClusters { found.subtract(1, from: cluster) }
            try image.rebuildRefcounts(from: found, at: next)
        } else {
            var repairs = Repairs()
            try forEachMismatch { (cluster, stored, references, _) throws(ImageError) in
                repairs.add(cluster, stored, references)
                try image.setRefcount(cluster, references)
            }
            for line in repairs.lines { note(line) }
        }
        try image.writeMetadata()
        try image.storage.sync()
        if let snapshotTable { try switchSnapshotTable(to: snapshotTable) }
        try mendL1(moved)
        try mendL2(copies, moved)
        try image.storage.sync()
        image.l2Cache.dropAll()
        image.decompressed.removeAll()
        image.metadata = nil
        image.isCorrupt = false
        image.freeHint = 0
        try clearMarks()
        result.corruptionsFixed += repairable
        result.leaksFixed += result.leaks
        result.leaks = 0
    }

    // MARK: Parts

    /// Gives guest data that lies on metadata clusters of its own, with the bytes that are there. Returns the new place
    /// by L2 table and index.
    private mutating func copyMisplacedData(to next: inout Int) throws(ImageError) -> [UInt64: [Int: UInt64]] {
        var copies: [UInt64: [Int: UInt64]] = [:]
        let table = HeapBuffer(layout.clusterSize, zeroed: false)
        let data = HeapBuffer(layout.clusterSize, zeroed: false)
        for place in misplacedData.keys.sorted() {
            try image.storage.read(into: table.bytes, at: place)
            let times = tables[place]?.times ?? 1
            for index in misplacedData[place, default: []].sorted() {
                let host = table.base.be64(index * layout.entryBytes) & QCOW2Layout.offsetMask
                try image.storage.read(into: data.bytes, at: host)
                let copy = UInt64(next) << UInt64(layout.clusterBits)
                try image.storage.write(from: data.readable, at: copy)
                found.subtract(times, from: Int(host >> UInt64(layout.clusterBits)))
                found.add(times, to: next)
                copies[place, default: [:]][index] = copy
                next += 1
            }
        }
        return copies
    }

    /// Copies L2 tables off other metadata. Returns the new place of each.
    private func copyMisplacedTables(to next: inout Int) throws(ImageError) -> [UInt64: UInt64] {
        var moved: [UInt64: UInt64] = [:]
        let table = HeapBuffer(layout.clusterSize, zeroed: false)
        for place in misplacedTables {
            try image.storage.read(into: table.bytes, at: place)
            let copy = UInt64(next) << UInt64(layout.clusterBits)
            try image.storage.write(from: table.readable, at: copy)
            let times = tables[place]?.times ?? 1
            found.subtract(times, from: Int(place >> UInt64(layout.clusterBits)))
            found.add(times, to: next)
            moved[place] = copy
            next += 1
        }
        return moved
    }

    /// Writes a snapshot table that is as it should be, where the one in the file is not. Returns its place.
    private mutating func rewriteSnapshotTable(at next: inout Int) throws(ImageError) -> UInt64? {
        guard !image.snapshotFindings.isEmpty else { return nil }
        if let old = image.snapshotTableBytes > 0
            ? clusters(image.header.snapshotsOffset, image.snapshotTableBytes) : nil
        {
            for cluster in old { found.subtract(1, from: cluster) }
        }
        let bytes = try QCOW2Snapshot.encode(image.snapshots, version: image.header.version)
        guard !bytes.isEmpty else { return 0 }
        let offset = UInt64(next) << UInt64(layout.clusterBits)
        try image.storage.write(bytes, at: offset)
        for _ in 0..<layout.clusters(UInt64(bytes.count)) {
            found.add(1, to: next)
            next += 1
        }
        return offset
    }

    private func switchSnapshotTable(to offset: UInt64) throws(ImageError) {
        var fields: [UInt8] = []
        fields.putBE(UInt32(image.snapshots.count))
        fields.putBE(offset)
        try image.storage.write(fields, at: 60)
        try image.storage.sync()
        image.header.snapshotCount = UInt32(image.snapshots.count)
        image.header.snapshotsOffset = offset
        image.snapshotTableBytes = UInt64(
            try QCOW2Snapshot.encode(image.snapshots, version: image.header.version).count)
        image.snapshotFindings = []
    }

    private mutating func mendL1(_ moved: [UInt64: UInt64]) throws(ImageError) {
        for (place, entry) in dirtyL1Entries.sorted(by: { $0.key < $1.key }) {
            try image.storage.write([entry].bigEndianBytes, at: place)
        }
        for index in image.l1.indices {
            let flagged = withFlag(redirected(image.l1[index] & ~QCOW2Layout.l1Reserved, moved))
            if flagged != image.l1[index] {
                image.l1[index] = flagged
                image.markL1Dirty(index)
            }
        }
        try image.writeMetadata()
        guard !moved.isEmpty else { return }
        let places = Set(
            image.snapshots.filter(\.hasUsableL1).map { QCOW2TablePlace(offset: $0.l1Offset, entries: $0.l1Size) })
        for place in places {
            let table = try QCOW2Image.readTable(image.storage, at: place.offset, entries: Int(place.entries))
            for (index, entry) in table.enumerated() where redirected(entry, moved) != entry {
                try image.storage.write(
                    [redirected(entry, moved)].bigEndianBytes, at: place.offset + UInt64(index) * 8)
            }
        }
    }

    private func redirected(_ entry: UInt64, _ moved: [UInt64: UInt64]) -> UInt64 {
        guard let place = moved[entry & QCOW2Layout.offsetMask] else { return entry }
        return entry & ~QCOW2Layout.offsetMask | place
    }

    /// An entry with COPIED as the references have it.
    private func withFlag(_ entry: UInt64) -> UInt64 {
        let host = entry & QCOW2Layout.offsetMask
        if host == 0 { return entry }
        let flag = found[Int(host >> UInt64(layout.clusterBits))] == 1 ? QCOW2Layout.copied : 0
        return entry & ~QCOW2Layout.copied | flag
    }

    private mutating func mendL2(
        _ copies: [UInt64: [Int: UInt64]], _ moved: [UInt64: UInt64]
    ) throws(ImageError) {
        let buffer = HeapBuffer(layout.clusterSize, zeroed: false)
        for original in tableOrder {
            let isActive = tables[original]?.isActive ?? false
            guard isActive || damagedTables.contains(original) else { continue }
            let place = moved[original] ?? original
            try image.storage.read(into: buffer.bytes, at: place)
            var isChanged = false
            for index in 0..<layout.l2Entries {
                let at = index * layout.entryBytes
                let old = (buffer.base.be64(at), layout.isExtended ? buffer.base.be64(at + 8) : 0)
                let new = mended(old.0, old.1, copy: copies[original]?[index], isActive: isActive)
                guard new != old else { continue }
                buffer.base.putBE64(new.0, at)
                if layout.isExtended { buffer.base.putBE64(new.1, at + 8) }
                isChanged = true
            }
            if isChanged { try image.storage.write(from: buffer.readable, at: place) }
        }
    }

    private func mended(_ entry: UInt64, _ bitmap: UInt64, copy: UInt64?, isActive: Bool) -> (UInt64, UInt64) {
        if entry & QCOW2Layout.compressed != 0 { return (entry & ~QCOW2Layout.copied, 0) }
        var value = entry & ~QCOW2Layout.l2Reserved
        if let copy { value = value & ~QCOW2Layout.offsetMask | copy }
        let host = value & QCOW2Layout.offsetMask
        if host & layout.clusterMask != 0 {
            // Only zero clusters get here: those with data cannot be mended.
            return (layout.isExtended ? 0 : QCOW2Layout.zeroFlag, bitmap)
        }
        if image.dataStorage !== image.storage { return (value, bitmap) }
        return (isActive ? withFlag(value) : value, bitmap)
    }

    private func clearMarks() throws(ImageError) {
        let marks = QCOW2Header.Incompatible.dirty | QCOW2Header.Incompatible.corrupt
        guard image.header.version >= 3, image.header.incompatible & marks != 0 else { return }
        image.header.incompatible &= ~marks
        try image.storage.write([image.header.incompatible].bigEndianBytes, at: 72)
        try image.storage.sync()
    }
}

extension QCOW2Image {
    /// Builds refcount table and blocks from counted references, from cluster `start` on, where nothing lies, and puts
    /// them in force. The old ones must not be among the references.
    func rebuildRefcounts(from found: QCOW2ReferenceCounts, at start: Int) throws(ImageError) {
        let entries = layout.refblockEntries
        var blocks: Set<Int> = []
        let end = found.end
        for index in 0..<(end + entries - 1) / entries
        where !found.isUnreferenced(index * entries..<min((index + 1) * entries, found.count)) {
            blocks.insert(index)
        }
        // What is new counts itself too, until that needs no more blocks.
        var tableClusters = 0
        while true {
            let last = blocks.max() ?? 0
            tableClusters = ((last + 1) * 8 + layout.clusterSize - 1) / layout.clusterSize
            let covered = start / entries...(start + tableClusters + blocks.count - 1) / entries
            if covered.allSatisfy(blocks.contains) { break }
            blocks.formUnion(covered)
        }
        let total = tableClusters + blocks.count
        guard UInt64(tableClusters * layout.clusterSize) <= QCOW2Layout.maximumRefcountTableBytes,
            start + total <= found.count
        else {
            throw ImageError(
                .outOfSpace, "The image would need a refcount table above 8 MiB; convert makes a clean copy",
                format: "qcow2", path: path)
        }
        for cluster in start..<start + total { found.add(1, to: cluster) }
        var table = [UInt64](repeating: 0, count: tableClusters * layout.clusterSize / 8)
        let block = HeapBuffer(layout.clusterSize)
        for (number, index) in blocks.sorted().enumerated() {
            block.bytes.zero(from: 0)
            for entry in 0..<entries where index * entries + entry < found.count {
                layout.setRefcount(block.base, entry, found[index * entries + entry])
            }
            let place = UInt64(start + tableClusters + number) << UInt64(layout.clusterBits)
            try storage.write(from: block.readable, at: place)
            table[index] = place
        }
        let offset = UInt64(start) << UInt64(layout.clusterBits)
        try storage.write(table.bigEndianBytes, at: offset)
        try storage.sync()
        var fields: [UInt8] = []
        fields.putBE(offset)
        fields.putBE(UInt32(tableClusters))
        try storage.write(fields, at: 48)
        try storage.sync()
        header.refcountTableOffset = offset
        header.refcountTableClusters = UInt32(tableClusters)
        header.refcountTableProblem = nil
        refcountTable = table
        refcountTableDirty.removeAll()
        refblockCache.dropAll()
        highestAllocated = max(highestAllocated, UInt64(start + total) << UInt64(layout.clusterBits))
    }
}
