import Glibc

/// How often each host cluster is referenced, as `check` counts it. The memory is the host's to give: clusters of a sparse
/// file that nothing refers to cost none.
final class QCOW2ReferenceCounts {
    /// Clusters that have a counter.
    let count: Int
    private let counters: UnsafeMutablePointer<UInt16>
    private let byteCount: Int

    /// Throws `.io` where there is no address space.
    init(count: Int) throws(ImageError) {
        self.count = count
        byteCount = max(4096, count * MemoryLayout<UInt16>.stride)
        let memory = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let memory, memory != MAP_FAILED else {
            throw .system(errno, "Could not get \(byteCount) bytes for reference counts")
        }
        // SAFETY: the mapping is byteCount bytes of zeros, which are valid counters, and lives as long as this object.
        counters = memory.bindMemory(to: UInt16.self, capacity: byteCount / MemoryLayout<UInt16>.stride)
    }

    deinit { munmap(counters, byteCount) }

    subscript(cluster: Int) -> UInt64 {
        precondition(cluster >= 0 && cluster < count, "cluster out of range")
        return UInt64(counters[cluster])
    }

    /// Counts `times` references more. The counter stays at its limit.
    func add(_ times: Int, to cluster: Int) {
        precondition(cluster >= 0 && cluster < count, "cluster out of range")
        counters[cluster] = UInt16(min(Int(counters[cluster]) + times, Int(UInt16.max)))
    }

    /// Takes `times` references back, except from a counter at its limit.
    func subtract(_ times: Int, from cluster: Int) {
        precondition(cluster >= 0 && cluster < count, "cluster out of range")
        guard counters[cluster] < UInt16.max else { return }
        counters[cluster] = UInt16(max(Int(counters[cluster]) - times, 0))
    }

    /// Whether no cluster of the range is referenced.
    func isUnreferenced(_ range: Range<Int>) -> Bool {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "clusters out of range")
        let bytes = UnsafeRawBufferPointer(start: counters + range.lowerBound, count: range.count * 2)
        return bytes.isAllZero
    }

    /// One more than the last cluster that is referenced.
    var end: Int {
        var end = count
        while end > 0 {
            let start = max(0, end - 4096)
            if isUnreferenced(start..<end) {
                end = start
            } else {
                while counters[end - 1] == 0 { end -= 1 }
                return end
            }
        }
        return 0
    }
}
