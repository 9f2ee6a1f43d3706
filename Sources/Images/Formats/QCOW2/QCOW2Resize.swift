/// Growing, shrinking, preallocating, emptying, and changing the backing file.
extension QCOW2Image: BackingChangeable {
    public func resize(to newSize: UInt64, preallocation: Preallocation) throws(ImageError) {
        try checkWritable()
        guard newSize % 512 == 0 else {
            throw ImageError(.invalidArgument, "The new size must be a multiple of 512", format: "qcow2", path: path)
        }
        if newSize == header.size { return }
        guard newSize > header.size || preallocation == .off else {
            throw ImageError(.invalidArgument, "Preallocation can't be used for shrinking an image", format: "qcow2")
        }
        // Entries of version 2 need not record the size of the disk: it would change under those snapshots.
        guard snapshots.isEmpty || header.version >= 3 else {
            throw ImageError(
                .unsupported, "Can't resize a v2 image which has snapshots", format: "qcow2", path: path)
        }
        let bitmaps = try takeBitmapsForResize()
        if newSize < header.size {
            try shrink(to: newSize)
        } else {
            try grow(to: newSize, preallocation)
        }
        try storeResized(bitmaps)
    }

    private func grow(to target: UInt64, _ preallocation: Preallocation) throws(ImageError) {
        let oldSize = header.size
        access.lockExclusive()
        do throws(ImageError) {
            try prepareForWriting()
            try growL1(for: target)
        } catch {
            access.unlock()
            throw error
        }
        // The file gets the new size last: until then nobody else sees what lies behind the old end.
        header.size = target
        access.unlock()
        do throws(ImageError) {
            try fillGrown(from: oldSize, to: target, preallocation)
            try flush()
            try writeSize()
        } catch {
            header.size = oldSize
            throw error
        }
        try storage.sync()
    }

    private func fillGrown(
        from oldSize: UInt64, to target: UInt64, _ preallocation: Preallocation
    ) throws(ImageError) {
        // Bytes between the old end and the end of its cluster, or that a longer backing file would show.
        let clusterEnd = min(target, (oldSize + layout.clusterMask) & ~layout.clusterMask)
        let backedEnd = min(target, backing?.size ?? 0)
        let zeroEnd = max(clusterEnd, backedEnd)
        if zeroEnd > oldSize { try writeZeroes(at: oldSize, count: zeroEnd - oldSize, mayUnmap: true) }
        if dataStorage !== storage { try dataStorage.resize(to: max(dataStorage.byteCount, target)) }
        guard preallocation != .off else { return }
        try copyUpLastCluster(oldSize)
        try preallocate(from: oldSize, to: target, mode: preallocation)
    }

    /// Up to the old end, the cluster that it lies in may still show the backing file. It gets those bytes before it gets a place
    /// of its own, which would hide them; subclusters show through a place.
    private func copyUpLastCluster(_ oldSize: UInt64) throws(ImageError) {
        let start = layout.clusterStart(oldSize)
        guard start < oldSize, !layout.isExtended, isBacked(start),
            try extent(at: start, limit: oldSize - start).kind == .unallocated
        else { return }
        let buffer = HeapBuffer(Int(oldSize - start), zeroed: false)
        try read(into: buffer.bytes, at: start)
        try write(from: buffer.readable, at: start)
    }

    func growL1(for size: UInt64) throws(ImageError) {
        let needed = layout.l1Entries(forSize: size)
        guard needed > UInt64(l1.count) else { return }
        guard needed * 8 <= QCOW2Layout.maximumL1Bytes else {
            throw ImageError(
                .invalidArgument, "Failed to grow the L1 table: File too large", format: "qcow2", path: path)
        }
        try settle()
        let table = l1 + [UInt64](repeating: 0, count: Int(needed) - l1.count)
        let old = (header.l1Offset, UInt64(header.l1Size) * 8)
        let offset = try writeTable(table)
        try settle()
        try switchL1(to: table, at: offset, size: header.size)
        if old.1 > 0 { try freeNow(old.0, old.1) }
    }

    private func writeSize() throws(ImageError) {
        var field: [UInt8] = []
        field.putBE(header.size)
        try storage.write(field, at: 24)
    }

    private func shrink(to size: UInt64) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        try auditReferences()
        let first = (size + layout.clusterMask) & ~layout.clusterMask
        let end = UInt64(l1.count) << UInt64(layout.clusterBits + layout.l2Bits)
        // What is cut off goes first: a disk that grows again must not find it.
        try unmapAll(from: first, to: end)
        try settle()
        let oldSize = header.size
        header.size = size
        do throws(ImageError) {
            try writeSize()
        } catch {
            header.size = oldSize
            throw error
        }
        try storage.sync()
        if dataStorage !== storage { try dataStorage.resize(to: size) }
        try settle()
        try truncateFile()
    }

    /// Clears every mapping of whole clusters in the range: afterwards the backing file shows through.
    func unmapAll(from first: UInt64, to end: UInt64) throws(ImageError) {
        var position = first
        while position < end {
            let l1Index = layout.l1Index(position)
            let tableEnd = UInt64(l1Index + 1) << UInt64(layout.clusterBits + layout.l2Bits)
            if l1Index >= l1.count { return }
            if l1[l1Index] & QCOW2Layout.offsetMask != 0 {
                let slot = try writableL2(l1Index)
                for index in layout.l2Index(position)..<layout.l2Entries { setEntry(slot, index, 0, bitmap: 0) }
                if position & (layout.l2Coverage - 1) == 0 { try dropL2(l1Index) }
            }
            position = tableEnd
        }
    }

    /// Gives up an L2 table that maps nothing.
    private func dropL2(_ l1Index: Int) throws(ImageError) {
        let offset = l1[l1Index] & QCOW2Layout.offsetMask
        cacheLock.lock()
        if let slot = l2Cache.find(l1Index) { l2Cache.drop(slot) }
        cacheLock.unlock()
        l1[l1Index] = 0
        markL1Dirty(l1Index)
        freeLater(offset, UInt64(layout.clusterSize))
    }

    /// Cuts free clusters off the end of the file.
    private func truncateFile() throws(ImageError) {
        var cluster = layout.clusters(storage.byteCount)
        while cluster > 1, try refcount(cluster - 1) == 0 {
            try checkUnclaimed(cluster - 1)
            cluster -= 1
        }
        let end = cluster << UInt64(layout.clusterBits)
        if end < storage.byteCount {
            try storage.resize(to: end)
            highestAllocated = end
        }
    }

    public func makeEmpty() throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        try auditReferences()
        try unmapAll(from: 0, to: UInt64(l1.count) << UInt64(layout.clusterBits + layout.l2Bits))
        try settle()
        try truncateFile()
    }

    public func changeBacking(_ reference: BackingReference?) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        guard reference == nil || header.autoclear & QCOW2Header.autoclearRawData == 0 else {
            throw ImageError(
                .invalidArgument, "a raw external data file and a backing file exclude each other", format: "qcow2",
                path: path)
        }
        try settle()
        let old = header
        header.backingFile = reference?.file
        header.backingFormat = reference?.format
        do throws(ImageError) {
            try writeHeader()
        } catch {
            header = old
            throw error
        }
        try storage.sync()
    }

    /// Maps every cluster of the range to host clusters of its own, one behind the other, and sets host space aside.
    func preallocate(from start: UInt64, to end: UInt64, mode: Preallocation) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        var position = layout.clusterStart(start)
        while position < end {
            // Whatever its first subcluster says: a cluster with a place of its own keeps it.
            let old = try entry(at: position)
            guard old.entry & ~QCOW2Layout.zeroFlag == 0 else {
                position += UInt64(layout.clusterSize)
                continue
            }
            let tableEnd = (position / layout.l2Coverage + 1) * layout.l2Coverage
            let wanted = Int(layout.clusters(min(tableEnd, end) - position))
            // The rest of this table, cut at the first cluster that is mapped already.
            var count = 1
            while count < wanted {
                let next = try entry(at: position + UInt64(count) << UInt64(layout.clusterBits))
                if next.entry != 0 || next.bitmap != 0 { break }
                count += 1
            }
            let slot = try writableL2(layout.l1Index(position))
            let (host, got): (UInt64, Int) = dataStorage !== storage ? (position, count) : try allocate(upTo: count)
            let bytes = UInt64(got) << UInt64(layout.clusterBits)
            if dataStorage === storage, host < storage.byteCount {
                try storage.zero(at: host, count: bytes, unmap: true)
            }
            try Preallocation.fill(dataStorage, from: host, to: host + bytes, mode: mode)
            // Encrypted clusters that were never written would read as noise: they are marked as zeros.
            let isNoise = header.cryptMethod != 0 && header.version >= 3
            let zero = isNoise && !layout.isExtended ? QCOW2Layout.zeroFlag : 0
            let everySubcluster: UInt64 = isNoise ? 0xffff_ffff << 32 : 0xffff_ffff
            for step in 0..<got {
                let value = (host + UInt64(step) << UInt64(layout.clusterBits)) | QCOW2Layout.copied | zero
                // With subclusters a place can be set aside and the backing file still show through. What was marked as zeros
                // stays so: only the first one can be.
                let kept = step == 0 ? old.bitmap : 0
                let bitmap = header.backingFile == nil ? everySubcluster : kept
                setEntry(slot, layout.l2Index(position) + step, value, bitmap: bitmap)
            }
            position += bytes
        }
    }
}
