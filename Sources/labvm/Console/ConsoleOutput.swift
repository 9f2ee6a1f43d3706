import Glibc
import Synchronization
import VMProtocol

/// What the guest says on serial port 0: every byte goes to `console.log` in order, and to whoever watches.
///
/// The guest's thread only appends to memory. The I/O thread writes the log and feeds the viewers soon after. When the
/// I/O thread is behind by `logBufferLimit`, the guest's thread writes the log itself. Bytes that a full disk does not take
/// wait in memory; a guest that has `heldLimit` of them waiting is held until there is room. So no byte is lost and memory
/// stays bounded. Viewers that are behind lose their connection, never the guest its time.
final class ConsoleOutput: Sendable {
    /// Bytes that may wait before the guest's thread writes the log itself.
    private static let logBufferLimit = 64 << 10
    /// Bytes that may wait for room on the disk.
    private static let heldLimit = 1 << 20
    /// Bytes that may wait for the viewers.
    private static let viewerBufferLimit = 1 << 20

    private struct State {
        var log: ConsoleLogFile?
        var unlogged: [UInt8] = []
        var unseen: [UInt8] = []
        var overran = false
        var isScheduled = false
        /// The system's error number of the latest write, while it stands in the way.
        var logFailure: Int32?
    }

    private let state: Mutex<State>
    private let logPath: String
    private let schedule: @Sendable () -> Void
    private let hold: GuestHold?

    /// - Parameters:
    ///   - logPath: file to append to; nil keeps no log.
    ///   - hold: who holds the guest while the log cannot be written; nil drops what does not fit.
    ///   - schedule: called once from the guest's thread whenever something waits for `drain`.
    init(logPath: String?, hold: GuestHold?, schedule: @escaping @Sendable () -> Void) throws(HostError) {
        let log = try logPath.map { path throws(HostError) in try ConsoleLogFile(path) }
        state = Mutex(State(log: log))
        self.logPath = logPath ?? ""
        self.hold = hold
        self.schedule = schedule
    }

    /// Takes output of the guest. On the guest's thread.
    func append(_ bytes: UnsafeRawBufferPointer) {
        let (mustSchedule, mustWait) = state.withLock { state in
            if state.log != nil { state.unlogged.append(contentsOf: bytes) }
            if state.unseen.count + bytes.count > Self.viewerBufferLimit {
                state.unseen.removeAll()
                state.overran = true
            } else {
                state.unseen.append(contentsOf: bytes)
            }
            // A log that did not take the latest write is tried by the I/O thread, not with every byte.
            if state.unlogged.count > Self.logBufferLimit, state.logFailure == nil { writeLog(&state) }
            let first = !state.isScheduled
            state.isScheduled = true
            return (first, state.unlogged.count > Self.heldLimit)
        }
        if mustSchedule { schedule() }
        if mustWait { waitForRoom() }
    }

    /// Holds the guest until the log takes bytes again.
    private func waitForRoom() {
        while let failure = state.withLock({ state -> Int32? in
            writeLog(&state)
            return state.unlogged.count > Self.heldLimit ? state.logFailure : nil
        }) {
            let trouble = GuestHold.Trouble(drive: nil, sentence: sentence(failure), isFull: true)
            guard let hold, hold.waitForBetter(trouble) else {
                state.withLock { $0.unlogged.removeAll() }
                return
            }
        }
        hold?.release()
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

    /// Why output waits for the log, and how much; nil when none does.
    var trouble: String? {
        state.withLock { state in
            guard let failure = state.logFailure, !state.unlogged.isEmpty else { return nil }
            return "\(sentence(failure)); \(state.unlogged.count) bytes of console output wait"
        }
    }

    private func sentence(_ failure: Int32) -> String {
        "writing \(logPath) failed: \(String(cString: strerror(failure)))"
    }

    private func writeLog(_ state: inout State) {
        guard !state.unlogged.isEmpty, let count = state.log?.append(state.unlogged[...]) else { return }
        let code = errno
        if count == state.unlogged.count {
            state.logFailure = nil
            state.unlogged.removeAll(keepingCapacity: count <= Self.logBufferLimit * 2)
            return
        }
        state.unlogged.removeFirst(count)
        if state.logFailure != code {
            state.logFailure = code
            ProcessLog.say("\(sentence(code)); console output waits")
        }
    }
}
