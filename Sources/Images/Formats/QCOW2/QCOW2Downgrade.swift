/// Back to version 2 of the format (`amend -o compat=0.10`), which knows no zero clusters: they become unmapped, or, above
/// a backing file, clusters full of zeros.
extension QCOW2Image {
    /// Refuses to go back with anything that version 2 cannot say.
    func checkDowngrade() throws(ImageError) {
        func refuse(_ message: String) -> ImageError { ImageError(.unsupported, message, format: "qcow2", path: path) }
        guard dataStorage === storage else { throw refuse("Cannot downgrade an image with a data file") }
        let others = header.incompatible & ~QCOW2Header.Incompatible.dirty
        guard others == 0 else {
            throw refuse("Cannot downgrade an image with incompatible features \(others.hex) set")
        }
        // QEMU lets them go without a word.
        guard header.bitmaps == nil else {
            throw refuse("Cannot downgrade an image with persistent bitmaps; remove them first")
        }
        guard snapshots.allSatisfy({ $0.info.vmStateSize <= UInt32.max && $0.info.diskSize == header.size }) else {
            throw refuse("Internal snapshots prevent downgrade of image")
        }
    }

    /// Makes the image one of version 2. Caller holds `access` exclusively; everything has settled.
    func downgrade() throws(ImageError) {
        header.compatible = 0
        try replaceZeroClusters(l1)
        var seen: Set<UInt64> = []
        for snapshot in snapshots where seen.insert(snapshot.l1Offset).inserted {
            try replaceZeroClusters(try l1Table(of: snapshot))
        }
        l2Cache.dropAll()
        header.version = 2
        header.autoclear = 0
        header.incompatible = 0
        try writeHeader()
        try storage.sync()
    }

    /// Replaces the zero clusters of all L2 tables that an L1 table names. The tables are changed where they lie, for all
    /// that share them; a disk reads the same before and after, so an interruption does no harm.
    private func replaceZeroClusters(_ table: [UInt64]) throws(ImageError) {
        let l2 = HeapBuffer(layout.clusterSize, zeroed: false)
        let zeros = HeapBuffer(layout.clusterSize)
        for (l1Index, entry) in table.enumerated() {
            let place = entry & QCOW2Layout.offsetMask
            if place == 0 { continue }
            guard place & layout.clusterMask == 0 else {
                throw corrupt("L2 table offset \(place.hex) unaligned", place)
            }
            try storage.read(into: l2.bytes, at: place)
            let owners = try refcount(place >> UInt64(layout.clusterBits))
            guard owners > 0 else { throw corrupt("Refcount of the L2 table at \(place.hex) is 0", place) }
            var givenUp: [UInt64] = []
            var isChanged = false
            for index in 0..<layout.l2Entries {
                let value = l2.base.be64(index * layout.entryBytes)
                guard value & QCOW2Layout.compressed == 0, value & QCOW2Layout.zeroFlag != 0 else { continue }
                isChanged = true
                if value & QCOW2Layout.offsetMask != 0 { givenUp.append(value & QCOW2Layout.offsetMask) }
                var replacement: UInt64 = 0
                if header.backingFile != nil {
                    let host = try allocate(upTo: 1).offset
                    try setRefcount(host >> UInt64(layout.clusterBits), owners)
                    let disk = UInt64(l1Index * layout.l2Entries + index) << UInt64(layout.clusterBits)
                    try writeData(from: zeros.readable, host: host, at: disk)
                    replacement = host | (owners == 1 ? QCOW2Layout.copied : 0)
                }
                l2.base.putBE64(replacement, index * layout.entryBytes)
            }
            guard isChanged else { continue }
            // The new clusters and their refcounts, then the table, then the old clusters.
            try settle()
            try storage.write(from: l2.readable, at: place)
            try storage.sync()
            for host in givenUp {
                for _ in 0..<owners { try freeNow(host, UInt64(layout.clusterSize)) }
            }
        }
        try settle()
    }
}
