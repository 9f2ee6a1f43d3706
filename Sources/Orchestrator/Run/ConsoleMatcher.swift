import Glibc
import LabSpec

/// Looks for a pattern in what a guest says, as it comes.
struct ConsoleMatcher: Sendable {
    private enum Needle: Sendable {
        case texts([[UInt8]])
        case regex(CompiledRegex)
        /// Matches nothing: the expression is not one, which was reported when it was read.
        case nothing
    }

    private let needle: Needle
    private var text: VisibleText
    /// Bytes of the text that were looked at.
    private var scanned = 0
    /// So much of a text is kept that what straddles two looks is found.
    private let overlap: Int

    /// Lines are looked at in pieces of this length: neither a guest nor an expression makes one look long.
    private static let longestLine = 4096

    /// - Parameter offset: of the first byte that will come.
    init(_ pattern: ConsolePattern, from offset: UInt64) {
        text = VisibleText(from: offset)
        switch pattern {
        case .texts(let texts):
            // What was copied from a terminal may have its escape sequences; they are not seen either.
            let seen = texts.map { VisibleText.of($0.utf8) }.filter { !$0.isEmpty }
            needle = .texts(seen)
            overlap = (seen.map(\.count).max() ?? 1) - 1
        case .regex(let expression):
            needle = CompiledRegex(expression).map { .regex($0) } ?? .nothing
            overlap = Self.longestLine
        }
    }

    /// Whether it looks for anything.
    var isEmpty: Bool { if case .texts(let texts) = needle { texts.isEmpty } else { false } }

    /// Takes what the guest said next.
    /// - Returns: the offset behind the first match; nil when there is none yet.
    mutating func take(_ bytes: [UInt8]) -> UInt64? {
        text.take(bytes)
        let end: Int?
        switch needle {
        case .texts(let texts):
            let start = max(0, min(scanned, text.bytes.count) - overlap)
            end = texts.compactMap { ConsoleFollower.end(of: $0, in: text.bytes[start...]) }.min()
        case .regex(let regex): end = firstMatch(of: regex)
        case .nothing: end = nil
        }
        if let end { return text.ends[end - 1] }
        forget()
        return nil
    }

    private mutating func forget() {
        scanned = text.bytes.count
        guard text.bytes.count > 2 * (overlap + Self.longestLine) else { return }
        let dropped = text.bytes.count - overlap
        text.removeFirst(dropped)
        scanned -= dropped
    }

    /// The index behind the first match, looking again at the line that was not whole at the last look.
    private func firstMatch(of regex: CompiledRegex) -> Int? {
        let bytes = text.bytes
        var start = min(scanned, bytes.count)
        while start > 0, bytes[start - 1] != 0x0A, scanned - start < Self.longestLine { start -= 1 }
        while start < bytes.count {
            let limit = min(bytes.count, start + Self.longestLine)
            let end = bytes[start..<limit].firstIndex(of: 0x0A) ?? limit
            // An empty match says nothing: every line has one.
            if let hit = regex.end(in: bytes[start..<end]), hit > 0 { return start + hit }
            start = end < bytes.count && bytes[end] == 0x0A ? end + 1 : end
        }
        return nil
    }
}

/// A POSIX extended regular expression.
final class CompiledRegex: @unchecked Sendable {
    // SAFETY: written by init alone; regexec reads it, from any thread.
    private var compiled = regex_t()

    /// Nil for text that is no expression.
    init?(_ expression: String) {
        guard regcomp(&compiled, expression, REG_EXTENDED) == 0 else {
            // Nothing was allocated; deinit must have something to free.
            _ = regcomp(&compiled, "", REG_EXTENDED)
            return nil
        }
    }

    deinit { regfree(&compiled) }

    /// How many bytes of a line lie before the end of its first match; nil without one.
    func end(in line: ArraySlice<UInt8>) -> Int? {
        var match = regmatch_t()
        let text = line.map { CChar(bitPattern: $0) } + [0]
        guard regexec(&compiled, text, 1, &match, 0) == 0 else { return nil }
        return Int(match.rm_eo)
    }
}
