import CLinux
import Glibc

/// Owns a file descriptor and closes it with its last reference.
public final class Descriptor: Sendable {
    /// The number the system knows it by.
    public let raw: Int32
    /// Writes to a socket whose other end is gone fail with EPIPE; anywhere else they raise SIGPIPE, too.
    private let isSocket: Bool

    /// Takes over a descriptor that is open.
    public init(owning raw: Int32, isSocket: Bool = false) {
        self.raw = raw
        self.isSocket = isSocket
    }

    deinit { close(raw) }

    /// Opens a file, close-on-exec.
    public static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws(HostError) -> Descriptor {
        let raw = HostCall.open(path, flags, mode: mode)
        guard raw >= 0 else { throw HostError("open", path) }
        return Descriptor(owning: raw)
    }

    /// Both ends of a pipe, close-on-exec.
    public static func pipe() throws(HostError) -> (reading: Descriptor, writing: Descriptor) {
        var ends: [Int32] = [0, 0]
        guard Glibc.pipe(&ends) == 0 else { throw HostError("make", "a pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
    }

    /// Calls on the descriptor return at once instead of waiting.
    public func setNonBlocking() {
        let flags = fcntl(raw, F_GETFL)
        _ = fcntl(raw, F_SETFL, flags | O_NONBLOCK)
    }

    /// Sets room aside behind the end of a file, which does not get longer by it. A file system that cannot does nothing.
    public func reserve(_ count: off_t) {
        // FALLOC_FL_KEEP_SIZE of <linux/falloc.h>.
        _ = fallocate(raw, 1, lseek(raw, 0, SEEK_END), count)
    }

    /// What one read said.
    public enum ReadOutcome: Sendable, Equatable {
        case bytes([UInt8])
        /// Nothing there yet (non-blocking descriptors).
        case wouldBlock
        case endOfFile
        case failed(Int32)
    }

    /// Reads once, at most `limit` bytes.
    public func read(limit: Int = 65536) -> ReadOutcome {
        var count = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, initialized in
            repeat { count = Glibc.read(raw, buffer.baseAddress, limit) } while count < 0 && errno == EINTR
            initialized = max(0, count)
        }
        if count > 0 { return .bytes(bytes) }
        if count == 0 { return .endOfFile }
        return errno == EAGAIN || errno == EWOULDBLOCK ? .wouldBlock : .failed(errno)
    }

    /// Writes once.
    /// - Returns: how many bytes the system took; 0 when it would block; nil when it failed (`errno` says why).
    public func write(_ bytes: ArraySlice<UInt8>) -> Int? {
        let count = isSocket ? HostCall.send(raw, bytes) : HostCall.write(raw, bytes)
        if count >= 0 { return count }
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : nil
    }

    /// Writes all bytes to a blocking descriptor.
    /// - Returns: whether all were taken.
    @discardableResult
    public func writeAll(_ bytes: some Sequence<UInt8>) -> Bool {
        var rest = ArraySlice(Array(bytes))
        while !rest.isEmpty {
            guard let count = write(rest), count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}
