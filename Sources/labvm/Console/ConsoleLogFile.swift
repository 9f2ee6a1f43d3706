import Glibc
import VMProtocol

/// `console.log` with its bound: when it is full, its content moves to `console.log.1` and it begins anew.
///
/// All files are opened at the start and keep their inodes. Used under `ConsoleOutput`'s lock.
struct ConsoleLogFile {
    private let log: Descriptor
    private let older: Descriptor
    private let indexFile: Descriptor
    private var index: ConsoleIndex
    private var times: ConsoleTimes
    private var sizeBytes: UInt64

    /// Room that is set aside behind the end, so that a disk that fills up does not stop the guest's next words.
    private static let reservedBytes: off_t = 64 << 10
    private static let pieceBytes = 256 << 10

    init(_ path: String) throws(HostError) {
        // The log last: whoever finds it finds the others.
        older = try Descriptor.open(path + ".1", O_RDWR | O_CREAT)
        indexFile = try Descriptor.open(ConsoleIndex.path(of: path), O_RDWR | O_CREAT)
        times = try ConsoleTimes(log: path)
        log = try Descriptor.open(path, O_RDWR | O_CREAT | O_APPEND)
        index = ConsoleIndex(reading: indexFile.raw)
        // A process that was killed while it moved bytes left the log whole.
        if index.isMoving {
            index.generation += 1
            _ = index.write(to: indexFile.raw)
        }
        sizeBytes = UInt64(max(0, lseek(log.raw, 0, SEEK_END)))
        log.reserve(Self.reservedBytes)
    }

    /// Appends what the host takes of some bytes.
    /// - Returns: how many it took; `errno` says why where that is not all.
    mutating func append(_ bytes: ArraySlice<UInt8>) -> Int {
        if !bytes.isEmpty { times.note(offset: index.base + sizeBytes) }
        var done = 0
        while done < bytes.count {
            if sizeBytes >= ConsoleIndex.largestLogBytes { move() }
            let room = Int(ConsoleIndex.largestLogBytes - min(sizeBytes, ConsoleIndex.largestLogBytes - 1))
            let part = bytes.dropFirst(done).prefix(room)
            guard let count = log.write(part), count > 0 else { break }
            done += count
            sizeBytes += UInt64(count)
        }
        return done
    }

    /// Moves the log's content to the older log. Where the host has no room for that, it is dropped: the newest words
    /// matter most.
    private mutating func move() {
        index.generation |= 1
        guard index.write(to: indexFile.raw) else { return }
        let isKept = copyToOlder()
        if !isKept { _ = HostCall.truncate(older.raw, to: 0) }
        guard HostCall.truncate(log.raw, to: 0) else { return }
        index.previousBase = isKept ? index.base : index.base + sizeBytes
        index.base += sizeBytes
        index.generation += 1
        sizeBytes = 0
        _ = index.write(to: indexFile.raw)
    }

    private func copyToOlder() -> Bool {
        guard HostCall.truncate(older.raw, to: 0) else { return false }
        var buffer = [UInt8](repeating: 0, count: Self.pieceBytes)
        var offset: off_t = 0
        while UInt64(offset) < sizeBytes {
            let count = pread(log.raw, &buffer, buffer.count, offset)
            guard count > 0, pwrite(older.raw, buffer, count, offset) == count else { return false }
            offset += off_t(count)
        }
        return true
    }
}
