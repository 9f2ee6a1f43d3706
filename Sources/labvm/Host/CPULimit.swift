import Glibc
import VMProtocol

/// Keeps a VM's process to a share of one processor.
///
/// What the process used is compared with what it may use; what is too much, the guest's thread sleeps off between two
/// instructions. That needs no rights, where a control group would need its delegation; and to the guest it looks like a busy
/// host, for which its clock has its rules (`clock`).
final class CPULimit {
    private let share: Double
    private let machine: any GuestMachine
    private let loop: IOLoop
    /// CPU nanoseconds that may be used; what was not used is worth something only for a while.
    private var credit: Double = 0
    private var usedBefore: UInt64 = 0
    private var lookedAt: UInt64 = 0

    /// How often it is looked at while the guest works, and while it does not.
    private static let busyMilliseconds: UInt64 = 20
    private static let idleMilliseconds: UInt64 = 200
    /// A guest that was idle may work so long at full speed.
    private static let mostCredit: Double = 50e6
    /// One sleep at most, so that the machine answers its monitor.
    private static let mostSleep: Double = 200e6

    /// - Parameter percent: of one processor.
    init(percent: Int, machine: any GuestMachine, loop: IOLoop) {
        share = Double(percent) / 100
        self.machine = machine
        self.loop = loop
    }

    /// Begins, on the loop's thread.
    func start() {
        (usedBefore, lookedAt) = (Self.used(), WallClock.monotonicNanoseconds)
        look(after: Self.busyMilliseconds)
    }

    private func look(after milliseconds: UInt64) {
        loop.after(milliseconds: milliseconds) { [weak self] in self?.look() }
    }

    private func look() {
        let (used, now) = (Self.used(), WallClock.monotonicNanoseconds)
        let worked = Double(used - usedBefore)
        credit = min(credit + Double(now - lookedAt) * share - worked, Self.mostCredit)
        (usedBefore, lookedAt) = (used, now)
        if credit < 0 {
            let nanoseconds = min(-credit / share, Self.mostSleep)
            machine.rest(nanoseconds: UInt64(nanoseconds))
        }
        look(after: worked > 1e6 ? Self.busyMilliseconds : Self.idleMilliseconds)
    }

    private static func used() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
