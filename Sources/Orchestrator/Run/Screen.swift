import Glibc
import LabSpec
import VMProtocol

/// What can be read on a VM's screen.
public struct ScreenReading: Sendable, Equatable, Encodable {
    /// From the top, without trailing blanks.
    public var rows: [String]
    /// Whether the screen is in a graphics mode, where characters are recognised by the shapes of the VGA font.
    public var graphics: Bool

    /// Whether something of a pattern is there. Blanks at the end of a line are not on a screen, so they do not count.
    public func contains(_ pattern: ConsolePattern) -> Bool {
        switch pattern {
        case .texts(let texts):
            let screen = rows.joined(separator: "\n")
            return texts.contains { text in
                var wanted = text[...]
                while wanted.last?.isWhitespace == true { wanted.removeLast() }
                return wanted.isEmpty ? !screen.isEmpty : screen.contains(wanted)
            }
        case .regex:
            return rows.contains { row in
                [row, row + " "].contains { line in
                    var matcher = ConsoleMatcher(pattern, from: 0)
                    return matcher.take(Array(line.utf8)) != nil
                }
            }
        }
    }
}

/// The screen of a running VM.
public struct Screen: Sendable {
    private let vm: VMFolder

    public init(_ vm: VMFolder) { self.vm = vm }

    /// How often a screen is looked at while something is waited for.
    static let lookMilliseconds: Int32 = 200

    /// What can be read on it now.
    public func read() throws(OrchestratorError) -> ScreenReading {
        let answer = try QMPClient(vm).execute("x-query-screen-text")
        return ScreenReading(
            rows: (answer["rows"]?.arrayValue ?? []).map { $0.stringValue ?? "" },
            graphics: answer["graphics"] == .bool(true))
    }

    /// Waits until the screen shows something.
    /// - Throws: `.timeout` with what the screen shows, `.vm` when the VM ends first, `.interrupted`.
    public func wait(
        for pattern: ConsolePattern, milliseconds: UInt64, interruption: StopSignal
    ) throws(OrchestratorError) {
        let deadline = WallClock.monotonicNanoseconds + milliseconds * 1_000_000
        while true {
            let reading = try read()
            if reading.contains(pattern) { return }
            guard WallClock.monotonicNanoseconds < deadline else {
                throw OrchestratorError(
                    .timeout, "the screen of \(vm.name) did not show \(pattern) in time; \(Self.summary(reading))")
            }
            _ = interruption.wait(for: [], milliseconds: Self.lookMilliseconds)
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
    }

    /// The last lines of a screen, for messages.
    static func summary(_ reading: ScreenReading) -> String {
        let lines = reading.rows.filter { !$0.allSatisfy(\.isWhitespace) }.suffix(8)
        if lines.isEmpty { return reading.graphics ? "it shows a picture without text" : "it is blank" }
        return "it shows\n" + lines.map { "  | \($0)" }.joined(separator: "\n")
    }
}

/// What `ready` asks for, looked at again and again while a VM boots.
struct ReadinessProbe {
    private enum Way {
        case console(ConsoleFollower)
        case screen(ConsolePattern, next: UInt64)
    }

    private var way: Way
    private let vm: VMFolder

    /// - Parameter start: where the run's output begins in the console's log.
    init(_ ready: Readiness, _ vm: VMFolder, from start: UInt64) {
        self.vm = vm
        if let screen = ready.screen {
            way = .screen(screen, next: 0)
        } else {
            way = .console(ConsoleFollower(path: vm.file(.consoleLog), from: start, lookingFor: ready.console))
        }
    }

    /// Looks, where it is time to.
    /// - Returns: whether it is there.
    mutating func find() -> Bool {
        switch way {
        case .console(var follower):
            defer { way = .console(follower) }
            return follower.find()
        case .screen(let pattern, let next):
            let now = WallClock.monotonicNanoseconds
            guard now >= next else { return false }
            way = .screen(pattern, next: now + UInt64(Screen.lookMilliseconds) * 1_000_000)
            // A VM that cannot be asked yet shows nothing yet.
            return (try? Screen(vm).read())?.contains(pattern) ?? false
        }
    }

    /// What was looked for in vain, for messages.
    static func missed(_ ready: Readiness) -> String {
        if let screen = ready.screen { return "\(screen) did not appear on its screen within \(ready.timeout)" }
        return "\(ready.console) did not appear on its console within \(ready.timeout)"
    }
}
