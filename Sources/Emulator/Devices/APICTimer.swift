/// The local APIC's timer (Intel SDM volume 3, 11.5.4), counting a 1 GHz bus clock through a divider.
///
/// The count is computed from guest time, so that reading it is exact and cheap.
final class APICTimer {
    /// LVT timer bits 18–17.
    enum Mode: UInt32 { case oneShot = 0, periodic, tscDeadline }

    private let scheduler: Scheduler
    private let tscHertz: UInt64
    /// The time-stamp counter as the guest reads it; guests may set it, so that it is not always the clock.
    var tscNow: () -> UInt64
    private var alarm: Scheduler.Timer?
    private var startedAt: UInt64 = 0
    private var deadlineTicks: UInt64 = 0
    /// Called at each expiry; masking is the APIC's business.
    var expired: () -> Void = {}

    /// - Parameter name: unique among the board's timers.
    init(_ name: String, scheduler: Scheduler, tscHertz: UInt64, tscNow: @escaping () -> UInt64) {
        self.scheduler = scheduler
        self.tscHertz = tscHertz
        self.tscNow = tscNow
        alarm = scheduler.makeTimer(name) { [weak self] deadline in self?.fire(deadline) }
    }

    func reset() {
        mode = .oneShot
        divider = 0
        initialCount = 0
        deadlineTicks = 0
    }

    var mode = Mode.oneShot {
        didSet {
            guard mode != oldValue else { return }
            // Moving into or out of TSC-deadline mode disarms; between the others the count goes on from where it is, and one
            // that is at 0 stays there.
            if mode == .tscDeadline || oldValue == .tscDeadline {
                deadlineTicks = 0
                storedCount = 0
            } else if storedCount != 0 {
                let period = UInt64(storedCount) << shift, passed = max(scheduler.nowNanoseconds, startedAt) - startedAt
                if oldValue == .periodic { startedAt += passed / period * period } else { isExpired = passed >= period }
            }
            arm()
        }
    }

    /// Divide configuration: bits 3, 1, 0 are log2 of the divisor minus one; 7 divides by 1.
    var divider: UInt32 = 0 {
        didSet {
            guard divider != oldValue else { return }
            startedAt = scheduler.nowNanoseconds
            arm()
        }
    }
    private var shift: UInt64 { UInt64(((divider & 3 | divider >> 1 & 4) + 1) & 7) }

    private var storedCount: UInt32 = 0
    /// A count that came to 0 before the timer became periodic: nothing starts it but a new one.
    private var isExpired = false
    /// Writing starts the timer, zero stops it; ignored in TSC-deadline mode.
    var initialCount: UInt32 {
        get { storedCount }
        set {
            guard mode != .tscDeadline else { return }
            storedCount = newValue
            isExpired = false
            startedAt = scheduler.nowNanoseconds
            arm()
        }
    }

    var currentCount: UInt32 {
        guard mode != .tscDeadline, storedCount != 0, !isExpired else { return 0 }
        let passed = (scheduler.nowNanoseconds - startedAt) >> shift
        let initial = UInt64(storedCount)
        if mode == .periodic { return UInt32(initial - passed % initial) }
        return passed >= initial ? 0 : UInt32(initial - passed)
    }

    var tscDeadline: UInt64 {
        get { mode == .tscDeadline ? deadlineTicks : 0 }
        set {
            guard mode == .tscDeadline else { return }
            // One that is past already is due now, not at the end of a slice.
            let isPast = newValue != 0 && newValue <= tscNow()
            deadlineTicks = isPast ? 0 : newValue
            arm()
            if isPast { expired() }
        }
    }

    private func arm() {
        guard let alarm else { return }
        if let deadline = nextDeadline(after: scheduler.nowNanoseconds) {
            scheduler.arm(alarm, at: deadline)
        } else {
            scheduler.cancel(alarm)
        }
    }

    private func nextDeadline(after now: UInt64) -> UInt64? {
        switch mode {
        case .tscDeadline:
            guard deadlineTicks != 0 else { return nil }
            let tsc = tscNow()
            guard deadlineTicks > tsc else { return now }
            // A deadline in some hundred years is none; wrapped round, it would be due at once, again and again.
            let (deadline, isNever) = now.addingReportingOverflow(
                ClockRates.nanoseconds(at: deadlineTicks - tsc, hertz: tscHertz))
            return isNever ? nil : deadline
        case .oneShot:
            let deadline = startedAt + UInt64(storedCount) << shift
            return storedCount != 0 && deadline > now ? deadline : nil
        case .periodic:
            guard storedCount != 0, !isExpired else { return nil }
            let period = UInt64(storedCount) << shift
            return startedAt + ((now - startedAt) / period + 1) * period
        }
    }

    private func fire(_ deadline: UInt64) {
        switch mode {
        case .tscDeadline:
            guard deadlineTicks != 0 else { return }
            // Rounding may wake us a tick early.
            if tscNow() < deadlineTicks { return arm() }
            deadlineTicks = 0
        case .oneShot: break
        case .periodic:
            // The clock stands at the deadline, so that periods come one by one.
            if let alarm, let next = nextDeadline(after: max(deadline, scheduler.nowNanoseconds)) {
                scheduler.arm(alarm, at: next)
            }
        }
        expired()
    }
}

extension APICTimer {
    func exchange(_ c: StateCoder) {
        c.past("startedAt", &startedAt)
        c.field("deadlineTicks", &deadlineTicks)
        c.field("storedCount", &storedCount)
        // Their setters count from now.
        c.field("isExpired", &isExpired)
        let (count, deadline, started, expired) = (storedCount, deadlineTicks, startedAt, isExpired)
        c.field("mode", mode) { mode = $0 }
        c.field("divider", divider) { divider = $0 & 0x0B }
        (storedCount, deadlineTicks, startedAt, isExpired) = (count, deadline, started, expired)
    }
}
