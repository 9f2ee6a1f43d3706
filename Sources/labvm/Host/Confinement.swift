import CLinux
import Glibc
import VMProtocol

/// Gives up what a VM process has no use for, before the guest runs.
enum Confinement {
    /// Most descriptors a VM can need: sockets, viewers, a backing chain of 200 files per drive.
    private static let descriptorLimit: rlim_t = 1024

    /// RLIMIT_NPROC of <sys/resource.h>, which Swift does not show.
    private static let processLimit = __rlimit_resource_t(6)

    /// First part, while there is one thread: no new privileges through set-uid programs, no core dumps with guest memory in
    /// them, no debugger, a bounded number of descriptors, an empty environment, and Landlock. Threads inherit all of it.
    /// - Parameter endsWithParent: whether the process ends in order when the one that started it is killed.
    static func begin(_ mode: VMDescription.Sandbox, endsWithParent: Bool) -> SandboxState {
        var state = SandboxState()
        _ = linux_no_new_privileges()
        if endsWithParent { _ = linux_signal_at_parent_death(SIGTERM) }
        lower(__rlimit_resource_t(RLIMIT_CORE.rawValue), to: 0)
        lower(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), to: descriptorLimit)
        _ = umask(0o077)
        guard mode != .off else { return state }
        state.isOff = false
        _ = linux_not_dumpable()
        emptyEnvironment()
        state.landlockABI = Landlock.restrict()
        if state.landlockABI == 0 { state.missing.append("Landlock (Linux 5.13 and later)") }
        return state
    }

    /// Second part, when all threads are there and none has run a guest instruction: no more threads or processes, and the
    /// filter of system calls.
    static func finish(_ state: inout SandboxState) {
        guard !state.isOff else { return }
        lower(processLimit, to: 0)
        if let reason = SystemCallFilter.apply() {
            state.missing.append("the filter of system calls: \(reason)")
        } else {
            state.isFiltered = true
        }
    }

    /// What was in the environment is nobody's business: not its names, and not the bytes where the kernel put them.
    private static func emptyEnvironment() {
        for (name, length) in environmentEntries() { memset(name, 0, length) }
        clearenv()
    }

    private static func environmentEntries() -> [(UnsafeMutablePointer<CChar>, Int)] {
        var entries: [(UnsafeMutablePointer<CChar>, Int)] = []
        var next = environ
        // SAFETY: environ is an array of strings that ends with nil.
        while let entry = next.pointee {
            entries.append((entry, strlen(entry)))
            next += 1
        }
        return entries
    }

    /// Closes whatever the parent left open, except standard streams and `keep`.
    static func closeInherited(keep: [Int32]) {
        guard let folder = opendir("/proc/self/fd") else { return }
        var open: [Int32] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if let number = Int32(name), number != dirfd(folder) { open.append(number) }
        }
        closedir(folder)
        for number in open where number > 2 && !keep.contains(number) { close(number) }
    }

    private static func lower(_ resource: __rlimit_resource_t, to value: rlim_t) {
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0, limit.rlim_max > value else { return }
        limit = rlimit(rlim_cur: value, rlim_max: value)
        _ = setrlimit(resource, &limit)
    }
}

/// What of the sandbox holds.
struct SandboxState: Sendable {
    var isOff = true
    /// The ABI whose rights are taken; 0: none.
    var landlockABI: Int32 = 0
    var isFiltered = false
    /// What the host could not give, as the user reads it.
    var missing: [String] = []

    /// For `query-sandbox`.
    var json: JSONValue {
        [
            "enabled": .bool(!isOff), "landlock-abi": .int(Int64(landlockABI)), "seccomp": .bool(isFiltered),
            "missing": .array(missing.map { .string($0) }),
        ]
    }
}
