import Glibc
import LabSpec
import VMProtocol

/// Follows a VM's `console.log` and looks for something in it.
public struct ConsoleFollower: Sendable {
    private let path: String
    /// Made when there is a log.
    private var reader: ConsoleLogReader?
    /// Where the next look begins.
    public private(set) var offset: UInt64
    private let pattern: ConsolePattern
    private var matcher: ConsoleMatcher

    private static let pieceBytes = 1 << 20

    /// - Parameters:
    ///   - pattern: what to look for; the empty text follows without looking.
    ///   - offset: bytes of the log to skip.
    public init(path: String, from offset: UInt64, lookingFor pattern: ConsolePattern) {
        self.path = path
        self.offset = offset
        self.pattern = pattern
        matcher = ConsoleMatcher(pattern, from: offset)
    }

    /// Reads what is new.
    /// - Returns: the new bytes; empty when there are none.
    public mutating func advance() -> [UInt8] { next().bytes }

    /// What is new, and whether bytes before it were lost.
    private mutating func next() -> (bytes: [UInt8], hasGap: Bool) {
        if reader == nil {
            let opened = ConsoleLogReader(path)
            guard opened.isOpen else { return ([], false) }
            reader = opened
        }
        guard let reader else { return ([], false) }
        let (fresh, start) = reader.read(from: offset, limit: Self.pieceBytes)
        let hasGap = !fresh.isEmpty && start != offset
        offset = start + UInt64(fresh.count)
        return (fresh, hasGap)
    }

    /// Reads what is new and says whether the pattern has come. After a hit, `offset` is the byte behind it.
    public mutating func find() -> Bool {
        guard !matcher.isEmpty else { return true }
        while true {
            let (fresh, hasGap) = next()
            guard !fresh.isEmpty else { return false }
            if hasGap { matcher = ConsoleMatcher(pattern, from: offset - UInt64(fresh.count)) }
            if let end = matcher.take(fresh) {
                offset = end
                matcher = ConsoleMatcher(pattern, from: end)
                return true
            }
        }
    }

    /// Index behind the first occurrence of `needle`.
    static func end(of needle: [UInt8], in bytes: ArraySlice<UInt8>) -> Int? {
        guard let first = needle.first, bytes.count >= needle.count else { return nil }
        var start = bytes.startIndex
        while start <= bytes.endIndex - needle.count {
            guard let hit = bytes[start...(bytes.endIndex - needle.count)].firstIndex(of: first) else { return nil }
            if bytes[hit..<(hit + needle.count)].elementsEqual(needle) { return hit + needle.count }
            start = hit + 1
        }
        return nil
    }
}

/// Reading a console log as people want it.
public enum ConsoleLog {
    /// Bytes that the guest has said until now, over all runs: the offset of the next one.
    public static func length(_ path: String) -> UInt64 { ConsoleLogReader(path).end }

    /// The last lines of a run, without control characters, for error messages.
    public static func lastLines(_ path: String, from start: UInt64, count: Int = 12) -> [String] {
        let length = length(path)
        let offset = max(start, length > 16384 ? length - 16384 : 0)
        var follower = ConsoleFollower(path: path, from: offset, lookingFor: "")
        let text = plain(follower.advance())
        return Array(
            text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init)
                .filter { !$0.allSatisfy(\.isWhitespace) }.suffix(count))
    }

    /// Text without terminal escapes and control characters other than newline and tab.
    public static func plain(_ bytes: [UInt8]) -> String { String(decoding: VisibleText.of(bytes), as: UTF8.self) }
}
