import Glibc

/// Times of the host, as image headers want them.
enum HostTime {
    /// Seconds since 1970 at which a file was last changed, nil when it cannot be told.
    static func modified(_ path: String) -> UInt64? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return UInt64(status.st_mtim.tv_sec)
    }

    /// Nanoseconds of a clock that only moves forward.
    static func monotonicNanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Seconds since 1970.
    static func now() -> UInt64 { UInt64(time(nil)) }
}
