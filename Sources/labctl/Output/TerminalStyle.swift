import ArgumentParser
import Foundation

/// `--color`: when output is coloured.
enum ColorChoice: String, ExpressibleByArgument, CaseIterable {
    case auto, always, never

    /// Whether to colour what goes to `stream`. `auto` colours terminals, unless NO_COLOR is set (no-color.org) or the
    /// terminal is dumb.
    func isOn(for stream: Int32) -> Bool {
        switch self {
        case .always: true
        case .never: false
        case .auto:
            isatty(stream) == 1 && (environmentValue("NO_COLOR") ?? "").isEmpty && environmentValue("TERM") != "dumb"
        }
    }

    private func environmentValue(_ name: String) -> String? {
        // SAFETY: getenv's string is copied before anything can change the environment.
        getenv(name).map { String(cString: $0) }
    }
}

/// Standard error as a stream to print to.
struct StandardError: TextOutputStream {
    mutating func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
