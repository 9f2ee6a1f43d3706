import Glibc
import Synchronization
import VMProtocol

/// What the guest says on serial port 0: every byte goes to `console.log` in order, and to whoever watches.
///
/// The guest's thread only appends to memory. The I/O thread writes the log and feeds the viewers soon after. When the
/// I/O thread is behind by `logBufferLimit`, the guest's thread writes the log itself: no byte is lost and memory stays
/// bounded. Viewers that are behind by more than that lose their connection, never the guest its time.
final class ConsoleOutput: Sendable {
    /// Bytes that may wait before the guest's thread writes the log itself.
    private static let logBufferLimit = 64 << 10
    /// Bytes that may wait for the viewers.
    private static let viewerBufferLimit = 1 << 20

    private struct State {
        var unlogged: [UInt8] = []
        var unseen: [UInt8] = []
        var overran = false
        var isScheduled = false
        var logFailure: Int32?
    }

    private let state = Mutex(State())
    private let log: Descriptor?
    private let logPath: String
    private let schedule: @Sendable () -> Void

    /// - Parameters:
    ///   - logPath: file to append to; nil keeps no log.
    ///   - schedule: called once from the guest's thread whenever something waits for `drain`.
    init(logPath: String?, schedule: @escaping @Sendable () -> Void) throws(HostError) {
        log = try logPath.map { path throws(HostError) in try Descriptor.open(path, O_WRONLY | O_CREAT | O_APPEND) }
        self.logPath = logPath ?? ""
        self.schedule = schedule
    }

    /// Takes output of the guest.
    func append(_ bytes: UnsafeRawBufferPointer) {
        let mustSchedule = state.withLock { state in
            if log != nil { state.unlogged.append(contentsOf: bytes) }
            if state.unseen.count + bytes.count > Self.viewerBufferLimit {
                state.unseen.removeAll()
                state.overran = true
            } else {
                state.unseen.append(contentsOf: bytes)
            }
            if state.unlogged.count > Self.logBufferLimit { writeLog(&state) }
            let first = !state.isScheduled
            state.isScheduled = true
            return first
        }
        if mustSchedule { schedule() }
    }

    /// What waits for the viewers.
    struct Batch: Sendable {
        var bytes: [UInt8]
        /// Bytes before these are lost: whoever watches cannot be trusted to see all.
        var hasGap: Bool
    }

    /// Writes the log and hands out what viewers have not seen. Called on the I/O thread.
    func drain() -> Batch {
        state.withLock { state in
            state.isScheduled = false
            writeLog(&state)
            let batch = Batch(bytes: state.unseen, hasGap: state.overran)
            state.unseen = []
            state.overran = false
            return batch
        }
    }

    /// A full disk must not stop the guest: the log loses bytes, says so once, and goes on when there is room.
    private func writeLog(_ state: inout State) {
        guard let log, !state.unlogged.isEmpty else { return }
        if log.writeAll(state.unlogged) {
            state.logFailure = nil
        } else if state.logFailure != errno {
            state.logFailure = errno
            ProcessLog.say("cannot write \(logPath): \(String(cString: strerror(errno))); console output is lost")
        }
        state.unlogged.removeAll(keepingCapacity: true)
    }
}
