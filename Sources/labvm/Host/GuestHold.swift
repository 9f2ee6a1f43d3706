import Glibc
import Synchronization
import VMProtocol

/// Holds the guest while the host cannot write what the guest wrote (QEMU's `werror=stop` and `enospc`).
///
/// The guest's thread waits in the request that failed: nothing is lost, nothing runs on. It tries again every second when
/// only room is missing, and at once when somebody continues the VM.
final class GuestHold: Sendable {
    /// What keeps the guest from going on.
    struct Trouble: Sendable, Equatable {
        /// QEMU's name of the drive; nil for the console's log.
        var drive: String?
        var sentence: String
        /// Whether room on the host's disk would help.
        var isFull: Bool
    }

    /// How long to wait before the next try, where room is missing.
    private static let retryMilliseconds: Int32 = 1000

    private struct State {
        var trouble: Trouble?
        var isEnding = false
    }

    private let state = Mutex(State())
    private let reading: Descriptor
    private let writing: Descriptor
    private let changed: @Sendable (Trouble?) -> Void

    /// - Parameter changed: called on the guest's thread when it is held (with the reason) and when it goes on (nil).
    init(changed: @escaping @Sendable (Trouble?) -> Void) throws(HostError) {
        (reading, writing) = try Descriptor.pipe()
        reading.setNonBlocking()
        writing.setNonBlocking()
        self.changed = changed
    }

    /// Waits, on the guest's thread, until it may be tried again.
    /// - Returns: false when the VM ends: the request fails then.
    func waitForBetter(_ trouble: Trouble) -> Bool {
        let isNew: Bool? = state.withLock { state in
            guard !state.isEnding else { return nil }
            defer { state.trouble = trouble }
            return state.trouble == nil
        }
        guard let isNew else { return false }
        if isNew { changed(trouble) }
        var entry = pollfd(fd: reading.raw, events: Int16(POLLIN), revents: 0)
        _ = poll(&entry, 1, trouble.isFull ? Self.retryMilliseconds : -1)
        _ = reading.read(limit: 64)
        return state.withLock { !$0.isEnding }
    }

    /// It worked: the guest goes on.
    func release() {
        let wasHeld = state.withLock { state in
            defer { state.trouble = nil }
            return state.trouble != nil
        }
        if wasHeld { changed(nil) }
    }

    /// Tries again now. Any thread.
    func retry() { _ = writing.write([1]) }

    /// Lets the guest's thread go with an error, now and from now on. Any thread.
    func end() {
        state.withLock { $0.isEnding = true }
        retry()
    }
}
