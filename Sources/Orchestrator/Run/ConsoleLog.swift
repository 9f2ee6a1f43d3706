import Glibc
import VMProtocol

/// Follows a VM's `console.log` and looks for text in it.
public struct ConsoleFollower: Sendable {
    private let path: String
    /// Made when there is a log.
    private var reader: ConsoleLogReader?
    /// Where the next look begins.
    public private(set) var offset: UInt64
    private let needle: [UInt8]
    /// The last bytes seen: the text may straddle two looks.
    private var tail: [UInt8] = []

    /// - Parameters:
    ///   - needle: what to look for; empty follows without looking.
    ///   - offset: bytes of the log to skip.
    public init(path: String, from offset: UInt64, lookingFor needle: String) {
        self.path = path
        self.offset = offset
        self.needle = Array(needle.utf8)
    }

    /// Reads what is new.
    /// - Returns: the new bytes; empty when there are none.
    public mutating func advance() -> [UInt8] {
        if reader == nil {
            let opened = ConsoleLogReader(path)
            guard opened.isOpen else { return [] }
            reader = opened
        }
        guard let reader else { return [] }
        let (fresh, start) = reader.read(from: offset, limit: Self.pieceBytes)
        offset = start + UInt64(fresh.count)
        return fresh
    }

    private static let pieceBytes = 1 << 20

    /// Reads what is new and says whether the text has come. After a hit, `offset` is the byte behind the text.
    public mutating func find() -> Bool {
        guard !needle.isEmpty else { return true }
        while true {
            let fresh = advance()
            guard !fresh.isEmpty else { return false }
            let seen = tail + fresh
            if let end = ConsoleFollower.end(of: needle, in: seen) {
                offset -= UInt64(seen.count - end)
                tail = []
                return true
            }
            tail = Array(seen.suffix(needle.count - 1))
        }
    }

    /// Index behind the first occurrence of `needle`.
    static func end(of needle: [UInt8], in bytes: [UInt8]) -> Int? {
        guard let first = needle.first, bytes.count >= needle.count else { return nil }
        var start = 0
        while start <= bytes.count - needle.count {
            guard let hit = bytes[start...(bytes.count - needle.count)].firstIndex(of: first) else { return nil }
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
    public static func plain(_ bytes: [UInt8]) -> String {
        var kept: [UInt8] = []
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            if byte == 0x1B {
                index = skipEscape(bytes, index)
            } else if byte == 0x0A || byte == 0x09 || (byte >= 0x20 && byte != 0x7F) {
                kept.append(byte)
            }
        }
        return String(decoding: kept, as: UTF8.self)
    }

    /// The index behind an escape sequence (ECMA-48) whose ESC has been read.
    private static func skipEscape(_ bytes: [UInt8], _ start: Int) -> Int {
        guard start < bytes.count else { return start }
        var index = start + 1
        switch bytes[start] {
        case UInt8(ascii: "["):
            // Parameters and intermediates, then one final byte 40–7E.
            while index < bytes.count, !(0x40...0x7E).contains(bytes[index]) { index += 1 }
            return min(index + 1, bytes.count)
        case UInt8(ascii: "]"):
            // Up to BEL or ESC \.
            while index < bytes.count, bytes[index] != 0x07, bytes[index] != 0x1B { index += 1 }
            if index < bytes.count, bytes[index] == 0x1B { index += 1 }
            return min(index + 1, bytes.count)
        default: return index
        }
    }
}
