import Glibc
import Images
import Synchronization

/// Says that a file is being decoded whole only to learn how long the disk in it is, once that has taken a second: gzip
/// does not record it. On a terminal the percentages follow.
final class MeasuringNotice: Sendable {
    private struct State {
        var start: UInt64?
        var lastShown: UInt64 = 0
        var isShown = false
    }

    private let name: String
    private let state = Mutex(State())
    private let isTerminal = isatty(STDERR_FILENO) == 1

    init(_ name: String) { self.name = name }

    private static func milliseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
    }

    func update(_ done: UInt64, of total: UInt64) {
        let now = Self.milliseconds()
        let text: String? = state.withLock { state in
            guard let start = state.start else {
                state.start = now
                return nil
            }
            guard now - start > 1000, !state.isShown || (isTerminal && now - state.lastShown > 500) else { return nil }
            let percent = total == 0 ? 100 : min(done, total) * 100 / total
            let isFirst = !state.isShown
            (state.isShown, state.lastShown) = (true, now)
            let note =
                "\(ImageOutput.program): '\(name)' does not record the length of its disk and is decoded once to learn it"
            if isTerminal { return "\r\u{1b}[K\(ImageOutput.printable(note)): \(percent)%" }
            return isFirst ? ImageOutput.printable(note) + "\n" : nil
        }
        if let text { ImageOutput.writeToStandardError(text) }
    }

    func finish() {
        if state.withLock({ $0.isShown }), isTerminal { ImageOutput.writeToStandardError("\n") }
    }
}
