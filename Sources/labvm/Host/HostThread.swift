import CLinux
import Glibc
import VMProtocol

/// Threads with a name and a stack of their own size.
enum HostThread {
    private final class Body {
        let name: String
        let work: @Sendable () -> Void
        init(name: String, work: @escaping @Sendable () -> Void) {
            self.name = name
            self.work = work
        }
    }

    /// Starts a detached thread.
    /// - Parameter name: what `top -H` shows; at most 15 bytes.
    static func start(
        named name: String, stackBytes: Int = 8 << 20, _ work: @escaping @Sendable () -> Void
    ) throws(HostError) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, stackBytes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        var thread = pthread_t()
        let body = Unmanaged.passRetained(Body(name: name, work: work))
        let result = pthread_create(&thread, &attributes, threadMain, body.toOpaque())
        guard result == 0 else {
            body.release()
            throw HostError("start", "thread \(name)", code: result)
        }
    }

    private static let threadMain: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { argument in
        guard let argument else { return nil }
        // SAFETY: the one reference that passRetained made above, taken over here exactly once.
        let body = Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
        _ = linux_name_thread(body.name)
        CrashReport.useOwnStack()
        body.work()
        return nil
    }
}
