/// Guest time counted in instructions (QEMU's `-icount`): a guest with the same input does the same at the same time in every run, whatever
/// else the host does. All processors count, so that each of several is as fast as its share of the turns.
///
/// A block is paid for when it is entered, so that time within one stands still. Where that is given back, time waits until it is used up.
final class InstructionClock {
    /// An instruction takes 2^shift nanoseconds.
    private let shift: UInt64
    /// Whether a guest that waits for its next timer waits as long on the host; otherwise it is there at once.
    let sleeps: Bool
    private var passed: UInt64 = 0
    private var latest: UInt64 = 0
    private var running: CPU?
    private var budget = 0

    init(_ config: PCConfig.InstructionClock) {
        shift = UInt64(config.shift)
        sleeps = config.sleeps
    }

    /// Nanoseconds.
    var now: UInt64 {
        latest = max(latest, passed + used)
        return latest
    }

    private var used: UInt64 {
        guard let running else { return 0 }
        return UInt64(max(budget - running.state.pointee.budget - running.forfeited, 0)) << shift
    }

    /// A processor begins to run that many instructions, or stops.
    func begin(_ cpu: CPU, budget: Int) {
        running = cpu
        self.budget = budget
    }

    func end() {
        passed += used
        running = nil
    }

    /// All sleep.
    func skip(_ nanoseconds: UInt64) { passed = max(passed, latest) + nanoseconds }

    /// Instructions until a moment that lies ahead by some nanoseconds, at most `limit`.
    func budget(for nanoseconds: UInt64, limit: Int) -> Int { Int(min(nanoseconds >> shift + 1, UInt64(limit))) }
}
