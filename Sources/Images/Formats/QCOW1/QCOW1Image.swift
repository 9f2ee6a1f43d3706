/// An open qcow image of version 1.
final class QCOW1Image: BlockMappedImage, @unchecked Sendable {
    private static let compressedFlag: UInt64 = 1 << 63
    private let clusterBits: Int
    private let l2Bits: Int
    private let l1: EntryTable
    private let l2Cache: MetadataCache
    private let cacheLock = Lock()
    private let backingFile: String?
    private let cipher: SectorCipher?
    private let isEncrypted: Bool
    private let decompressed: DecompressedClusters
    private var nextHost: UInt64

    init(
        _ storage: any Storage, size: UInt64, clusterBits: Int, l2Bits: Int, l1: EntryTable, backingFile: String?,
        cipher: SectorCipher?, isEncrypted: Bool
    ) {
        self.clusterBits = clusterBits
        self.l2Bits = l2Bits
        self.l1 = l1
        self.backingFile = backingFile
        self.cipher = cipher
        self.isEncrypted = isEncrypted
        l2Cache = MetadataCache(tableBytes: 8 << l2Bits, budgetBytes: 4 << 20)
        decompressed = DecompressedClusters(clusterSize: 1 << clusterBits)
        nextHost = storage.byteCount
        super.init(storage: storage, formatName: "qcow", size: size, blockBytes: 1 << clusterBits)
    }

    override var backingReference: BackingReference? { backingFile.map { BackingReference(file: $0, format: nil) } }
    override var transformsData: Bool { isEncrypted }

    override var summary: ImageSummary {
        var summary = super.summary
        summary.isEncrypted = isEncrypted
        return summary
    }

    /// The L2 table of an L1 entry; nil where there is none. Caller holds `cacheLock`.
    private func loadL2(_ index: Int) throws(ImageError) -> Int? {
        if let slot = l2Cache.find(index) { return slot }
        let offset = try l1[index]
        if offset == 0 { return nil }
        guard offset < storage.byteCount else {
            throw corrupt("L2 table \(index) at \(offset.hex) lies beyond the file", offset)
        }
        try makeCacheRoom()
        guard let slot = l2Cache.claim(index, hostOffset: offset) else { throw corrupt("the L2 cache is full", offset) }
        do throws(ImageError) {
            try storage.read(into: l2Cache.bytes(slot), at: offset)
        } catch {
            l2Cache.drop(slot)
            throw error
        }
        return slot
    }

    /// Writes tables that must be written before another fits, after the data that they name.
    private func makeCacheRoom() throws(ImageError) {
        guard l2Cache.isFullOfDirty else { return }
        try storage.sync()
        try l2Cache.writeBack(to: storage)
    }

    private func entry(_ offset: UInt64) throws(ImageError) -> UInt64 {
        cacheLock.lock()
        defer { cacheLock.unlock() }
        guard let slot = try loadL2(Int(offset >> UInt64(clusterBits + l2Bits))) else { return 0 }
        return l2Cache.table(slot).be64((Int(offset >> UInt64(clusterBits)) & ((1 << l2Bits) - 1)) * 8)
    }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        let cluster = UInt64(blockBytes)
        let inCluster = offset % cluster
        var length = cluster - inCluster
        let l1Index = Int(offset >> UInt64(clusterBits + l2Bits))
        cacheLock.lock()
        defer { cacheLock.unlock() }
        guard let slot = try loadL2(l1Index) else {
            let tableEnd = UInt64(l1Index + 1) << UInt64(clusterBits + l2Bits)
            return BlockRun(kind: .unallocated, length: tableEnd - offset)
        }
        let table = l2Cache.table(slot)
        var index = Int(offset >> UInt64(clusterBits)) & ((1 << l2Bits) - 1)
        let first = table.be64(index * 8)
        if first & Self.compressedFlag != 0 { return BlockRun(kind: .compressed, length: length) }
        guard first < storage.byteCount + cluster else {
            throw corrupt("cluster at \(first.hex) lies beyond the file", first)
        }
        index += 1
        var expected = first
        while length < limit, index < 1 << l2Bits {
            if first != 0 { expected += cluster }
            if table.be64(index * 8) != expected { break }
            length += cluster
            index += 1
        }
        return first == 0
            ? BlockRun(kind: .unallocated, length: length)
            : BlockRun(kind: .data, length: length, host: first + inCluster)
    }

    override func collectPlaces(into places: inout BlockPlaces) throws(ImageError) {
        places.addMetadata("the header", at: 0, bytes: 48)
        places.addMetadata("the L1 table", at: l1.fileOffset, bytes: UInt64(l1.byteCount))
        let table = HeapBuffer(8 << l2Bits, zeroed: false)
        try l1.forEach { (index, offset) throws(ImageError) in
            guard offset != 0 else { return }
            places.addMetadata("the L2 table \(index)", at: offset, bytes: UInt64(8) << UInt64(l2Bits))
            guard offset < storage.byteCount, !places.isFull else { return }
            try storage.read(into: table.bytes, at: offset)
            for position in 0..<1 << l2Bits {
                let entry = table.base.be64(position * 8)
                if entry == 0 { continue }
                let (host, count) = place(ofEntry: entry)
                places.addBlock(UInt64(index << l2Bits + position), at: host, bytes: count)
            }
        }
    }

    /// Where the cluster of an L2 entry lies, and its length.
    private func place(ofEntry entry: UInt64) -> (host: UInt64, count: UInt64) {
        guard entry & Self.compressedFlag != 0 else { return (entry, UInt64(blockBytes)) }
        let shift = UInt64(63 - clusterBits)
        return (entry & ((1 << shift) - 1), entry >> shift & UInt64(blockBytes - 1))
    }

    override func keepClear(of end: UInt64) {
        if end <= storage.byteCount + UInt64(blockBytes) { nextHost = max(nextHost, end) }
    }

    override func place(_ index: UInt64, count: Int) throws(ImageError) -> (host: UInt64, count: Int) {
        // All of a placement lies in one L2 table, made first so that it does not come between the clusters.
        let tableEntries = UInt64(1) << UInt64(l2Bits)
        let room = Int(min(UInt64(count), tableEntries - index % tableEntries))
        let l1Index = Int(index >> UInt64(l2Bits))
        try ensureL2(l1Index)
        let host = take(UInt64(room * blockBytes), alignment: UInt64(blockBytes))
        try storage.resize(to: nextHost)
        return (host, room)
    }

    /// Makes the L2 table of an L1 entry where there is none.
    private func ensureL2(_ l1Index: Int) throws(ImageError) {
        guard try l1[l1Index] == 0 else { return }
        let offset = take(UInt64(8) << UInt64(l2Bits), alignment: UInt64(blockBytes))
        try storage.resize(to: max(nextHost, storage.byteCount))
        cacheLock.lock()
        defer { cacheLock.unlock() }
        try makeCacheRoom()
        guard let slot = l2Cache.claim(l1Index, hostOffset: offset) else {
            throw corrupt("the L2 cache is full", offset)
        }
        l2Cache.bytes(slot).zero(from: 0)
        l2Cache.markDirty(slot)
        try l1.set(offset, at: l1Index)
    }

    private func take(_ count: UInt64, alignment: UInt64) -> UInt64 {
        let start = nextHost.rounded(toMultipleOf: alignment)
        nextHost = start + count
        return start
    }

    override func link(_ index: UInt64, host: UInt64) throws(ImageError) {
        cacheLock.lock()
        defer { cacheLock.unlock() }
        guard let slot = try loadL2(Int(index >> UInt64(l2Bits))) else {
            throw corrupt("L2 table of cluster \(index) vanished")
        }
        l2Cache.table(slot).putBE64(host, Int(index & ((1 << UInt64(l2Bits)) - 1)) * 8)
        l2Cache.markDirty(slot)
    }

    override var hasDirtyTables: Bool { l2Cache.dirtyCount > 0 || !l1.dirtyPages.isEmpty }
    override func writeTables() throws(ImageError) {
        try l2Cache.writeBack(to: storage)
        if !l1.dirtyPages.isEmpty {
            try storage.sync()
            try l1.writeBack()
        }
    }

    // MARK: Compression and encryption

    override func readCompressed(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        let value = try entry(offset)
        let inCluster = Int(offset % UInt64(blockBytes))
        if decompressed.copy(value, inCluster, into: buffer) { return }
        let shift = UInt64(63 - clusterBits)
        let count = Int(value >> shift & UInt64(blockBytes - 1)), host = value & ((1 << shift) - 1)
        guard host < storage.byteCount, count > 0 else {
            throw corrupt("compressed cluster of \(count) bytes at \(host.hex) is invalid", host)
        }
        let input = HeapBuffer(count, zeroed: false)
        try storage.read(into: input.bytes.part(0, count), at: host)
        let whole = HeapBuffer(blockBytes, zeroed: false)
        guard Deflate.decompress(input.readable.part(0, count), into: whole.bytes) else {
            throw ImageError(
                .io, "compressed cluster at \(host.hex) does not decompress to \(blockBytes) bytes", format: "qcow",
                path: path,
                offset: offset)
        }
        decompressed.store(value, whole.readable)
        buffer.copyMemory(from: whole.readable.part(inCluster, buffer.count))
    }

    override func compress(
        cluster: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer
    ) throws(ImageError) -> Int? {
        guard cluster.count == blockBytes, !isEncrypted else { return nil }
        return Deflate.compress(cluster, into: out.part(0, min(out.count, blockBytes - 1)))
    }

    override func writeCompressed(_ payload: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        let index = offset >> UInt64(clusterBits)
        try ensureL2(Int(index >> UInt64(l2Bits)))
        let host = nextHost
        nextHost += UInt64(payload.count)
        try storage.write(from: payload, at: host)
        let shift = UInt64(63 - clusterBits)
        guard host < 1 << shift else {
            throw ImageError(.outOfSpace, "a compressed cluster cannot lie at \(host.hex)", format: "qcow", path: path)
        }
        try link(index, host: Self.compressedFlag | UInt64(payload.count) << shift | host)
    }

    override func readHost(into buffer: UnsafeMutableRawBufferPointer, host: UInt64, at offset: UInt64)
        throws(ImageError)
    {
        guard isEncrypted else { return try storage.read(into: buffer, at: host) }
        guard let cipher else {
            throw ImageError(.permission, "the image is encrypted and no secret was given", path: path)
        }
        // Whole sectors around the request.
        let lead = Int(offset & 511)
        let whole = HeapBuffer((lead + buffer.count + 511) & ~511, zeroed: false)
        try storage.read(into: whole.bytes, at: host - UInt64(lead))
        try cipher.transform(
            whole.readable, into: whole.bytes, firstSector: (offset - UInt64(lead)) / 512, encrypt: false)
        buffer.copyMemory(from: whole.readable.part(lead, buffer.count))
    }

    override func writeHost(from buffer: UnsafeRawBufferPointer, host: UInt64, at offset: UInt64) throws(ImageError) {
        guard isEncrypted else { return try storage.write(from: buffer, at: host) }
        guard let cipher else {
            throw ImageError(.permission, "the image is encrypted and no secret was given", path: path)
        }
        let lead = Int(offset & 511)
        let whole = HeapBuffer((lead + buffer.count + 511) & ~511)
        if lead != 0 || buffer.count % 512 != 0 {
            try storage.read(into: whole.bytes, at: host - UInt64(lead))
            try cipher.transform(
                whole.readable, into: whole.bytes, firstSector: (offset - UInt64(lead)) / 512, encrypt: false)
        }
        whole.bytes.part(lead, buffer.count).copyMemory(from: buffer)
        try cipher.transform(
            whole.readable, into: whole.bytes, firstSector: (offset - UInt64(lead)) / 512, encrypt: true)
        try storage.write(from: whole.readable, at: host - UInt64(lead))
    }
}
