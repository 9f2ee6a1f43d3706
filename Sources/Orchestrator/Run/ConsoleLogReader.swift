import Glibc
import VMProtocol

/// Reads a console's bytes by their offset among all that the guest has said (`ConsoleIndex`).
///
/// Files stay open: a follower asks many times a second, and they keep their inodes.
final class ConsoleLogReader: Sendable {
    private let log: Descriptor?
    private let older: Descriptor?
    private let index: Descriptor?

    /// While bytes are moved, a reader waits so often this long.
    private static let moveTries = 100
    private static let movePause: UInt32 = 2000

    /// - Parameter path: `console.log`, or another log that is never moved. There may be no such file yet.
    init(_ path: String) {
        log = try? Descriptor.open(path, O_RDONLY)
        older = try? Descriptor.open(path + ".1", O_RDONLY)
        index = try? Descriptor.open(ConsoleIndex.path(of: path), O_RDONLY)
    }

    /// Whether there is a log.
    var isOpen: Bool { log != nil }

    /// Reads from an offset on. Bytes that are kept no longer are skipped.
    /// - Returns: bytes, and the offset of the first of them; no bytes where nothing is new.
    func read(from offset: UInt64, limit: Int) -> (bytes: [UInt8], offset: UInt64) {
        stable { position -> (bytes: [UInt8], offset: UInt64) in
            let start = max(offset, position.previousBase)
            if start < position.base, let older {
                let bytes = piece(older, start - position.previousBase, min(limit, Int(position.base - start)))
                if !bytes.isEmpty { return (bytes, start) }
            }
            guard let log else { return ([], offset) }
            let first = max(start, position.base)
            let bytes = piece(log, first - position.base, limit)
            return bytes.isEmpty ? ([], offset) : (bytes, first)
        } ?? ([], offset)
    }

    /// The offset behind the last byte.
    var end: UInt64 {
        stable { position -> UInt64 in
            var status = stat()
            guard let log, fstat(log.raw, &status) == 0 else { return position.base }
            return position.base + UInt64(max(0, status.st_size))
        } ?? 0
    }

    /// Does something with an index that does not change meanwhile; nil when it changes all the time.
    private func stable<Result>(_ body: (ConsoleIndex) -> Result) -> Result? {
        for attempt in 0...Self.moveTries {
            let before = index.map { ConsoleIndex(reading: $0.raw) } ?? ConsoleIndex()
            // A process that was killed while it moved bytes left the log whole.
            guard !before.isMoving || attempt == Self.moveTries else {
                usleep(Self.movePause)
                continue
            }
            let result = body(before)
            if (index.map { ConsoleIndex(reading: $0.raw) } ?? ConsoleIndex()) == before { return result }
        }
        return nil
    }

    private func piece(_ file: Descriptor, _ offset: UInt64, _ limit: Int) -> [UInt8] {
        guard limit > 0, let place = off_t(exactly: offset) else { return [] }
        return [UInt8](unsafeUninitializedCapacity: limit) { buffer, initialized in
            initialized = max(0, pread(file.raw, buffer.baseAddress, limit, place))
        }
    }
}
