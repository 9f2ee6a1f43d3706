import Glibc
import Synchronization

/// The calls by which records, logs and folders reach the disk. Each passes through `HostFaults`, so that a test can make
/// the n-th of them fail as a full or failing disk would.
public enum HostCall: String, Sendable, CaseIterable {
    case open, write, sync, rename, unlink, makeFolder, truncate

    /// `open(2)`, close-on-exec.
    /// - Returns: the descriptor, or -1 with `errno` set.
    public static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o600) -> Int32 {
        HostFaults.strike(.open) ? -1 : Glibc.open(path, flags | O_CLOEXEC, mode)
    }

    /// `write(2)`, begun again when a signal cut it short.
    /// - Returns: how many bytes were taken, or -1 with `errno` set.
    public static func write(_ descriptor: Int32, _ bytes: ArraySlice<UInt8>) -> Int {
        output(bytes) { Glibc.write(descriptor, $0, $1) }
    }

    /// `send(2)` to a socket, which raises no SIGPIPE.
    /// - Returns: as `write`.
    public static func send(_ socket: Int32, _ bytes: ArraySlice<UInt8>) -> Int {
        output(bytes) { Glibc.send(socket, $0, $1, Int32(MSG_NOSIGNAL)) }
    }

    private static func output(
        _ bytes: ArraySlice<UInt8>, _ call: (UnsafeRawPointer?, Int) -> Int
    ) -> Int {
        if HostFaults.strike(.write) { return -1 }
        return bytes.withUnsafeBytes { buffer in
            var count: Int
            repeat { count = call(buffer.baseAddress, buffer.count) } while count < 0 && errno == EINTR
            return count
        }
    }

    /// `fsync(2)`.
    public static func sync(_ descriptor: Int32) -> Bool { !HostFaults.strike(.sync) && fsync(descriptor) == 0 }

    /// `rename(2)`.
    public static func rename(_ from: String, to path: String) -> Bool {
        !HostFaults.strike(.rename) && Glibc.rename(from, path) == 0
    }

    /// `unlink(2)`; a file that is not there is as good as removed.
    @discardableResult
    public static func unlink(_ path: String) -> Bool {
        !HostFaults.strike(.unlink) && (Glibc.unlink(path) == 0 || errno == ENOENT)
    }

    /// `mkdir(2)`.
    public static func makeFolder(_ path: String, mode: mode_t) -> Bool {
        !HostFaults.strike(.makeFolder) && mkdir(path, mode) == 0
    }

    /// `ftruncate(2)`.
    public static func truncate(_ descriptor: Int32, to length: off_t) -> Bool {
        !HostFaults.strike(.truncate) && ftruncate(descriptor, length) == 0
    }
}

/// Makes host calls fail, for tests: the n-th call of the thread that armed it, or the n-th and all that follow. Nothing
/// outside of this package's tests can arm it.
enum HostFaults {
    /// Which calls fail, and how.
    struct Plan: Sendable {
        /// Nil counts calls of every kind.
        var call: HostCall?
        /// How many calls still succeed.
        var succeeding: Int
        /// The system's error number.
        var code: Int32
        /// Whether all calls after the first failing one fail too (a full disk), or none (a passing fault).
        var lasts: Bool
    }

    private struct State {
        var plan: Plan
        var struck = 0
    }

    /// Looked at before the lock, so that programs pay one load for it.
    private static let isArmed = Atomic<Bool>(false)
    /// By thread: tests run side by side.
    private static let states = Mutex<[UInt: State]>([:])

    private static var thread: UInt { UInt(pthread_self()) }

    /// Arms a plan for calls of this thread.
    static func arm(_ plan: Plan) {
        states.withLock { $0[thread] = State(plan: plan) }
        isArmed.store(true, ordering: .sequentiallyConsistent)
    }

    /// Lets all calls of this thread through again.
    /// - Returns: how many calls were made to fail.
    @discardableResult
    static func disarm() -> Int { states.withLock { $0.removeValue(forKey: thread)?.struck ?? 0 } }

    /// Whether this call shall fail; `errno` is set then.
    static func strike(_ call: HostCall) -> Bool {
        guard isArmed.load(ordering: .relaxed) else { return false }
        let code: Int32? = states.withLock { states in
            guard var state = states[thread], state.plan.call == nil || state.plan.call == call else { return nil }
            defer { states[thread] = state }
            if state.plan.succeeding > 0 {
                state.plan.succeeding -= 1
                return nil
            }
            if state.struck > 0, !state.plan.lasts { return nil }
            state.struck += 1
            return state.plan.code
        }
        guard let code else { return false }
        errno = code
        return true
    }
}
