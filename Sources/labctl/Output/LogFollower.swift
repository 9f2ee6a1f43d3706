import Foundation
import Orchestrator
import VMProtocol

/// Prints logs of several VMs together: whole lines, each with its VM's name before it.
struct LogFollower {
    private struct Source {
        var name: String
        var mark: String
        var follower: ConsoleFollower
        /// The beginning of a line that is not whole yet, and since when it waits.
        var rest: [UInt8] = []
        var waitsSince: UInt64 = 0
    }

    private var sources: [Source]
    /// A prompt has no end of line: what waits so long is shown as it is.
    private static let patienceNanoseconds: UInt64 = 2_000_000_000
    /// A line of a guest that never ends one.
    private static let longestLine = 4096
    private static let styles: [StyledText.Style] = [.cyan, .green, .yellow, .magenta, .blue, .red]

    /// - Parameter logs: names, paths and where to begin in them.
    init(_ logs: [(name: String, path: String, start: UInt64)], usesColor: Bool) {
        let width = logs.map(\.name.count).max() ?? 0
        sources = logs.enumerated().map { index, log in
            let padded = log.name + String(repeating: " ", count: width - log.name.count) + " | "
            let style = Self.styles[index % Self.styles.count]
            return Source(
                name: log.name, mark: StyledText(padded, style).rendered(usesColor: usesColor),
                follower: ConsoleFollower(path: log.path, from: log.start, lookingFor: ""))
        }
    }

    /// Prints what is new.
    /// - Parameter isLast: whether beginnings of lines are shown at once, as nothing follows.
    /// - Returns: whether there was anything.
    mutating func printNext(isLast: Bool = false) -> Bool {
        var text: [UInt8] = []
        for index in sources.indices {
            let fresh = sources[index].follower.advance()
            if !fresh.isEmpty {
                sources[index].rest += fresh
                sources[index].waitsSince = WallClock.monotonicNanoseconds
            }
            text += takeLines(index, all: isLast && fresh.isEmpty)
        }
        guard !text.isEmpty else { return false }
        StandardOutput.write(text)
        StandardOutput.flush()
        return true
    }

    private mutating func takeLines(_ index: Int, all: Bool) -> [UInt8] {
        let rest = sources[index].rest
        guard !rest.isEmpty else { return [] }
        let isOld =
            all || rest.count > Self.longestLine
            || WallClock.monotonicNanoseconds > sources[index].waitsSince + Self.patienceNanoseconds
        let end = isOld ? rest.count : (rest.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0)
        guard end > 0 else { return [] }
        sources[index].rest = Array(rest[end...])
        // Escapes would colour and move over the lines of others.
        let lines = ConsoleLog.plain(Array(rest[..<end])).split(separator: "\n", omittingEmptySubsequences: false)
        let shown = lines.last?.isEmpty == true ? lines.dropLast() : lines[...]
        return shown.flatMap { Array((sources[index].mark + $0 + "\n").utf8) }
    }
}

/// Where in a log to begin.
enum LogStart {
    /// How far back lines are looked for.
    private static let tailBytes: UInt64 = 1 << 20

    /// The offset of the last lines.
    static func tail(_ count: Int, of path: String) -> UInt64 {
        let end = ConsoleLog.length(path)
        let start = end > tailBytes ? end - tailBytes : 0
        var follower = ConsoleFollower(path: path, from: start, lookingFor: "")
        var bytes: [UInt8] = []
        while true {
            let piece = follower.advance()
            if piece.isEmpty { break }
            bytes += piece
        }
        let first = follower.offset - UInt64(bytes.count)
        var left = count
        // A line that is whole ends with its newline; the last one may not be whole.
        for index in bytes.indices.dropLast().reversed() where bytes[index] == UInt8(ascii: "\n") {
            left -= 1
            if left == 0 { return first + UInt64(index) + 1 }
        }
        return count == 0 ? follower.offset : first
    }
}
