import CLinux
import Glibc

/// `events.jsonl`: one JSON object a line, of bounded length. A full history loses its older half.
public final class EventHistory: Sendable {
    /// The file is cut when it would get larger.
    public static let largestBytes = 512 << 10
    /// Room that is set aside, so that a full disk can still be told of.
    private static let reservedBytes: off_t = 16 << 10

    private let file: Descriptor
    private let path: String

    public init(_ path: String) throws(HostError) {
        self.path = path
        file = try Descriptor.open(path, O_RDWR | O_CREAT | O_APPEND)
    }

    /// Sets room aside behind the end; the file does not get longer by it.
    public func reserve() {
        // Where it cannot be done, a full disk loses events.
        file.reserve(Self.reservedBytes)
    }

    /// Adds an event with a single write, so that lines of several processes do not mix.
    public func append(_ event: LifecycleEvent) throws(HostError) {
        let line = JSONCoding.encode(event) + [UInt8(ascii: "\n")]
        var status = stat()
        if fstat(file.raw, &status) == 0, Int(status.st_size) + line.count > Self.largestBytes { dropOlderHalf() }
        guard file.writeAll(line) else { throw HostError("write", path) }
    }

    /// Keeps the lines of the newer half. In place: whoever has the file open goes on with it.
    private func dropOlderHalf() {
        // By the open file: a process in its sandbox cannot open it again.
        var content = [UInt8](repeating: 0, count: Self.largestBytes)
        let count = pread(file.raw, &content, content.count, 0)
        guard count > 0 else { return }
        content.removeSubrange(count...)
        let half = content[(content.count / 2)...]
        let kept = half.firstIndex(of: UInt8(ascii: "\n")).map { half[($0 + 1)...] } ?? []
        guard HostCall.truncate(file.raw, to: 0) else { return }
        file.writeAll(kept)
    }
}
