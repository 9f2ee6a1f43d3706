/// Holes below allocated clusters. They are looked for only where they are to be expected: in an image whose metadata was
/// preallocated, the file takes far less room than its clusters would.
extension QCOW2Image {
    public func hostRun(
        at hostOffset: UInt64, limit: UInt64
    ) throws(ImageError) -> (isData: Bool, length: UInt64)? {
        guard header.cryptMethod == 0, try isSparselyFilled() else { return nil }
        return dataStorage.dataRun(at: hostOffset, limit: limit)
    }

    /// Whether a tenth of the used clusters, and at least two, take no room on the host.
    private func isSparselyFilled() throws(ImageError) -> Bool {
        if dataStorage !== storage { return true }
        access.lockExclusive()
        defer { access.unlock() }
        if let knownToBeSparse { return knownToBeSparse }
        let onHost = (storage.allocatedBytes ?? UInt64.max) >> UInt64(layout.clusterBits)
        let clusters = storage.byteCount >> UInt64(layout.clusterBits)
        let threshold = onHost >= clusters ? clusters + 1 : max(onHost * 10 / 9, onHost + 2)
        var used: UInt64 = 0
        var cluster: UInt64 = 0
        while cluster < clusters, used < threshold {
            if try refcount(cluster) > 0 { used += 1 }
            cluster += 1
        }
        knownToBeSparse = used >= threshold
        return used >= threshold
    }
}
