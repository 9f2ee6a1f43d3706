import ArgumentParser
import Foundation
import Orchestrator

/// `--progress`: how work is shown on standard error.
enum ProgressMode: String, ExpressibleByArgument, CaseIterable {
    case auto, tty, plain, json, quiet

    /// What `auto` comes to on this terminal.
    var resolved: ProgressMode {
        guard self == .auto else { return self }
        return isatty(STDERR_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"] != "dumb" ? .tty : .plain
    }
}

/// Shows progress events until it is finished.
protocol ProgressDisplay: Sendable {
    func show(_ event: ProgressEvent)
    /// Leaves the terminal in order; nothing is shown after it.
    func finish()
}

extension ProgressMode {
    /// The display for this mode.
    func display(usesColor: Bool) -> any ProgressDisplay {
        switch resolved {
        case .tty: LiveProgress(usesColor: usesColor)
        case .json: LineProgress(isJSON: true)
        case .quiet: QuietProgress()
        case .plain, .auto: LineProgress(isJSON: false)
        }
    }
}

/// Warnings only.
struct QuietProgress: ProgressDisplay {
    func show(_ event: ProgressEvent) {
        if case .warning(let text) = event { StandardError.line("warning: \(text)") }
    }

    func finish() {}
}

extension StandardError {
    /// Writes a line at once.
    static func line(_ text: String) {
        var stream = StandardError()
        stream.write(text + "\n")
    }

    /// Writes bytes as they are.
    static func bytes(_ bytes: [UInt8]) { FileHandle.standardError.write(Data(bytes)) }
}
