import Glibc

/// When the bytes of a console were said, to the second: `console.times` beside `console.log`.
///
/// | offset | size | content |
/// | --- | --- | --- |
/// | 0 | 8 | how many entries were ever written |
/// | 16 + 16 n | 8 | milliseconds since 1970 |
/// | 24 + 16 n | 8 | offset of the first byte that was said then, among all that the guest has said |
///
/// Little-endian. Entry number e lies at n = e mod `capacity`: the newest take the oldest ones' places, so the file has a
/// bound and keeps its inode. At most one entry a second is written.
public struct ConsoleTimes: Sendable {
    /// Four and a half hours of a guest that says something every second; days of one that is used.
    static let capacity: UInt64 = 16384
    private static let headerBytes = 16
    private static let entryBytes = 16
    private static let intervalNanoseconds: UInt64 = 1_000_000_000

    private let file: Descriptor
    private var count: UInt64
    private var nextAt: UInt64 = 0

    /// Opens the file that belongs to a log, to write it.
    public init(log: String) throws(HostError) {
        file = try Descriptor.open(Self.path(of: log), O_RDWR | O_CREAT)
        count = Self.number(in: file, at: 0) ?? 0
    }

    /// Notes that bytes from an offset on are said now. A host that cannot keep it loses no more than that.
    public mutating func note(offset: UInt64) {
        let now = WallClock.monotonicNanoseconds
        guard now >= nextAt else { return }
        nextAt = now + Self.intervalNanoseconds
        let place = off_t(Self.headerBytes) + off_t(count % Self.capacity) * off_t(Self.entryBytes)
        let milliseconds = UInt64(max(0, WallClock.now * 1000))
        guard Self.write([milliseconds, offset], to: file, at: place) else { return }
        count += 1
        _ = Self.write([count], to: file, at: 0)
    }

    /// Where the bytes begin that were said since a time (seconds since 1970).
    /// - Returns: nil when that is not known: all that is kept may be as young.
    public static func offset(since time: Double, log: String) -> UInt64? {
        guard let file = try? Descriptor.open(path(of: log), O_RDONLY), let count = number(in: file, at: 0) else {
            return nil
        }
        let kept = Int(min(count, capacity))
        guard kept > 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: kept * entryBytes)
        guard pread(file.raw, &bytes, bytes.count, off_t(headerBytes)) == bytes.count else { return nil }
        func entry(_ number: UInt64) -> (seconds: Double, offset: UInt64) {
            let place = Int(number % capacity) * entryBytes
            func value(_ at: Int) -> UInt64 {
                (0..<8).reduce(0) { $0 | UInt64(bytes[place + at + $1]) << UInt64(8 * $1) }
            }
            return (Double(value(0)) / 1000, value(8))
        }
        // From the newest on: a clock that was set back hides nothing that is younger.
        var first: UInt64?
        for number in (count - UInt64(kept)..<count).reversed() {
            let (seconds, offset) = entry(number)
            // What an entry stands for was said within a second from it.
            guard seconds + Double(intervalNanoseconds) / 1e9 > time else { return first ?? UInt64.max }
            first = offset
        }
        return count > capacity ? first : nil
    }

    /// The file that belongs to a log.
    static func path(of log: String) -> String { log.hasSuffix(".log") ? log.dropLast(3) + "times" : log + ".times" }

    private static func number(in file: Descriptor, at place: off_t) -> UInt64? {
        var bytes = [UInt8](repeating: 0, count: 8)
        guard pread(file.raw, &bytes, bytes.count, place) == bytes.count else { return nil }
        return (0..<8).reduce(0) { $0 | UInt64(bytes[$1]) << UInt64(8 * $1) }
    }

    private static func write(_ values: [UInt64], to file: Descriptor, at place: off_t) -> Bool {
        let bytes = values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) } }
        return bytes.withUnsafeBytes { pwrite(file.raw, $0.baseAddress, $0.count, place) } == bytes.count
    }
}
