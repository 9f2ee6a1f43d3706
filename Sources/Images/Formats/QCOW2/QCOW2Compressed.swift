/// Writing compressed clusters: byte-aligned, packed one behind the other, also across cluster borders.
extension QCOW2Image {
    public func compress(
        cluster: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer
    ) throws(ImageError) -> Int? {
        if header.cryptMethod != 0 {
            throw ImageError(
                .unsupported, "Compression and encryption not supported at the same time", format: "qcow2", path: path)
        }
        var source = cluster
        let padded: HeapBuffer?
        if cluster.count < layout.clusterSize {
            // The last cluster of the disk is compressed with zeros behind its end.
            let whole = HeapBuffer(layout.clusterSize)
            whole.bytes.part(0, cluster.count).copyMemory(from: cluster)
            source = whole.readable
            padded = whole
        } else {
            padded = nil
        }
        defer { withExtendedLifetime(padded) {} }
        let room = out.part(0, min(out.count, layout.clusterSize - 1))
        return switch header.compression {
        case .zlib: Deflate.compress(source, into: room)
        case .zstd: Zstandard.compress(source, into: room)
        }
    }

    public func writeCompressed(_ payload: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try checkRange(offset, 1)
        guard offset & layout.clusterMask == 0, payload.count > 0, payload.count < layout.clusterSize,
            dataStorage === storage, header.cryptMethod == 0
        else {
            throw ImageError(
                .invalidArgument, "a compressed write must be one aligned cluster of a plain image", format: "qcow2",
                path: path, offset: offset)
        }
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        try recordWrite(offset, min(UInt64(layout.clusterSize), header.size - offset))
        let host = try allocateBytes(payload.count)
        try storage.write(from: payload, at: host)
        let slot = try writableL2(layout.l1Index(offset))
        setEntry(
            slot, layout.l2Index(offset), layout.compressedEntry(offset: host, byteCount: payload.count), bitmap: 0)
    }

    /// Room for `count` bytes, at most a cluster. Each cluster that the sectors of the stream touch counts one reference.
    private func allocateBytes(_ count: Int) throws(ImageError) -> UInt64 {
        let tail = compressedTail
        let room = Int((layout.clusterSize - Int(tail & layout.clusterMask)) & Int(layout.clusterMask))
        if tail != 0, room > 0 {
            let cluster = tail >> UInt64(layout.clusterBits)
            let references = try refcount(cluster)
            if references > 0, references < layout.maximumRefcount {
                if count <= room {
                    try setRefcount(cluster, references + 1)
                    compressedTail = tail + UInt64(count)
                    return tail
                }
                let (next, _) = try allocate(upTo: 1)
                if next == (cluster + 1) << UInt64(layout.clusterBits) {
                    try setRefcount(cluster, references + 1)
                    compressedTail = tail + UInt64(count)
                    return tail
                }
                compressedTail = next + UInt64(count)
                return next
            }
        }
        let (start, _) = try allocate(upTo: 1)
        compressedTail = start + UInt64(count)
        return start
    }
}
