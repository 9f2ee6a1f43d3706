import CSeccomp
import Glibc

/// The system calls that a VM process may make once its guest runs (seccomp_unlink(2), seccomp(2)): what threads and I/O
/// on open descriptors need. Everything else ends the process; what the C library tries by itself fails instead.
enum SystemCallFilter {
    /// Allowed whatever their arguments.
    private static let allowed = [
        // Open files.
        "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek", "fstat", "close",
        "fsync",
        "fdatasync", "fallocate", "ftruncate", "sync_file_range", "copy_file_range", "fadvise64", "flock", "dup",
        // Waiting, and the sockets that listen.
        "poll", "ppoll", "pipe", "pipe2", "accept", "accept4", "recvfrom", "recvmsg", "sendto", "sendmsg", "shutdown",
        "getsockopt",
        // Threads and time.
        "futex", "sched_yield", "sched_getaffinity", "set_robust_list", "rseq", "exit", "exit_group", "gettid",
        "getpid",
        "clock_gettime", "clock_getres", "gettimeofday", "time", "nanosleep", "clock_nanosleep", "restart_syscall",
        // Memory; `mmap` and `mprotect` are below.
        "munmap", "mremap", "madvise", "brk", "membarrier",
        // Signals of its own.
        "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
        "getrandom", "getrusage", "umask",
    ]

    /// What libraries try, and do without when it fails.
    private static let refused: [(error: Int32, names: [String])] = [
        (
            EACCES,
            [
                "open", "openat", "openat2", "creat", "stat", "lstat", "statx", "access", "faccessat", "faccessat2",
                "readlink", "readlinkat", "getcwd", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir",
                "mkdirat", "chmod", "fchmodat", "fchmod", "utimensat", "truncate", "getdents64", "statfs", "fstatfs",
            ]
        ),
        // A newer C library asks for the newer call first.
        (ENOSYS, ["clone3"]),
        // No threads and no children: who starts a thread hears that there is none to be had.
        (EAGAIN, ["clone"]),
        (EPERM, ["prlimit64", "getrlimit", "setrlimit", "uname", "sysinfo", "getuid", "geteuid", "getppid"]),
    ]

    /// Requests of `ioctl` that terminals and copying need. TIOCSTI, which types on the terminal of whoever started us, is
    /// not among them.
    private static let ioctls: [UInt64] = [
        // TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGWINSZ, FIONREAD
        0x5401, 0x5402, 0x5403, 0x5404, 0x5413, 0x541B,
        // FICLONERANGE, BLKDISCARD, BLKZEROOUT
        0x4020_940D, 0x1277, 0x127F,
    ]

    /// Commands of `fcntl`: duplicating, flags, locks of open files.
    private static let fcntls: [UInt64] = [1, 2, 3, 4, 36, 37, 38, 1030]

    /// SCMP_ACT_ERRNO without its error number; Swift does not see the macro.
    private static let failure: UInt32 = 0x0005_0000
    private static let protectExecute: UInt64 = 4
    /// `prctl`: PR_SET_NAME, PR_GET_NAME, and PR_SET_VMA, by which the allocator names its memory.
    private static let prctls: [UInt64] = [15, 16, 0x5356_4D41]
    /// `newfstatat` with AT_EMPTY_PATH, which is how the C library asks about an open file.
    private static let emptyPath: UInt64 = 0x1000

    /// Puts the filter on every thread of the process.
    /// - Returns: nil when it holds; otherwise why not.
    static func apply() -> String? {
        guard let filter = seccomp_init(UInt32(SCMP_ACT_KILL_PROCESS)) else { return "no memory for its rules" }
        defer { seccomp_release(filter) }
        // One filter for all threads at once.
        var result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1)
        func rule(_ action: UInt32, _ name: String, _ conditions: [scmp_arg_cmp] = []) {
            let number = seccomp_syscall_resolve_name(name)
            // A name that this libseccomp does not know is a call that the rules' default ends.
            guard number != -1, result == 0 else { return }
            result = conditions.withUnsafeBufferPointer {
                seccomp_rule_add_array(filter, action, number, UInt32(conditions.count), $0.baseAddress)
            }
        }
        let allow = UInt32(SCMP_ACT_ALLOW)
        for name in allowed { rule(allow, name) }
        for (error, names) in refused {
            for name in names { rule(failure | UInt32(error), name) }
        }
        for request in ioctls { rule(allow, "ioctl", [argument(1, equals: request)]) }
        for command in fcntls { rule(allow, "fcntl", [argument(1, equals: command)]) }
        for option in prctls { rule(allow, "prctl", [argument(0, equals: option)]) }
        rule(allow, "newfstatat", [argument(3, equals: emptyPath)])
        for name in ["mmap", "mprotect"] { rule(allow, name, [argument(2, without: protectExecute)]) }
        // abort() signals its own thread.
        rule(allow, "tgkill", [argument(0, equals: UInt64(getpid()))])
        guard result == 0 else { return "its rules were refused (\(String(cString: strerror(-result))))" }
        result = seccomp_load(filter)
        return result == 0 ? nil : "the kernel refused it (\(String(cString: strerror(-result))))"
    }

    private static func argument(_ index: UInt32, equals value: UInt64) -> scmp_arg_cmp {
        scmp_arg_cmp(arg: index, op: SCMP_CMP_EQ, datum_a: value, datum_b: 0)
    }

    private static func argument(_ index: UInt32, without bits: UInt64) -> scmp_arg_cmp {
        scmp_arg_cmp(arg: index, op: SCMP_CMP_MASKED_EQ, datum_a: bits, datum_b: 0)
    }
}
