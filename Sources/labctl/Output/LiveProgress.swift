import Dispatch
import Foundation
import Orchestrator
import Synchronization
import VMProtocol

/// A block of lines on a terminal that is redrawn in place: a line for each image and VM, with what it does and for how
/// long. When there are more lines than fit, those that are done make room.
final class LiveProgress: ProgressDisplay {
    private struct Line {
        var name: String
        var isImage: Bool
        var state: String
        var detail: String = ""
        var fraction: Double?
        var startedAt: UInt64
        var endedAt: UInt64?
        var style: StyledText.Style
    }

    private struct State {
        var lines: [Line] = []
        var drawn = 0
        var frame = 0
        var isFinished = false
    }

    private let state = Mutex(State())
    private let usesColor: Bool
    // SAFETY: set up in init and only cancelled after that; Dispatch allows that from any thread.
    nonisolated(unsafe) private let timer: any DispatchSourceTimer

    private static let frames = Array("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
    private static let barCells = 24

    init(usesColor: Bool) {
        self.usesColor = usesColor
        timer = DispatchSource.makeTimerSource(queue: .global())
        timer.schedule(deadline: .now() + .milliseconds(100), repeating: .milliseconds(100))
        timer.setEventHandler { [weak self] in self?.tick() }
        timer.resume()
    }

    func show(_ event: ProgressEvent) {
        state.withLock { state in
            switch event {
            case .warning(let text):
                erase(&state)
                StandardError.line(StyledText("warning: ", .yellow).rendered(usesColor: usesColor) + text)
            case .image(let name, let progress): update(&state, name, progress)
            case .vm(let name, let progress): update(&state, name, progress)
            }
            draw(&state)
        }
    }

    func finish() {
        timer.cancel()
        state.withLock { state in
            draw(&state, shortened: false)
            state.isFinished = true
        }
    }

    private func tick() {
        state.withLock { state in
            guard !state.isFinished, state.lines.contains(where: { $0.endedAt == nil }) else { return }
            state.frame += 1
            draw(&state)
        }
    }

    // MARK: What the lines say

    private func update(_ state: inout State, _ name: String, _ progress: ImageProgress) {
        switch progress {
        case .verifying(let done, let total):
            set(&state, name, isImage: true, "verifying", detail: rate(done, total), style: .cyan)
            setFraction(&state, name, done, total)
        case .making(let done, let total):
            set(&state, name, isImage: true, "making", detail: rate(done, total), style: .cyan)
            setFraction(&state, name, done, total)
        case .downloading(let done, let total):
            let shown = total == 0 && done > 0 ? Humanized.bytes(done) : rate(done, total)
            set(&state, name, isImage: true, "downloading", detail: shown, style: .cyan)
            setFraction(&state, name, done, total)
        case .building(let step):
            set(&state, name, isImage: true, "building", detail: step, style: .cyan)
        case .ready: set(&state, name, isImage: true, "ready", isEnd: true, style: .green)
        case .failed(let reason): set(&state, name, isImage: true, "failed", detail: reason, isEnd: true, style: .red)
        }
    }

    private func update(_ state: inout State, _ name: String, _ progress: VMProgress) {
        let (word, detail) = ProgressWords.state(of: progress)
        let style: StyledText.Style
        var isEnd = true
        switch progress {
        case .waiting: (style, isEnd) = (.dim, false)
        case .starting, .booting, .stopping, .provisioning: (style, isEnd) = (.cyan, false)
        case .ready, .reset, .running: style = .green
        case .unchanged, .removed, .stopped: style = .dim
        case .failed: style = .red
        case .skipped: style = .yellow
        }
        set(&state, name, isImage: false, word, detail: detail ?? "", isEnd: isEnd, style: style)
        // The time that counts is the guest's own, not that of waiting for others.
        if case .ready(let seconds) = progress,
            let index = state.lines.firstIndex(where: { $0.name == name && !$0.isImage }),
            let end = state.lines[index].endedAt
        {
            state.lines[index].startedAt = end - min(end, UInt64(seconds * 1e9))
        }
    }

    private func set(
        _ state: inout State, _ name: String, isImage: Bool, _ word: String, detail: String = "", isEnd: Bool = false,
        style: StyledText.Style
    ) {
        let now = WallClock.monotonicNanoseconds
        let index: Int
        if let known = state.lines.firstIndex(where: { $0.name == name && $0.isImage == isImage }) {
            index = known
        } else {
            index = state.lines.count
            state.lines.append(Line(name: name, isImage: isImage, state: word, startedAt: now, style: style))
        }
        // A VM that is stopped and started again begins a new time.
        if state.lines[index].endedAt != nil { state.lines[index].startedAt = now }
        state.lines[index].state = word
        state.lines[index].detail = detail
        state.lines[index].style = style
        state.lines[index].endedAt = isEnd ? now : nil
        state.lines[index].fraction = nil
    }

    private func setFraction(_ state: inout State, _ name: String, _ done: UInt64, _ total: UInt64) {
        guard total > 0, let index = state.lines.firstIndex(where: { $0.name == name && $0.isImage }) else { return }
        state.lines[index].fraction = min(1, Double(done) / Double(total))
    }

    private func rate(_ done: UInt64, _ total: UInt64) -> String {
        total == 0 ? "" : "\(Humanized.bytes(done)) of \(Humanized.bytes(total))"
    }

    // MARK: Drawing

    private func erase(_ state: inout State) {
        guard state.drawn > 0 else { return }
        var stream = StandardError()
        stream.write("\u{1B}[\(state.drawn)A\u{1B}[J")
        state.drawn = 0
    }

    private func draw(_ state: inout State, shortened: Bool = true) {
        guard !state.isFinished else { return }
        var size = winsize()
        let hasSize = ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_row > 0
        let rows = hasSize ? Int(size.ws_row) : 24, columns = hasSize ? Int(size.ws_col) : 80
        var lines = state.lines
        var hidden = 0
        if shortened, lines.count > rows - 2 {
            // Those at work first, in order; the rest is a number.
            let atWork = lines.filter { $0.endedAt == nil }.prefix(rows - 3)
            hidden = lines.count - atWork.count
            lines = Array(atWork)
        }
        let width = lines.map(\.name.count).max() ?? 0
        var text = lines.map { line($0, width: width, columns: columns, frame: state.frame) + "\n" }.joined()
        if hidden > 0 { text += "  and \(hidden) more\n" }
        var stream = StandardError()
        let home = state.drawn > 0 ? "\u{1B}[\(state.drawn)A\u{1B}[J" : ""
        stream.write(home + text)
        state.drawn = lines.count + (hidden > 0 ? 1 : 0)
    }

    private func line(_ line: Line, width: Int, columns: Int, frame: Int) -> String {
        let mark: String
        switch line.style {
        case .green: mark = "✔"
        case .red: mark = "✘"
        case .yellow: mark = "!"
        case .dim where line.endedAt != nil: mark = "•"
        case .plain, .bold, .dim, .cyan, .blue, .magenta: mark = String(Self.frames[frame % Self.frames.count])
        }
        let seconds = Double((line.endedAt ?? WallClock.monotonicNanoseconds) - line.startedAt) / 1e9
        let name = line.name + String(repeating: " ", count: max(0, width - line.name.count))
        var rest = ""
        if let fraction = line.fraction { rest += "  " + bar(fraction) + " \(Int(fraction * 100))%" }
        if seconds >= 0.1 { rest += "  \(Humanized.seconds(seconds))" }
        if !line.detail.isEmpty { rest += "  \(line.detail)" }
        // Never wider than the terminal: a wrapped line would not be erased.
        let room = columns - 1 - 2 - name.count - 2 - line.state.count
        let shown = String(rest.replacing("\n", with: " ").prefix(max(0, room)))
        return StyledText(mark, line.style).rendered(usesColor: usesColor) + " " + name + "  "
            + StyledText(line.state, line.style).rendered(usesColor: usesColor)
            + StyledText(shown, .dim).rendered(usesColor: usesColor)
    }

    private func bar(_ fraction: Double) -> String {
        let full = Int(fraction * Double(Self.barCells))
        return String(repeating: "█", count: full) + String(repeating: "░", count: Self.barCells - full)
    }
}
