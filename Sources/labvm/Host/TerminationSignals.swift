import Glibc
import Synchronization
import VMProtocol

/// SIGTERM, SIGINT and SIGHUP as something to read: the I/O loop ends the guest in order.
final class TerminationSignals {
    /// Readable after a signal.
    let descriptor: Descriptor
    private let writing: Descriptor

    /// The write end, for the handler, which may touch nothing else.
    private static let pipe = Atomic<Int32>(-1)

    init() throws(HostError) {
        let ends = try Descriptor.pipe()
        descriptor = ends.reading
        writing = ends.writing
        descriptor.setNonBlocking()
        writing.setNonBlocking()
        Self.pipe.store(writing.raw, ordering: .sequentiallyConsistent)
        for number in [SIGTERM, SIGINT, SIGHUP] {
            signal(number) { _ in
                let saved = errno
                var byte: UInt8 = 1
                _ = write(TerminationSignals.pipe.load(ordering: .relaxed), &byte, 1)
                errno = saved
            }
        }
        signal(SIGPIPE, SIG_IGN)
    }

    /// Forgets signals that came.
    func clear() { _ = descriptor.read(limit: 64) }
}
