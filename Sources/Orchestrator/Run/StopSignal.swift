import Glibc
import Synchronization
import VMProtocol

/// Ctrl-C and SIGTERM: the first asks a verb to stop in order, the second ends the process.
///
/// One per process, made before threads are; verbs wait on `descriptor` with everything else.
public final class StopSignal: Sendable {
    /// Readable once a signal came.
    public let descriptor: Descriptor
    private let writing: Descriptor
    private let isDeaf: Bool

    /// For the signal handler, which may touch nothing else.
    private static let pipe = Atomic<Int32>(-1)
    private static let received = Atomic<Int32>(0)

    /// Takes the signals over.
    public init(signals: [Int32] = [SIGINT, SIGTERM]) throws(OrchestratorError) {
        let ends = try withHostErrors { () throws(HostError) in try Descriptor.pipe() }
        descriptor = ends.reading
        writing = ends.writing
        isDeaf = false
        descriptor.setNonBlocking()
        writing.setNonBlocking()
        Self.pipe.store(writing.raw, ordering: .sequentiallyConsistent)
        // Whoever started us may have blocked them.
        var unblocked = sigset_t()
        sigemptyset(&unblocked)
        for number in signals { sigaddset(&unblocked, number) }
        pthread_sigmask(SIG_UNBLOCK, &unblocked, nil)
        for number in signals {
            signal(number) { number in
                let saved = errno
                if StopSignal.received.exchange(number, ordering: .relaxed) != 0 { _exit(128 + number) }
                var byte: UInt8 = 1
                _ = write(StopSignal.pipe.load(ordering: .relaxed), &byte, 1)
                errno = saved
            }
        }
    }

    /// Stands for signals where none shall be heard: for the last things to do after one came.
    static func none() throws(OrchestratorError) -> StopSignal { try StopSignal(deaf: ()) }

    private init(deaf: Void) throws(OrchestratorError) {
        let ends = try withHostErrors { () throws(HostError) in try Descriptor.pipe() }
        descriptor = ends.reading
        writing = ends.writing
        isDeaf = true
    }

    /// The signal that came; nil while none did.
    public var signalNumber: Int32? {
        if isDeaf { return nil }
        let number = Self.received.load(ordering: .relaxed)
        return number == 0 ? nil : number
    }

    /// Whether the verb shall stop.
    public var isRequested: Bool { signalNumber != nil }

    /// Waits for a descriptor, a signal or the end of a time.
    /// - Returns: the descriptors that can be read; empty after a timeout or a signal.
    func wait(for descriptors: [Int32], milliseconds: Int32) -> Set<Int32> {
        var entries = (descriptors + [descriptor.raw]).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        guard poll(&entries, nfds_t(entries.count), milliseconds) > 0 else { return [] }
        return Set(entries.dropLast().filter { $0.revents != 0 }.map(\.fd))
    }
}
