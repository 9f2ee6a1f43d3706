import Glibc

/// Holds work back to a number of bytes per second.
struct RateLimit: Sendable {
    private let bytesPerSecond: UInt64
    private let start: UInt64

    /// 0 sets no limit. The clock runs from here on.
    init(bytesPerSecond: UInt64) {
        self.bytesPerSecond = bytesPerSecond
        start = HostTime.monotonicNanoseconds()
    }

    /// Waits until `done` bytes may have been moved, a second at most.
    func wait(_ done: UInt64) {
        guard bytesPerSecond > 0 else { return }
        let due = start + UInt64(Double(done) / Double(bytesPerSecond) * 1e9)
        let now = HostTime.monotonicNanoseconds()
        if due > now { usleep(UInt32(min((due - now) / 1000, 1_000_000))) }
    }
}
