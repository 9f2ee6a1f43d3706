import Glibc

/// The one virtual clock that feeds the TSC and every timer: host time since power-on, less the time in which the guest
/// could not run.
///
/// When the process is starved (a busy host, a stopped debugger), more than `maxGap` passes between two readings; the rest of
/// the gap is taken out, so that guests do not see timers expire that they had no chance to serve.
final class GuestClock {
    /// Nanoseconds that may pass between two readings while the guest runs.
    static let maxGap: UInt64 = 50_000_000

    /// Host nanoseconds in one of the guest's. More than 1 where the CPU is that much slower than usual (`-accel verify`), so that
    /// timers do not outrun it.
    let slowness: UInt64

    private var origin: UInt64
    private var lastHost: UInt64
    /// Set while the CPU sleeps on purpose: then a long gap is real time.
    var isSleeping = false
    private var frozenAt: UInt64?

    init(slowness: UInt64 = 1) {
        self.slowness = slowness
        let now = Self.hostNanoseconds()
        origin = now
        lastHost = now
    }

    static func hostNanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Guest nanoseconds since power-on.
    var now: UInt64 {
        if let frozenAt { return frozenAt }
        let host = Self.hostNanoseconds()
        let gap = host &- lastHost
        if gap > Self.maxGap && !isSleeping { origin &+= gap - Self.maxGap }
        lastHost = host
        return (host &- origin) / slowness
    }

    /// Stops the clock while the machine is paused.
    func pause() { frozenAt = now }

    func resume() {
        guard let at = frozenAt else { return }
        frozenAt = nil
        lastHost = Self.hostNanoseconds()
        // May lie before the host's own beginning: a restored guest can be older than its host's last start.
        origin = lastHost &- at &* slowness
    }

    var isPaused: Bool { frozenAt != nil }

    /// Moves a paused clock, in either direction: a machine is restored.
    func set(_ nanoseconds: UInt64) { if isPaused { frozenAt = nanoseconds } }
}
