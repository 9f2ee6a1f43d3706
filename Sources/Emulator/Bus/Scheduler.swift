/// The guest's clock and the ordered queue of everything that will happen at a moment of it.
///
/// Times are guest nanoseconds since power-on. The CPU loop calls `advance(to:)` between blocks; devices read
/// `nowNanoseconds`, which asks the clock source, so that a register read in the middle of a block is exact.
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

    private var clock: () -> UInt64
    /// Few timers exist (a dozen devices), so an unsorted list with a cached minimum beats a heap.
    private var timers: [Timer] = []
    /// The earliest deadline, `UInt64.max` when none is armed.
    private(set) var nextDeadline = UInt64.max

    /// - Parameter clock: guest nanoseconds now; monotonic.
    init(clock: @escaping () -> UInt64) { self.clock = clock }

    var nowNanoseconds: UInt64 { clock() }

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

    /// Fires every timer whose deadline has passed, earliest first. A timer that arms itself again for a
    /// moment already past fires again in the same call, at most `limit` times in all.
    func advance(to now: UInt64, limit: Int = 1000) {
        var fired = 0
        while nextDeadline <= now, fired < limit {
            guard let due = timers.min(by: { ($0.deadline ?? .max) < ($1.deadline ?? .max) }),
                let deadline = due.deadline
            else { return }
            due.deadline = nil
            recomputeNext()
            due.fire(deadline)
            fired += 1
        }
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

    func stateRestored() { recomputeNext() }
}
