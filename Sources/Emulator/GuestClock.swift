import Glibc

/// The one virtual clock that feeds the TSC and every timer.
///
/// It is read at least once in a slice of instructions, which takes microseconds. When more than `longestStep` passes between
/// two readings, the host ran others (or the disk kept the guest waiting): with `ClockSource.guest` the rest becomes debt, so that
/// guests do not see timeouts expire that they had no chance to meet. Debt is paid back while the guest runs or sleeps, by
/// `1 / catchUp` of the time that passes.
final class GuestClock {
    /// Host nanoseconds that may pass between two readings while the guest runs.
    static let longestStep: UInt64 = 2_000_000
    static let catchUp: UInt64 = 4

    /// Host nanoseconds in one of the guest's. More than 1 where the CPU is that much slower than usual (`-accel verify`), so that
    /// timers do not outrun it.
    let slowness: UInt64
    private let source: ClockSource
    private let host: () -> UInt64

    private var lastHost: UInt64
    /// Host nanoseconds that the guest has been given, and that it is owed.
    private var elapsed: UInt64 = 0
    private(set) var debt: UInt64 = 0
    /// Set while the CPU sleeps on purpose: then a long gap is real time.
    var isSleeping = false
    private var isFrozen = false

    init(
        follows source: ClockSource = .guest, slowness: UInt64 = 1,
        host: @escaping () -> UInt64 = GuestClock.hostNanoseconds
    ) {
        self.source = source
        self.slowness = slowness
        self.host = host
        lastHost = host()
    }

    static func hostNanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Guest nanoseconds since power-on.
    var now: UInt64 {
        if !isFrozen {
            let read = host()
            pass(read &- lastHost)
            lastHost = read
        }
        return elapsed / slowness
    }

    private func pass(_ gap: UInt64) {
        let step = isSleeping || source == .host ? gap : min(gap, Self.longestStep * slowness)
        debt += gap - step
        let repaid = min(debt, step / Self.catchUp)
        debt -= repaid
        elapsed += step + repaid
    }

    /// How long to sleep until `guest` nanoseconds have passed: less than that while debt is paid back.
    func hostNanoseconds(for guest: UInt64) -> UInt64 {
        let whole = guest.multipliedReportingOverflow(by: slowness)
        guard !whole.overflow else { return .max }
        let shortest = whole.partialValue / (Self.catchUp + 1) * Self.catchUp
        return max(shortest, whole.partialValue - min(debt, whole.partialValue))
    }

    /// Stops the clock while the machine is paused.
    func pause() {
        _ = now
        isFrozen = true
    }

    func resume() {
        isFrozen = false
        lastHost = host()
    }

    var isPaused: Bool { isFrozen }

    /// Moves a paused clock, in either direction: a machine is restored. What was owed is not owed any more.
    func set(_ nanoseconds: UInt64) {
        guard isFrozen else { return }
        elapsed = nanoseconds &* slowness
        debt = 0
    }
}
