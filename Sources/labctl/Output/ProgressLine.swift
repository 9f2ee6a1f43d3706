import Glibc
import Synchronization

/// One line of progress: a bar with rate and time left on a terminal, qemu-img's percentages elsewhere. Shown or not, how
/// far the work is goes to standard error after a SIGUSR1, as with qemu-img.
final class ProgressLine: Sendable {
    private struct State {
        var lastShown: UInt64 = 0
        var lastPercent = -100.0
    }

    private let state = Mutex(State())
    private let start = ProgressLine.nanoseconds()
    private let isShown: Bool
    /// Set by the signal handler, which may do no more.
    private static let isAsked = Atomic<Bool>(false)
    private let isTerminal = isatty(1) == 1 && !QEMUImgLink.isActive

    private static func nanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    init(isShown: Bool) {
        self.isShown = isShown
        var unblocked = sigset_t()
        sigemptyset(&unblocked)
        sigaddset(&unblocked, SIGUSR1)
        pthread_sigmask(SIG_UNBLOCK, &unblocked, nil)
        signal(SIGUSR1) { _ in ProgressLine.isAsked.store(true, ordering: .relaxed) }
    }

    /// Shows that the work begins.
    func begin() { update(0, of: 1) }

    /// Shows how much of the work is done, at most ten times a second.
    func update(_ done: UInt64, of total: UInt64) {
        let now = Self.nanoseconds()
        let percent = total == 0 ? 100 : Double(done) * 100 / Double(total)
        if Self.isAsked.load(ordering: .relaxed), Self.isAsked.exchange(false, ordering: .relaxed) {
            ImageOutput.toStandardError("    (\(Self.decimal(percent, 2))/100%)\n")
        }
        guard isShown else { return }
        let line: String? = state.withLock { state in
            guard
                percent >= 100 || percent - state.lastPercent >= 2
                    || (isTerminal && now - state.lastShown > 100_000_000)
            else { return nil }
            if percent == state.lastPercent, !isTerminal { return nil }
            state.lastShown = now
            state.lastPercent = percent
            return isTerminal
                ? bar(percent, done, total, seconds: Double(now - start) / 1e9)
                : "    (\(Self.decimal(percent, 2))/100%)\r"
        }
        if let line {
            print(line, terminator: "")
            fflush(nil)
        }
    }

    func finish() {
        guard isShown else { return }
        print("")
        fflush(nil)
    }

    private func bar(_ percent: Double, _ done: UInt64, _ total: UInt64, seconds: Double) -> String {
        let width = 30
        let filled = Int(percent / 100 * Double(width))
        let rate = seconds > 0 ? Double(done) / seconds : 0
        let left = rate > 0 ? Int(Double(total - min(done, total)) / rate) : 0
        return "\r\u{1b}[K[" + String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
            + "] \(Self.decimal(percent, 1))%  \(Self.decimal(rate / 1_048_576, 0)) MiB/s  \(left / 60)m\(left % 60)s left"
    }

    private static func decimal(_ value: Double, _ places: Int) -> String {
        var scale = 1.0
        for _ in 0..<places { scale *= 10 }
        let scaled = UInt64((value * scale).rounded())
        if places == 0 { return String(scaled) }
        let rest = String(scaled % UInt64(scale))
        return "\(scaled / UInt64(scale))." + String(repeating: "0", count: places - rest.count) + rest
    }
}
