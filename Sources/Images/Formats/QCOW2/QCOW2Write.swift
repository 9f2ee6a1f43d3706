/// Writing qcow2. Clusters that belong to this mapping alone are written in place; anything else gets a new cluster,
/// filled up with what the disk held there before (copy on write), and is linked after its data has been written.
extension QCOW2Image {
    public func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try checkRange(offset, UInt64(buffer.count))
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        try recordWrite(offset, UInt64(buffer.count))
        try writeLocked(from: buffer, at: offset)
    }

    /// `write` for callers that hold `access` and have prepared.
    private func writeLocked(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        var done = 0
        while done < buffer.count {
            let position = offset + UInt64(done)
            let remaining = buffer.count - done
            let mapping = try map(position, limit: UInt64(remaining))
            let inCluster = Int(position & layout.clusterMask)
            if mapping.kind == .normal, mapping.isCopied {
                let count = Int(mapping.length)
                try checkInPlace(mapping.hostOffset, mapping.length)
                try writeData(from: buffer.part(done, count), host: mapping.hostOffset, at: position)
                done += count
            } else if inCluster == 0, remaining >= layout.clusterSize {
                done += try writeWholeClusters(.bytes(buffer.part(done, remaining)), at: position, mapping)
            } else {
                let count = min(remaining, layout.clusterSize - inCluster)
                try writePart(from: buffer.part(done, count), at: position)
                done += count
            }
        }
    }

    /// What a write of whole clusters brings: bytes in memory, or bytes of a host file.
    private enum Payload {
        case bytes(UnsafeRawBufferPointer)
        case range(HostRange)

        var count: UInt64 {
            switch self {
            case .bytes(let buffer): UInt64(buffer.count)
            case .range(let range): range.count
            }
        }
    }

    public var plainStorage: (any Storage)? { header.cryptMethod == 0 ? dataStorage : nil }

    public func write(copying range: HostRange, at offset: UInt64) throws(ImageError) {
        try checkRange(offset, range.count)
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        try recordWrite(offset, range.count)
        let cluster = UInt64(layout.clusterSize)
        var done: UInt64 = 0
        while done < range.count {
            let position = offset + done
            let rest = range.part(done, range.count - done)
            let mapping = try map(position, limit: rest.count)
            let isWhole = position & layout.clusterMask == 0 && rest.count >= cluster
            if header.cryptMethod == 0, mapping.kind == .normal, mapping.isCopied {
                try checkInPlace(mapping.hostOffset, mapping.length)
                try dataStorage.copy(rest.part(0, mapping.length), to: mapping.hostOffset)
                done += mapping.length
            } else if header.cryptMethod == 0, isWhole {
                done += UInt64(try writeWholeClusters(.range(rest), at: position, mapping))
            } else {
                let inCluster = position & layout.clusterMask
                let buffer = HeapBuffer(Int(min(rest.count, cluster - inCluster)), zeroed: false)
                try rest.storage.read(into: buffer.bytes, at: rest.offset)
                try writeLocked(from: buffer.readable, at: position)
                done += UInt64(buffer.bytes.count)
            }
        }
    }

    /// Plain guest data to a host offset.
    func writeData(from buffer: UnsafeRawBufferPointer, host: UInt64, at offset: UInt64) throws(ImageError) {
        guard header.cryptMethod != 0 else { return try dataStorage.write(from: buffer, at: host) }
        try EncryptedSectors(dataStorage, cipher).write(from: buffer, host: host, vector: vector(host, offset))
    }

    /// Writes as many whole clusters as one allocation gives; returns the bytes written.
    private func writeWholeClusters(
        _ payload: Payload, at offset: UInt64, _ first: QCOW2Mapping
    ) throws(ImageError) -> Int {
        var wanted = 1
        if first.kind != .compressed {
            // The run ends with the mapping, the L2 table and the buffer.
            let tableEnd = (offset / layout.l2Coverage + 1) * layout.l2Coverage
            let end = min(tableEnd, offset + payload.count, offset + first.length)
            wanted = max(1, Int((end - offset) >> UInt64(layout.clusterBits)))
        }
        let (host, count): (UInt64, Int)
        let reuses = first.kind == .zeroAllocated && first.isCopied && !layout.isExtended
        if reuses {
            (host, count) = (first.hostOffset, wanted)
            try checkInPlace(host, UInt64(count * layout.clusterSize))
        } else if dataStorage !== storage {
            (host, count) = (offset, wanted)
        } else {
            (host, count) = try allocate(upTo: wanted)
        }
        let bytes = count * layout.clusterSize
        do throws(ImageError) {
            switch payload {
            case .bytes(let buffer): try writeData(from: buffer.part(0, bytes), host: host, at: offset)
            case .range(let range): try dataStorage.copy(range.part(0, UInt64(bytes)), to: host)
            }
        } catch {
            if !reuses, dataStorage === storage { try freeNow(host, UInt64(bytes)) }
            throw error
        }
        try link(host: host, count: count, at: offset)
        return bytes
    }

    /// Points `count` clusters from disk offset `offset` on to adjoining host clusters, all of them data.
    func link(host: UInt64, count: Int, at offset: UInt64) throws(ImageError) {
        let slot = try writableL2(layout.l1Index(offset))
        let first = layout.l2Index(offset)
        for step in 0..<count {
            let value = (host + UInt64(step * layout.clusterSize)) | QCOW2Layout.copied
            setEntry(slot, first + step, value, bitmap: 0xffff_ffff)
        }
    }

    /// Replaces an L2 entry and gives up what the old one named. Caller got `slot` from `writableL2`.
    func setEntry(_ slot: Int, _ index: Int, _ value: UInt64, bitmap: UInt64) {
        cacheLock.lock()
        let table = l2Cache.table(slot)
        let at = index * layout.entryBytes
        let old = table.be64(at)
        table.putBE64(value, at)
        if layout.isExtended { table.putBE64(bitmap, at + 8) }
        l2Cache.markDirty(slot)
        cacheLock.unlock()
        giveUp(old, replacedBy: value)
    }

    /// Queues the host clusters of an L2 entry for freeing unless the new entry still names them.
    private func giveUp(_ old: UInt64, replacedBy new: UInt64) {
        if old & QCOW2Layout.compressed != 0 {
            let (host, byteCount) = layout.compressedRange(old)
            freeLater(host & ~511, UInt64(byteCount) + host & 511, isData: true)
            return
        }
        let host = old & QCOW2Layout.offsetMask
        if host == 0 || dataStorage !== storage { return }
        if new & QCOW2Layout.compressed == 0, new & QCOW2Layout.offsetMask == host { return }
        freeLater(host, UInt64(layout.clusterSize), isData: true)
    }

    /// The slot of an L2 table that may be changed: made where there is none, copied where a snapshot shares it.
    func writableL2(_ l1Index: Int) throws(ImageError) -> Int {
        cacheLock.lock()
        let cached = l1[l1Index] & QCOW2Layout.copied != 0 && !l2Cache.isFullOfDirty ? l2Cache.find(l1Index) : nil
        cacheLock.unlock()
        if let cached { return cached }
        if l2Cache.isFullOfDirty { try writeMetadata() }
        let entry = l1[l1Index]
        let oldOffset = entry & QCOW2Layout.offsetMask
        if oldOffset != 0, entry & QCOW2Layout.copied != 0 {
            cacheLock.lock()
            defer { cacheLock.unlock() }
            guard let slot = try loadL2(l1Index) else { throw corrupt("L1 entry \(l1Index) vanished", header.l1Offset) }
            return slot
        }
        let newOffset = try allocate(upTo: 1).offset
        cacheLock.lock()
        defer { cacheLock.unlock() }
        let slot: Int
        if oldOffset != 0 {
            guard let loaded = try loadL2(l1Index) else {
                throw corrupt("L1 entry \(l1Index) vanished", header.l1Offset)
            }
            slot = loaded
            l2Cache.move(slot, to: newOffset)
            freeLater(oldOffset, UInt64(layout.clusterSize))
        } else {
            guard let fresh = l2Cache.claim(l1Index, hostOffset: newOffset) else {
                throw corrupt("the L2 cache holds only unwritten tables", newOffset)
            }
            slot = fresh
            l2Cache.bytes(slot).zero(from: 0)
        }
        l2Cache.markDirty(slot)
        l1[l1Index] = newOffset | QCOW2Layout.copied
        metadata?.insert(.activeL2, at: newOffset, bytes: UInt64(layout.clusterSize))
        markL1Dirty(l1Index)
        return slot
    }

    /// Writes a part of one cluster that cannot simply be overwritten.
    private func writePart(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        let start = layout.clusterStart(offset)
        let inCluster = Int(offset - start)
        let (entry, bitmap) = try entry(at: start)
        let cluster = try decode(entry, start)
        let owns = (cluster.kind == .normal || cluster.kind == .zeroAllocated) && cluster.isCopied
        // Which bytes of the cluster have to be written: with subclusters only the touched ones.
        var from = 0
        var to = layout.clusterSize
        if layout.isExtended, owns || cluster.kind == .unallocated {
            let mask = layout.subclusterSize - 1
            from = inCluster & ~mask
            to = (inCluster + buffer.count + mask) & ~mask
        }
        var host = cluster.hostOffset
        var isFresh = false
        if !owns {
            if dataStorage !== storage {
                host = start
            } else {
                host = try allocate(upTo: 1).offset
                isFresh = host >= storage.byteCount
            }
        } else {
            try checkInPlace(host, UInt64(layout.clusterSize))
        }
        do throws(ImageError) {
            if isFresh, !layout.isExtended, header.cryptMethod == 0, try readsAsZeros(cluster.kind, start) {
                // A new cluster at the end of the file is zero already.
                try writeData(from: buffer, host: host + UInt64(inCluster), at: offset)
            } else {
                let whole = clusterPool.take()
                defer { clusterPool.give(whole) }
                let end = inCluster + buffer.count
                try fill(whole.bytes.part(from, inCluster - from), at: start + UInt64(from))
                try fill(whole.bytes.part(end, to - end), at: start + UInt64(end))
                whole.bytes.part(inCluster, buffer.count).copyMemory(from: buffer)
                try writeData(
                    from: whole.readable.part(from, to - from), host: host + UInt64(from), at: start + UInt64(from))
            }
        } catch {
            if !owns, dataStorage === storage { try freeNow(host, UInt64(layout.clusterSize)) }
            throw error
        }
        var newBitmap = bitmap
        if layout.isExtended {
            if !owns, cluster.kind != .unallocated { newBitmap = 0 }
            for sub in (from >> layout.subclusterBits)..<(to >> layout.subclusterBits) {
                newBitmap |= 1 << UInt64(sub)
                newBitmap &= ~(1 << UInt64(sub + 32))
            }
        }
        let slot = try writableL2(layout.l1Index(start))
        setEntry(slot, layout.l2Index(start), host | QCOW2Layout.copied, bitmap: newBitmap)
    }

    /// The present content of the disk, zeros past its end.
    private func fill(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        guard buffer.count > 0 else { return }
        let inside = offset < header.size ? Int(min(UInt64(buffer.count), header.size - offset)) : 0
        if inside > 0 { try readLocked(into: buffer.part(0, inside), at: offset) }
        buffer.zero(from: inside)
    }

    /// Whether a whole cluster of that kind reads as zeros as far as metadata can tell, here and in the chain below.
    private func readsAsZeros(_ kind: QCOW2Mapping.Kind, _ start: UInt64) throws(ImageError) -> Bool {
        switch kind {
        case .zeroPlain, .zeroAllocated: return true
        case .unallocated:
            guard let backing else { return true }
            var position = start
            let end = min(start + UInt64(layout.clusterSize), backing.size)
            while position < end {
                let below = try backing.chainExtent(at: position, limit: end - position)
                guard below.isZero else { return false }
                position += below.length
            }
            return true
        case .normal, .compressed: return false
        }
    }

    /// The L2 entry and subcluster bitmap for a disk offset, zeros where there is no table.
    func entry(at offset: UInt64) throws(ImageError) -> (entry: UInt64, bitmap: UInt64) {
        let l1Index = layout.l1Index(offset)
        guard l1Index < l1.count, l1[l1Index] & QCOW2Layout.offsetMask != 0 else { return (0, 0) }
        if l2Cache.isFullOfDirty { try writeMetadata() }
        cacheLock.lock()
        defer { cacheLock.unlock() }
        guard let slot = try loadL2(l1Index) else { return (0, 0) }
        let at = layout.l2Index(offset) * layout.entryBytes
        let table = l2Cache.table(slot)
        return (table.be64(at), layout.isExtended ? table.be64(at + 8) : 0)
    }
}
