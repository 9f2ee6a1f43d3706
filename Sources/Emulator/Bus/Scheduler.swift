/// The guest's clock and the ordered queue of everything that will happen at a moment of it.
///
/// Times are guest nanoseconds since power-on. The CPU loop calls `advance(to:)` between blocks; devices and the time-stamp
/// counter read `nowNanoseconds`, which asks the clock source, so that a register read in the middle of a block is exact.
final class Scheduler {
    /// A device's alarm. It is armed for one moment; periodic devices arm it again when it fires.
    final class Timer {
        /// Unique among a board's timers: what a saved state knows it by.
        let name: String
        fileprivate(set) var deadline: UInt64?
        fileprivate let fire: (UInt64) -> Void
        /// - Parameter fire: called on the CPU thread with the deadline that passed (not with the current time,
        ///   so that a periodic timer does not drift).
        fileprivate init(_ name: String, _ fire: @escaping (UInt64) -> Void) {
            self.name = name
            self.fire = fire
        }
    }

    /// A device did something that takes the host longer than some microseconds: the machine looks for messages and
    /// timers before the guest goes on. So no guest can fill a slice of time with costly operations.
    var longWork: () -> Void = {}

    private let clock: () -> UInt64
    /// The latest moment that anybody was told.
    private var latest: UInt64 = 0
    private var isFiring = false
    /// Few timers exist (a dozen devices), so an unsorted list with a cached minimum beats a heap.
    private var timers: [Timer] = []
    /// The earliest deadline, `UInt64.max` when none is armed.
    private(set) var nextDeadline = UInt64.max

    /// - Parameter clock: guest nanoseconds now; monotonic.
    init(clock: @escaping () -> UInt64) { self.clock = clock }

    /// Guest nanoseconds since power-on.
    ///
    /// Time stands still at a deadline until that has fired: so whoever counts ticks and whoever reads the time agree, however
    /// long the host kept the guest from running.
    var nowNanoseconds: UInt64 {
        if !isFiring { latest = max(latest, min(clock(), nextDeadline)) }
        return latest
    }

    /// - Parameter name: unique on the board.
    func makeTimer(_ name: String, _ fire: @escaping (UInt64) -> Void) -> Timer {
        let timer = Timer(name, fire)
        timers.append(timer)
        return timer
    }

    func arm(_ timer: Timer, at deadline: UInt64) {
        let wasNext = timer.deadline == nextDeadline
        timer.deadline = deadline
        if deadline < nextDeadline {
            nextDeadline = deadline
        } else if wasNext {
            recomputeNext()
        }
    }

    func cancel(_ timer: Timer) {
        guard let deadline = timer.deadline else { return }
        timer.deadline = nil
        if deadline == nextDeadline { recomputeNext() }
    }

    /// Fires timers whose deadline has passed, earliest first, each at its own time. A timer that arms itself again for a
    /// moment already past fires again in the same call, at most `limit` times in all.
    ///
    /// - Parameter pause: asked after each; true leaves the rest for the next call. So an interrupt is taken before the next one
    ///   comes, and late ticks do not merge.
    func advance(to now: UInt64, limit: Int = 1000, until pause: () -> Bool = { false }) {
        var fired = 0
        while nextDeadline <= now, fired < limit {
            guard let due = timers.min(by: { ($0.deadline ?? .max) < ($1.deadline ?? .max) }),
                let deadline = due.deadline
            else { return }
            due.deadline = nil
            recomputeNext()
            latest = max(latest, deadline)
            isFiring = true
            due.fire(deadline)
            isFiring = false
            fired += 1
            if pause() { return }
        }
    }

    /// A machine is restored: the clock may have gone back, and old deadlines hold nothing up.
    func clockMoved() {
        latest = 0
        nextDeadline = .max
    }

    private func recomputeNext() {
        var next = UInt64.max
        for timer in timers { if let deadline = timer.deadline, deadline < next { next = deadline } }
        nextDeadline = next
    }
}

/// Pending events are in nobody's device: every timer by its name, with its deadline.
extension Scheduler: BoardDevice {
    var stateID: String { "timers" }

    func reset() {}

    func exchange(_ c: StateCoder) { for timer in timers { c.field(timer.name, &timer.deadline) } }

    func stateRestored() {
        recomputeNext()
        latest = 0
    }
}
