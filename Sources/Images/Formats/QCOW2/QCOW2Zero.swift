/// Zeroes and discards. Whole clusters and subclusters change their L2 entry only; what is left at the ends is written as
/// zeros.
extension QCOW2Image {
    public func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) {
        try zero(at: offset, count: count, mayUnmap: mayUnmap, pins: false)
    }

    public func pinZeroes(at offset: UInt64, count: UInt64) throws(ImageError) {
        try zero(at: offset, count: count, mayUnmap: true, pins: true)
    }

    /// `pins` also marks what reads as zeros for want of a backing file.
    private func zero(at offset: UInt64, count: UInt64, mayUnmap: Bool, pins: Bool) throws(ImageError) {
        try checkRange(offset, count)
        guard count > 0 else { return }
        let end = offset + count
        // The last cluster may stretch past the disk: zeroing its visible part zeroes it whole.
        let reach = end == size ? (end + layout.clusterMask) & ~layout.clusterMask : end
        let first = (offset + layout.clusterMask) & ~layout.clusterMask
        let last = reach & ~layout.clusterMask
        guard first < last else { return try zeroParts(from: offset, to: end, pins: pins) }
        if offset < first { try zeroParts(from: offset, to: first, pins: pins) }
        try changeClusters(from: first, to: last, pins: pins) { (image, position) throws(ImageError) in
            try image.zeroCluster(position, mayUnmap: mayUnmap, pins: pins)
        }
        if last < end { try zeroParts(from: last, to: end, pins: pins) }
    }

    /// Zeroes parts of clusters: their whole subclusters by flags, the rest by writing.
    private func zeroParts(from start: UInt64, to end: UInt64, pins: Bool) throws(ImageError) {
        guard layout.isExtended else { return try writeZeroBytes(from: start, to: end, pins: pins) }
        let mask = UInt64(layout.subclusterSize - 1)
        var position = start
        while position < end {
            let stop = min(end, layout.clusterStart(position) + UInt64(layout.clusterSize))
            let first = (position + mask) & ~mask
            // As with clusters, the last one may stretch past the disk.
            let last = (stop == size ? stop + mask : stop) & ~mask
            if first < last, try zeroSubclusters(from: first, to: last, pins: pins) {
                if position < first { try writeZeroBytes(from: position, to: first, pins: pins) }
                if last < stop { try writeZeroBytes(from: last, to: stop, pins: pins) }
            } else {
                try writeZeroBytes(from: position, to: stop, pins: pins)
            }
            position = stop
        }
    }

    /// Flags subclusters of one cluster as zeros; false for a compressed one, which has no flags.
    private func zeroSubclusters(from start: UInt64, to end: UInt64, pins: Bool) throws(ImageError) -> Bool {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        let cluster = layout.clusterStart(start)
        let (old, bitmap) = try entry(at: cluster)
        guard try decode(old, cluster).kind != .compressed else { return false }
        let first = (start - cluster) >> UInt64(layout.subclusterBits)
        let count = (end - start) >> UInt64(layout.subclusterBits)
        let allocated: UInt64 = (1 << count - 1) << first
        let zero = allocated << 32
        if bitmap & (allocated | zero) == zero { return true }
        if bitmap & (allocated | zero) == 0, !pins, !isBacked(start) { return true }
        try recordWrite(start, min(end, header.size) - start)
        try replace(cluster, old, bitmap: bitmap & ~allocated | zero)
        if dataStorage !== storage { try zeroExternal(start, to: end) }
        return true
    }

    public func discard(at offset: UInt64, count: UInt64) throws(ImageError) {
        try checkRange(offset, count)
        let end = offset + count
        let reach = end == size ? (end + layout.clusterMask) & ~layout.clusterMask : end
        let first = (offset + layout.clusterMask) & ~layout.clusterMask
        let last = reach & ~layout.clusterMask
        guard first < last else { return }
        try changeClusters(from: first, to: last, pins: false) { (image, position) throws(ImageError) in
            try image.discardCluster(position)
        }
    }

    /// Applies `change` to each cluster of the range, unless `pins` skipping what is not mapped at all where nothing
    /// backs it.
    private func changeClusters(
        from first: UInt64, to last: UInt64, pins: Bool, _ change: (QCOW2Image, UInt64) throws(ImageError) -> Void
    ) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        try recordWrite(first, min(last, header.size) - first)
        var position = first
        while position < last {
            let mapping = try map(position, limit: last - position)
            let isNothing =
                (mapping.kind == .unallocated && !pins && !isBacked(position)) || mapping.kind == .zeroPlain
            if isNothing, mapping.length >= UInt64(layout.clusterSize) || position + mapping.length >= header.size {
                let next = position + mapping.length
                position = next >= header.size ? last : layout.clusterStart(next)
                continue
            }
            try change(self, position)
            position += UInt64(layout.clusterSize)
        }
    }

    /// Whether the backing file has bytes of the cluster at `offset`.
    func isBacked(_ offset: UInt64) -> Bool { backing.map { offset < $0.size } ?? false }

    private func zeroCluster(_ position: UInt64, mayUnmap: Bool, pins: Bool = false) throws(ImageError) {
        let (old, bitmap) = try entry(at: position)
        let cluster = try decode(old, position)
        if header.version < 3 {
            // Version 2 has no zero flag: unmap where that reads as zeros, else write them.
            if !pins, !isBacked(position), cluster.kind != .unallocated, mayUnmap || cluster.kind == .compressed {
                return try replace(position, 0, bitmap: 0)
            }
            return try zeroByWriting(position, pins: pins)
        }
        let keepsPlace = !mayUnmap && cluster.isCopied && (cluster.kind == .normal || cluster.kind == .zeroAllocated)
        let place = keepsPlace || dataStorage !== storage ? old & (QCOW2Layout.offsetMask | QCOW2Layout.copied) : 0
        if layout.isExtended {
            if place == old, bitmap == 0xffff_ffff << 32 { return }
            try replace(position, place, bitmap: 0xffff_ffff << 32)
        } else {
            let new = place | QCOW2Layout.zeroFlag
            if new != old { try replace(position, new, bitmap: 0) }
        }
        if dataStorage !== storage, place != 0 || header.autoclear & QCOW2Header.autoclearRawData != 0 {
            try zeroExternal(position, to: position + UInt64(layout.clusterSize))
        }
    }

    private func zeroExternal(_ start: UInt64, to end: UInt64) throws(ImageError) {
        try dataStorage.zero(at: start, count: min(end, header.size) - start, unmap: true)
    }

    private func discardCluster(_ position: UInt64) throws(ImageError) {
        let (old, bitmap) = try entry(at: position)
        let cluster = try decode(old, position)
        if cluster.kind == .unallocated, bitmap == 0 { return }
        if dataStorage !== storage {
            return header.version >= 3 ? try zeroCluster(position, mayUnmap: false) : ()
        }
        if header.version < 3 {
            if !isBacked(position) { try replace(position, 0, bitmap: 0) }
            return
        }
        if layout.isExtended {
            try replace(position, 0, bitmap: isBacked(position) ? 0xffff_ffff << 32 : 0)
        } else {
            try replace(position, isBacked(position) ? QCOW2Layout.zeroFlag : 0, bitmap: 0)
        }
    }

    private func replace(_ position: UInt64, _ value: UInt64, bitmap: UInt64) throws(ImageError) {
        let slot = try writableL2(layout.l1Index(position))
        setEntry(slot, layout.l2Index(position), value, bitmap: bitmap)
    }

    private func zeroByWriting(_ position: UInt64, pins: Bool) throws(ImageError) {
        access.unlock()
        defer { access.lockExclusive() }
        try writeZeroBytes(from: position, to: min(position + UInt64(layout.clusterSize), size), pins: pins)
    }

    /// Writes zeros, except where the range reads as zeros anyway.
    private func writeZeroBytes(from start: UInt64, to end: UInt64, pins: Bool) throws(ImageError) {
        let zeros = HeapBuffer(Int(min(end - start, UInt64(layout.clusterSize))))
        var position = start
        while position < end {
            let extent = try self.extent(at: position, limit: min(end - position, UInt64(zeros.bytes.count)))
            if extent.kind == .zero || (extent.kind == .unallocated && !pins && !isBacked(position)) {
                position += extent.length
                continue
            }
            try write(from: zeros.readable.part(0, Int(extent.length)), at: position)
            position += extent.length
        }
    }
}
