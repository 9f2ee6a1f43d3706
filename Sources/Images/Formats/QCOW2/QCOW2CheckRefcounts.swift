/// The refcount structures themselves, and refcounts against references.
extension QCOW2Check {
    /// Counts table and blocks, and judges whether they can stay where they are: inside the file, aligned, each in a place
    /// of its own.
    mutating func countRefcountStructures() {
        if let problem = image.header.refcountTableProblem {
            corruption(problem, repairable: true)
            needsRebuild = true
        }
        countRefcounts(
            image.header.refcountTableOffset, image.header.refcountTableClusters, "refcount table", block: nil)
        var blocks: Set<UInt64> = []
        for (index, entry) in image.refcountTable.enumerated() {
            if entry & ~QCOW2Layout.refcountOffsetMask != 0 {
                corruption(
                    "refcount table entry \(index) has reserved bits set: \(String(entry, radix: 16))", repairable: true
                )
                needsRebuild = true
            }
            let offset = entry & QCOW2Layout.refcountOffsetMask
            if offset == 0 { continue }
            guard offset & layout.clusterMask == 0 else {
                corruption(
                    "refcount block \(index) is not cluster aligned; refcount table entry corrupted", repairable: true)
                dropBlock(index)
                continue
            }
            // A repair must not make the file as long as a wild entry says.
            guard offset < image.storage.byteCount else {
                corruption("refcount block \(index) at offset \(offset.hex) is outside image", repairable: true)
                dropBlock(index)
                continue
            }
            guard blocks.insert(offset).inserted else {
                corruption("refcount block \(index) at offset \(offset.hex) is used twice", repairable: true)
                dropBlock(index)
                continue
            }
            countRefcounts(offset, 1, "refcount block \(index)", block: index)
        }
    }

    private mutating func dropBlock(_ index: Int) {
        unusableBlocks.insert(index)
        needsRebuild = true
    }

    private mutating func countRefcounts(_ offset: UInt64, _ clusterCount: UInt32, _ what: String, block: Int?) {
        guard clusterCount > 0 else { return }
        let bytes = UInt64(clusterCount) << UInt64(layout.clusterBits)
        let lies = clusters(offset, bytes)
        if let lies, lies.contains(where: { found[$0] > 0 }) {
            corruption("\(what) at offset \(offset.hex) overlaps with data or other metadata", repairable: true)
            needsRebuild = true
        }
        if count(offset, bytes, what, repairable: true) {
            refcountClusters += lies ?? 0...0
        } else if let block {
            dropBlock(block)
        } else {
            needsRebuild = true
        }
        // What is not in the file cannot be written in place, and reads as zeros.
        if let lies, UInt64(lies.upperBound) >= fileClusters { needsRebuild = true }
    }

    func hasBlock(_ index: Int) -> Bool {
        index < image.refcountTable.count && image.refcountTable[index] & QCOW2Layout.refcountOffsetMask != 0
            && !unusableBlocks.contains(index)
    }

    /// The refcount in the file; 0 where nothing usable tells.
    func storedRefcount(_ cluster: UInt64) throws(ImageError) -> UInt64 {
        hasBlock(Int(cluster / UInt64(layout.refblockEntries))) ? try image.refcount(cluster) : 0
    }

    /// Compares counted references with stored refcounts over everything that either side knows.
    mutating func compareRefcounts() throws(ImageError) {
        var findings: [(cluster: UInt64, stored: UInt64, references: UInt64)] = []
        var missing = false
        var leaks = 0
        var errors = 0
        var overflows = 0
        let limit = min(layout.maximumRefcount, UInt64(UInt16.max))
        try forEachMismatch { cluster, stored, references, hasBlock in
            if !hasBlock { missing = true }
            if stored > references { leaks += 1 } else { errors += 1 }
            if references > limit { overflows += 1 }
            if findings.count < CheckResult.shownFindings { findings.append((cluster, stored, references)) }
        }
        for finding in findings {
            note(
                "\(finding.stored > finding.references ? "Leaked" : "ERROR") cluster \(finding.cluster) "
                    + "refcount=\(finding.stored) reference=\(finding.references)")
        }
        result.leaks += leaks
        repairable += errors - overflows
        if overflows > 0 {
            result.corruptions += overflows
            note(
                "ERROR \(overflows) clusters are referenced more than \(limit) times, which refcounts of "
                    + "\(layout.refcountBits) bits cannot say; convert makes a clean copy")
        }
        if missing { needsRebuild = true }
    }

    /// Calls `body` for each cluster whose refcount is not the number of its references: cluster, refcount, references,
    /// whether a block has that refcount. Clusters of unusable blocks are only told where they are referenced.
    func forEachMismatch(
        _ body: (UInt64, UInt64, UInt64, Bool) throws(ImageError) -> Void
    ) throws(ImageError) {
        let entries = UInt64(layout.refblockEntries)
        let blocks = UInt64(image.refcountTable.lastIndex { $0 != 0 }.map { $0 + 1 } ?? 0)
        let end = max(UInt64(found.end), min(blocks * entries, UInt64(Int.max)))
        var cluster: UInt64 = 0
        while cluster < end {
            let block = Int(cluster / entries)
            let hasBlock = hasBlock(block)
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
            if stored != references { try body(cluster, stored, references, hasBlock) }
            cluster += 1
        }
    }
}
