/// Another width for all refcounts (QEMU docs/interop/qcow2.txt, "refcount_order").
///
/// A second refcount table with its blocks is built in free space, complete, while the first stays in charge; one write
/// of the header puts it in force. Interrupted before that write the new structure is leaked, after it the old one.
extension QCOW2Image {
    /// Returns the image under its new width; this object must not change the image any more. Caller holds `access`
    /// exclusively, with everything settled.
    func withRefcountOrder(
        _ order: Int, progress: ((UInt64, UInt64) -> Void)?
    ) throws(ImageError) -> QCOW2Image {
        let target = QCOW2Layout(clusterBits: layout.clusterBits, refcountOrder: order, isExtended: layout.isExtended)
        try checkRefcountsFit(target)
        let (offset, room) = try placeForRefcounts(target)
        let clusters = try usedClusters()
        let (blocks, tableClusters) = Self.refcountStructure(for: clusters, target)
        guard blocks + tableClusters <= room else {
            throw corrupt("the new refcount structure outgrew its place", offset)
        }
        let cluster = UInt64(layout.clusterSize)
        let block = HeapBuffer(layout.clusterSize)
        var table: [UInt64] = []
        for number in 0..<blocks {
            block.bytes.zero(from: 0)
            let first = UInt64(number) * UInt64(target.refblockEntries)
            for entry in 0..<min(UInt64(target.refblockEntries), clusters - first) {
                target.setRefcount(block.base, Int(entry), try refcount(first + entry))
            }
            let place = offset + UInt64(tableClusters + number) * cluster
            try storage.write(from: block.readable, at: place)
            table.append(place)
            progress?(UInt64(number + 1), UInt64(blocks + 1))
        }
        var bytes: [UInt8] = []
        for entry in table { bytes.putBE(entry) }
        bytes += [UInt8](repeating: 0, count: tableClusters * layout.clusterSize - bytes.count)
        try storage.write(bytes, at: offset)
        try storage.sync()
        let old = header
        let oldBlocks = refcountTable.map { $0 & QCOW2Layout.refcountOffsetMask }.filter { $0 != 0 }
        header.refcountOrder = order
        header.refcountTableOffset = offset
        header.refcountTableClusters = UInt32(tableClusters)
        try writeHeader()
        try storage.sync()
        isSuperseded = true
        let fresh = try QCOW2Image(
            storage: storage, dataStorage: dataStorage === storage ? nil : dataStorage, header: header)
        fresh.cipher = cipher
        for place in oldBlocks { try fresh.freeNow(place, cluster) }
        try fresh.freeNow(old.refcountTableOffset, UInt64(old.refcountTableClusters) * cluster)
        let unused = room - blocks - tableClusters
        if unused > 0 {
            try fresh.freeNow(offset + UInt64(blocks + tableClusters) * cluster, UInt64(unused) * cluster)
        }
        try fresh.settle()
        return fresh
    }

    private func checkRefcountsFit(_ target: QCOW2Layout) throws(ImageError) {
        guard target.refcountOrder < layout.refcountOrder else { return }
        for cluster in 0..<(try usedClusters()) {
            let count = try refcount(cluster)
            guard count <= target.maximumRefcount else {
                throw ImageError(
                    .invalidArgument,
                    "Cannot decrease refcount entry width to \(target.refcountBits) bits: Cluster at offset "
                        + "\((cluster << UInt64(layout.clusterBits)).hex) has a refcount of \(count)",
                    format: "qcow2", path: path)
            }
        }
    }

    /// One more than the last cluster that the present structure can say anything of and that is used.
    private func usedClusters() throws(ImageError) -> UInt64 {
        let last = refcountTable.lastIndex { $0 & QCOW2Layout.refcountOffsetMask != 0 }.map { $0 + 1 } ?? 0
        var end = UInt64(last) * UInt64(layout.refblockEntries)
        while end > 0, try refcount(end - 1) == 0 { end -= 1 }
        return end
    }

    /// Blocks and table clusters that count so many clusters.
    private static func refcountStructure(for clusters: UInt64, _ target: QCOW2Layout) -> (blocks: Int, table: Int) {
        let blocks = Int((clusters + UInt64(target.refblockEntries) - 1) / UInt64(target.refblockEntries))
        return (blocks, (blocks * 8 + target.clusterSize - 1) / target.clusterSize)
    }

    /// Takes adjoining clusters for the new structure, enough to count themselves too.
    private func placeForRefcounts(_ target: QCOW2Layout) throws(ImageError) -> (offset: UInt64, clusters: Int) {
        var wanted = 0
        while true {
            let (blocks, table) = Self.refcountStructure(for: try usedClusters() + UInt64(wanted), target)
            wanted = max(wanted, blocks + table)
            guard UInt64(table) << UInt64(layout.clusterBits) <= QCOW2Layout.maximumRefcountTableBytes else {
                throw ImageError(
                    .outOfSpace, "The new refcount table would exceed 8 MiB; larger clusters allow larger images",
                    format: "qcow2", path: path)
            }
            let offset = try allocateContiguous(wanted)
            try settle()
            let needed = Self.refcountStructure(for: try usedClusters(), target)
            if needed.blocks + needed.table <= wanted { return (offset, wanted) }
            try freeNow(offset, UInt64(wanted) << UInt64(layout.clusterBits))
            try settle()
            wanted = needed.blocks + needed.table + 1
        }
    }
}
