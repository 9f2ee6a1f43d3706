/// What a run of disk bytes is mapped to in one qcow2 layer.
struct QCOW2Mapping {
    enum Kind: UInt8 {
        case unallocated, zeroPlain, zeroAllocated, normal, compressed
    }

    var kind: Kind
    /// Bytes of the run from the offset asked for.
    var length: UInt64
    /// Host offset of the first byte (normal and zeroAllocated).
    var hostOffset: UInt64 = 0
    /// The host clusters belong to this mapping alone.
    var isCopied = false
    /// The L2 entry (compressed).
    var entry: UInt64 = 0
}

extension QCOW2Image {
    /// The slot of the L2 table of `l1Index`, loaded if need be; nil where the L1 entry is empty.
    /// Caller holds `cacheLock`.
    func loadL2(_ l1Index: Int) throws(ImageError) -> Int? {
        if let slot = l2Cache.find(l1Index) { return slot }
        let offset = l1[l1Index] & QCOW2Layout.offsetMask
        if offset == 0 { return nil }
        guard offset & layout.clusterMask == 0 else {
            throw corrupt("L2 table offset \(offset.hex) unaligned (L1 index: \(UInt64(l1Index).hex))", offset)
        }
        guard let slot = l2Cache.claim(l1Index, hostOffset: offset) else {
            throw corrupt("the L2 cache holds only unwritten tables", offset)
        }
        do throws(ImageError) {
            try storage.read(into: l2Cache.bytes(slot), at: offset)
        } catch {
            l2Cache.drop(slot)
            throw error
        }
        return slot
    }

    /// Like `loadL2`, writing dirty tables out first when the cache is full of them. For holders of exclusive access.
    func loadL2MakingRoom(_ l1Index: Int) throws(ImageError) -> Int? {
        if l2Cache.isFullOfDirty { try writeMetadata() }
        return try loadL2(l1Index)
    }

    /// Finds what the bytes from `offset` on are, at most `limit` bytes. Caller holds `access`.
    func map(_ offset: UInt64, limit: UInt64) throws(ImageError) -> QCOW2Mapping {
        let end = min(offset + limit, header.size)
        var l1Index = layout.l1Index(offset)
        if l1Index >= l1.count || l1[l1Index] & QCOW2Layout.offsetMask == 0 {
            var runEnd = offset
            while runEnd < end, l1Index >= l1.count || l1[l1Index] & QCOW2Layout.offsetMask == 0 {
                l1Index += 1
                runEnd = UInt64(l1Index) << UInt64(layout.clusterBits + layout.l2Bits)
            }
            return QCOW2Mapping(kind: .unallocated, length: min(runEnd, end) - offset)
        }
        cacheLock.lock()
        defer { cacheLock.unlock() }
        guard let slot = try loadL2(l1Index) else { return QCOW2Mapping(kind: .unallocated, length: 0) }
        let table = UnsafeRawPointer(l2Cache.table(slot))
        return layout.isExtended
            ? try mapExtended(table, offset, end) : try mapStandard(table, offset, end)
    }

    private func mapStandard(_ table: UnsafeRawPointer, _ offset: UInt64, _ end: UInt64) throws(ImageError)
        -> QCOW2Mapping
    {
        var index = layout.l2Index(offset)
        let inCluster = offset & layout.clusterMask
        let first = table.be64(index * 8)
        var mapping = try decode(first, offset)
        mapping.hostOffset += inCluster
        var length = UInt64(layout.clusterSize) - inCluster
        if mapping.kind != .compressed {
            let isPlaced = mapping.kind == .normal || mapping.kind == .zeroAllocated
            var expected = first
            index += 1
            // Equal flags and, for clusters with a place, adjoining places: then the entries differ by one cluster.
            while index < layout.l2Entries, offset + length < end {
                if isPlaced { expected += UInt64(layout.clusterSize) }
                if table.be64(index * 8) != expected { break }
                length += UInt64(layout.clusterSize)
                index += 1
            }
        }
        mapping.length = min(length, end - offset)
        return mapping
    }

    /// The meaning of one standard L2 entry; `hostOffset` is that of the cluster.
    @inline(__always)
    func decode(_ entry: UInt64, _ offset: UInt64) throws(ImageError) -> QCOW2Mapping {
        if entry & QCOW2Layout.compressed != 0 {
            if dataStorage !== storage {
                throw corrupt("Compressed cluster entry found in image with external data file", offset)
            }
            return QCOW2Mapping(kind: .compressed, length: 0, entry: entry)
        }
        let host = entry & QCOW2Layout.offsetMask
        guard host & layout.clusterMask == 0 else {
            throw corrupt("Cluster allocation offset \(host.hex) unaligned (disk offset \(offset.hex))", offset)
        }
        let isZero = entry & QCOW2Layout.zeroFlag != 0 && header.version >= 3 && !layout.isExtended
        let isCopied = entry & QCOW2Layout.copied != 0
        if isZero {
            return QCOW2Mapping(
                kind: host == 0 ? .zeroPlain : .zeroAllocated, length: 0, hostOffset: host, isCopied: isCopied)
        }
        if host == 0, !(dataStorage !== storage && isCopied) { return QCOW2Mapping(kind: .unallocated, length: 0) }
        return QCOW2Mapping(kind: .normal, length: 0, hostOffset: host, isCopied: isCopied)
    }

    private func mapExtended(_ table: UnsafeRawPointer, _ offset: UInt64, _ end: UInt64) throws(ImageError)
        -> QCOW2Mapping
    {
        var index = layout.l2Index(offset)
        var position = offset
        var result: QCOW2Mapping?
        scan: while index < layout.l2Entries, position < end {
            let entry = table.be64(index * 16)
            let bitmap = table.be64(index * 16 + 8)
            let cluster = try decode(entry, position)
            if cluster.kind == .compressed {
                if result == nil {
                    var whole = cluster
                    whole.length = min(UInt64(layout.clusterSize) - (offset & layout.clusterMask), end - offset)
                    return whole
                }
                break
            }
            var sub = Int(position & layout.clusterMask) >> layout.subclusterBits
            while sub < QCOW2Layout.subclustersPerCluster, position < end {
                let kind = try subclusterKind(bitmap, sub, hasHost: cluster.kind == .normal, position)
                let host =
                    kind == .normal || kind == .zeroAllocated
                    ? cluster.hostOffset + (position & layout.clusterMask) : 0
                if let start = result {
                    let placed = kind == .normal || kind == .zeroAllocated
                    guard kind == start.kind, !placed || host == start.hostOffset + (position - offset),
                        !placed || cluster.isCopied == start.isCopied
                    else { break scan }
                } else {
                    result = QCOW2Mapping(kind: kind, length: 0, hostOffset: host, isCopied: cluster.isCopied)
                }
                sub += 1
                position = layout.clusterStart(position) + UInt64(sub << layout.subclusterBits)
            }
            index += 1
        }
        guard var mapping = result else { return QCOW2Mapping(kind: .unallocated, length: 0) }
        mapping.length = min(position, end) - offset
        return mapping
    }

    /// The state of one subcluster: bit n allocated, bit 32 + n reads as zeros, both is an error.
    @inline(__always)
    func subclusterKind(
        _ bitmap: UInt64, _ sub: Int, hasHost: Bool, _ offset: UInt64
    ) throws(ImageError) -> QCOW2Mapping.Kind {
        let isAllocated = bitmap >> UInt64(sub) & 1 != 0
        let isZero = bitmap >> UInt64(sub + 32) & 1 != 0
        if isAllocated, isZero || !hasHost {
            throw corrupt("Invalid subcluster bitmap \(bitmap.hex) (disk offset \(offset.hex))", offset)
        }
        if isZero { return hasHost ? .zeroAllocated : .zeroPlain }
        return isAllocated ? .normal : .unallocated
    }

    public func extent(at offset: UInt64, limit: UInt64) throws(ImageError) -> Extent {
        access.lockShared()
        defer { access.unlock() }
        try checkRange(offset, 0)
        let end = offset + min(limit, header.size - offset)
        var mapping = try map(offset, limit: end - offset)
        // Join runs that a table border or an unaligned start has cut.
        while offset + mapping.length < end {
            let placed = mapping.kind == .normal || mapping.kind == .zeroAllocated
            // What cannot be told ends the run; asking for it alone gives the error.
            guard let next = try? map(offset + mapping.length, limit: end - offset - mapping.length),
                next.kind == mapping.kind,
                mapping.kind != .zeroAllocated || next.isCopied == mapping.isCopied,
                !placed || next.hostOffset == mapping.hostOffset + mapping.length
            else { break }
            mapping.length += next.length
        }
        let hostPath = dataStorage !== storage ? dataStorage.path : nil
        switch mapping.kind {
        case .unallocated: return Extent(.unallocated, length: mapping.length, isAllocated: false)
        case .zeroPlain: return Extent(.zero, length: mapping.length, isAllocated: false)
        case .zeroAllocated:
            return Extent(
                .zero, length: mapping.length, hostOffset: mapping.hostOffset, hostPath: hostPath, isAllocated: true)
        case .normal:
            return Extent(
                .data, length: mapping.length, hostOffset: mapping.hostOffset, hostPath: hostPath, isAllocated: true)
        case .compressed: return Extent(.compressed, length: mapping.length, isAllocated: true)
        }
    }
}
