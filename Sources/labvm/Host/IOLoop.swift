import Glibc
import Synchronization
import VMProtocol

/// Waits for sockets, terminals and other threads, on one thread: everything that is not the guest happens here.
///
/// Only `post` and `stop` may be called from other threads.
final class IOLoop: @unchecked Sendable {
    // SAFETY: everything but `posted` and the wake pipe is touched on the loop's thread alone.

    typealias Handler = (_ readable: Bool, _ writable: Bool) -> Void

    private struct Source {
        var descriptor: Descriptor
        var wantsRead: Bool
        var wantsWrite: Bool
        var handler: Handler
    }

    private struct Alarm {
        var at: UInt64
        var action: () -> Void
    }

    private var sources: [Int32: Source] = [:]
    private var alarms: [Alarm] = []
    private var isStopped = false
    private let posted = Mutex<[@Sendable () -> Void]>([])
    private let wakeReading: Descriptor
    private let wakeWriting: Descriptor
    /// Whether a wake-up byte is already on its way.
    private let isWaking = Atomic<Bool>(false)

    init() throws(HostError) {
        (wakeReading, wakeWriting) = try Descriptor.pipe()
        wakeReading.setNonBlocking()
        wakeWriting.setNonBlocking()
    }

    /// Calls `handler` whenever the descriptor can be read (or, with `wantsWrite`, written).
    func add(_ descriptor: Descriptor, wantsRead: Bool = true, wantsWrite: Bool = false, handler: @escaping Handler) {
        sources[descriptor.raw] = Source(
            descriptor: descriptor, wantsRead: wantsRead, wantsWrite: wantsWrite, handler: handler)
    }

    /// Changes what is waited for.
    func update(_ descriptor: Descriptor, wantsRead: Bool, wantsWrite: Bool) {
        sources[descriptor.raw]?.wantsRead = wantsRead
        sources[descriptor.raw]?.wantsWrite = wantsWrite
    }

    func remove(_ descriptor: Descriptor) { sources[descriptor.raw] = nil }

    /// Runs `action` on the loop's thread after a delay.
    func after(milliseconds: UInt64, _ action: @escaping () -> Void) {
        alarms.append(Alarm(at: WallClock.monotonicNanoseconds + milliseconds * 1_000_000, action: action))
    }

    /// Runs `action` on the loop's thread soon. Callable from any thread.
    func post(_ action: @escaping @Sendable () -> Void) {
        posted.withLock { $0.append(action) }
        wake()
    }

    /// Ends `run`.
    func stop() {
        post { [self] in isStopped = true }
    }

    private func wake() {
        guard !isWaking.exchange(true, ordering: .acquiringAndReleasing) else { return }
        _ = wakeWriting.write([1])
    }

    /// Serves until `stop`.
    func run() {
        while !isStopped {
            var order = [pollfd(fd: wakeReading.raw, events: Int16(POLLIN), revents: 0)]
            // Where nothing is waited for, the system still tells of a connection that ended.
            for (raw, source) in sources {
                let events = (source.wantsRead ? POLLIN : 0) | (source.wantsWrite ? POLLOUT : 0)
                order.append(pollfd(fd: raw, events: Int16(events), revents: 0))
            }
            _ = poll(&order, nfds_t(order.count), timeout)
            runPosted()
            runAlarms()
            for entry in order.dropFirst() where entry.revents != 0 {
                // A handler before this one may have removed the source, or another of the same number come in.
                guard let source = sources[entry.fd] else { continue }
                let hungUp = entry.revents & Int16(POLLHUP | POLLERR | POLLNVAL) != 0
                let readable = entry.revents & Int16(POLLIN) != 0 || hungUp
                let writable = entry.revents & Int16(POLLOUT) != 0
                source.handler(readable, writable)
            }
        }
    }

    /// Milliseconds until the next alarm, -1 without one.
    private var timeout: Int32 {
        guard let next = alarms.map(\.at).min() else { return -1 }
        let now = WallClock.monotonicNanoseconds
        return next <= now ? 0 : Int32(clamping: (next - now + 999_999) / 1_000_000)
    }

    private func runPosted() {
        if case .bytes = wakeReading.read(limit: 64) {}
        isWaking.store(false, ordering: .releasing)
        let actions = posted.withLock { queue in
            let actions = queue
            queue.removeAll()
            return actions
        }
        for action in actions { action() }
    }

    private func runAlarms() {
        guard !alarms.isEmpty else { return }
        let now = WallClock.monotonicNanoseconds
        let due = alarms.filter { $0.at <= now }
        guard !due.isEmpty else { return }
        alarms.removeAll { $0.at <= now }
        for alarm in due { alarm.action() }
    }
}
