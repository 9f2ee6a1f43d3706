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

    /// Waits until `done` bytes may have been moved, or `isCancelled`.
    func wait(_ done: UInt64, isCancelled: (() -> Bool)? = nil) {
        guard bytesPerSecond > 0 else { return }
        let due = start + UInt64(Double(done) / Double(bytesPerSecond) * 1e9)
        while isCancelled?() != true {
            let now = HostTime.monotonicNanoseconds()
            if now >= due { return }
            usleep(UInt32(min((due - now) / 1000 + 1, 100_000)))
        }
    }
}
