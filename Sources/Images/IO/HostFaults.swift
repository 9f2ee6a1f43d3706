import Glibc
import Synchronization

/// Calls by which images change the host's files.
enum HostCall: CaseIterable {
    case open, write, resize, allocate, rename, sync
}

/// Makes host calls fail, as SQLite's test VFS does: the n-th call on a file of one folder, once or from then on.
///
/// Every call that changes a file asks here first. Nobody but tests arms anything; then the question costs one load.
final class HostFaults: Sendable {
    /// Which calls fail, counted from 0 in the order in which they are made.
    struct Plan {
        var calls: Set<HostCall> = Set(HostCall.allCases)
        var failing: Range<Int> = 0..<0
        var code: Int32 = EIO
    }

    private static let armed = Mutex<[HostFaults]>([])
    private static let armedCount = Atomic<Int>(0)

    private let folder: String
    private let plan: Plan
    private let seen = Atomic<Int>(0)

    /// How many calls there have been.
    var count: Int { seen.load(ordering: .relaxed) }

    private init(folder: String, _ plan: Plan) {
        self.folder = folder
        self.plan = plan
    }

    /// Runs `body` with the calls on files below `folder` failing as planned. Returns what it saw.
    @discardableResult
    static func during(_ plan: Plan, below folder: String, _ body: () -> Void) -> HostFaults {
        let faults = HostFaults(folder: folder, plan)
        armed.withLock { $0.append(faults) }
        armedCount.add(1, ordering: .relaxed)
        body()
        armedCount.subtract(1, ordering: .relaxed)
        armed.withLock { $0.removeAll { $0 === faults } }
        return faults
    }

    /// The error that a call on `path` shall have; nil where it may go on.
    @inline(__always) static func failure(_ call: HostCall, _ path: String) -> Int32? {
        armedCount.load(ordering: .relaxed) == 0 ? nil : plannedFailure(call, path)
    }

    private static func plannedFailure(_ call: HostCall, _ path: String) -> Int32? {
        let faults = armed.withLock { $0.first { path.hasPrefix($0.folder) && $0.plan.calls.contains(call) } }
        guard let faults else { return nil }
        let number = faults.seen.add(1, ordering: .relaxed).oldValue
        return faults.plan.failing.contains(number) ? faults.plan.code : nil
    }
}
