/// Reading qcow2: plain clusters go from the file into the caller's buffer; compressed ones through a small cache.
extension QCOW2Image {
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try checkRange(offset, UInt64(buffer.count))
        access.lockShared()
        defer { access.unlock() }
        try readLocked(into: buffer, at: offset)
    }

    /// `read` for callers that hold `access`.
    func readLocked(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        var done = 0
        while done < buffer.count {
            let position = offset + UInt64(done)
            let mapping = try map(position, limit: UInt64(buffer.count - done))
            let count = Int(mapping.length)
            guard count > 0 else { throw corrupt("the mapping at \(position.hex) is empty", position) }
            let part = buffer.part(done, count)
            switch mapping.kind {
            case .normal: try readData(into: part, host: mapping.hostOffset, at: position)
            case .zeroPlain, .zeroAllocated: part.zero(from: 0)
            case .unallocated: try readBacking(into: part, at: position)
            case .compressed: try readCompressed(into: part, at: position, entry: mapping.entry)
            }
            done += count
        }
    }

    /// Plain guest data at a host offset.
    func readData(
        into buffer: UnsafeMutableRawBufferPointer, host: UInt64, at offset: UInt64
    ) throws(ImageError) {
        guard header.cryptMethod != 0 else { return try dataStorage.read(into: buffer, at: host) }
        try EncryptedSectors(dataStorage, cipher).read(into: buffer, host: host, vector: vector(host, offset))
    }

    /// What the initialisation vector counts: LUKS the place in the file, legacy AES the place on the disk.
    func vector(_ host: UInt64, _ offset: UInt64) -> UInt64 { header.cryptMethod == 2 ? host : offset }

    /// Part of a compressed cluster. Whole clusters are decompressed in place, parts through the cache.
    private func readCompressed(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, entry: UInt64
    ) throws(ImageError) {
        let inCluster = Int(offset & layout.clusterMask)
        if inCluster == 0, buffer.count == layout.clusterSize {
            return try decompress(entry, into: buffer, at: offset)
        }
        if decompressed.copy(entry, inCluster, into: buffer) { return }
        let whole = clusterPool.take()
        defer { clusterPool.give(whole) }
        try decompress(entry, into: whole.bytes, at: offset)
        decompressed.store(entry, whole.readable)
        buffer.copyMemory(from: whole.readable.part(inCluster, buffer.count))
    }

    /// Decompresses the cluster that `entry` names into `output`, one cluster long.
    func decompress(
        _ entry: UInt64, into output: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(ImageError) {
        let (host, byteCount) = layout.compressedRange(entry)
        guard host < storage.byteCount else {
            throw corrupt("compressed cluster at \(host.hex) lies beyond the file (disk offset \(offset.hex))", offset)
        }
        let input = byteCount <= layout.clusterSize ? clusterPool.take() : HeapBuffer(byteCount, zeroed: false)
        defer { if byteCount <= layout.clusterSize { clusterPool.give(input) } }
        try storage.read(into: input.bytes.part(0, byteCount), at: host)
        let payload = input.readable.part(0, byteCount)
        let isGood =
            switch header.compression {
            case .zlib: Deflate.decompress(payload, into: output)
            case .zstd: Zstandard.decompress(payload, into: output)
            }
        guard isGood else {
            throw ImageError(
                .io, "compressed cluster at \(host.hex) does not decompress to \(layout.clusterSize) bytes",
                format: "qcow2", path: path, offset: offset)
        }
    }
}

/// The last few decompressed clusters, so that small sequential reads decompress each cluster once.
final class DecompressedClusters: @unchecked Sendable {
    private let lock = Lock()
    private let clusterSize: Int
    private let capacity: Int
    private var keys: [UInt64] = []
    private var buffers: [HeapBuffer] = []
    private var next = 0

    init(clusterSize: Int) {
        self.clusterSize = clusterSize
        capacity = max(2, min(16, (4 << 20) / clusterSize))
    }

    /// Copies from a cached cluster; false when it is not cached. Entries are never zero.
    func copy(_ key: UInt64, _ start: Int, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard let index = keys.firstIndex(of: key) else { return false }
        buffer.copyMemory(from: buffers[index].readable.part(start, buffer.count))
        return true
    }

    func store(_ key: UInt64, _ cluster: UnsafeRawBufferPointer) {
        lock.lock()
        defer { lock.unlock() }
        if keys.contains(key) { return }
        if keys.count < capacity {
            keys.append(key)
            buffers.append(HeapBuffer(clusterSize, zeroed: false))
            next = keys.count - 1
        }
        keys[next] = key
        buffers[next].bytes.copyMemory(from: cluster)
        next = (next + 1) % capacity
    }

    /// Host space was given up: what it held must not be served again.
    func removeAll() {
        lock.lock()
        defer { lock.unlock() }
        keys.removeAll()
        buffers.removeAll()
        next = 0
    }
}
