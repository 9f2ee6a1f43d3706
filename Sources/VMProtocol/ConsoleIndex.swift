import Glibc

/// Where the bytes of a console lie: `console.index` beside `console.log`.
///
/// Offsets into a console count every byte that the guest has said, over all runs. The newest bytes are in `console.log`;
/// when it is full its content moves to `console.log.1` and it begins anew. Both files keep their inodes, so that a process
/// that may open nothing any more can do it.
///
/// | offset | size | content |
/// | --- | --- | --- |
/// | 0 | 8 | generation; odd while bytes are being moved |
/// | 8 | 8 | offset of the first byte of `console.log` |
/// | 16 | 8 | offset of the first byte of `console.log.1`; equal to the former when that file is empty |
///
/// Little-endian. A file that is missing or empty means zeros: nothing was moved yet.
public struct ConsoleIndex: Sendable, Equatable {
    static let sizeBytes = 24
    /// Either file holds at most this much.
    public static let largestLogBytes: UInt64 = 8 << 20

    public var generation: UInt64 = 0
    public var base: UInt64 = 0
    public var previousBase: UInt64 = 0

    public init() {}

    /// Whether bytes are being moved at this moment.
    public var isMoving: Bool { generation & 1 == 1 }

    /// Reads it; numbers that cannot be right are taken for nothing moved.
    public init(reading descriptor: Int32) {
        var bytes = [UInt8](repeating: 0, count: Self.sizeBytes)
        guard pread(descriptor, &bytes, bytes.count, 0) == bytes.count else { return }
        func number(_ offset: Int) -> UInt64 {
            (0..<8).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
        }
        let (first, previous) = (number(8), number(16))
        guard previous <= first, first - previous <= Self.largestLogBytes, first < 1 << 62 else { return }
        (generation, base, previousBase) = (number(0), first, previous)
    }

    /// Writes it in place.
    public func write(to descriptor: Int32) -> Bool {
        let bytes = [generation, base, previousBase].flatMap { value in
            (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
        }
        return bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) } == bytes.count
    }

    /// The index that belongs to a log.
    public static func path(of log: String) -> String {
        log.hasSuffix(".log") ? log.dropLast(3) + "index" : log + ".index"
    }
}
