import CLinux
import Glibc

/// Gives up what a VM process has no use for, before the guest runs.
enum Confinement {
    /// Most descriptors a VM can need: sockets, viewers, a backing chain of 200 files per drive.
    private static let descriptorLimit: rlim_t = 1024

    /// No new privileges through set-uid programs, no core dumps with guest memory in them, no children, a bounded
    /// number of descriptors. A limit that the host already keeps lower stays.
    static func apply() {
        _ = linux_no_new_privileges()
        lower(__rlimit_resource_t(RLIMIT_CORE.rawValue), to: 0)
        lower(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), to: descriptorLimit)
        _ = umask(0o077)
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
