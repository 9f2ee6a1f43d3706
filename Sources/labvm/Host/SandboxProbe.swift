import CLinux
import CSeccomp
import Glibc

/// What a guest that broke out would try, one thing a row, for the test that tries each from inside: run in the guest's place
/// on its thread, with the sandbox closed, when a description names one (`probe`).
///
/// A probe says whether the thing could be done. Most end the process instead.
enum SandboxProbe {
    struct Row: Sendable {
        let name: String
        /// - Returns: whether it succeeded.
        let attempt: @Sendable (_ argument: String) -> Bool
    }

    /// A call with up to six arguments; succeeded unless it gives -1.
    private static func call(_ number: Int32, _ arguments: Int...) -> Bool {
        var words = arguments + Array(repeating: 0, count: 6 - arguments.count)
        return words.withUnsafeMutableBufferPointer {
            linux_call(Int(number), $0[0], $0[1], $0[2], $0[3], $0[4], $0[5]) != -1
        }
    }

    private static func withPath(_ path: String, _ body: (Int) -> Bool) -> Bool {
        path.withCString { body(Int(bitPattern: $0)) }
    }

    private static func connects(_ family: Int32, _ type: Int32) -> Bool { call(SYS_socket, Int(family), Int(type), 0) }

    /// A page with these rights.
    private static func maps(_ rights: Int32, then change: Int32? = nil) -> Bool {
        guard let page = mmap(nil, 4096, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), page != MAP_FAILED else {
            return false
        }
        guard let change else { return true }
        return mprotect(page, 4096, change) == 0
    }

    private static func opens(_ path: String, _ flags: Int32) -> Bool { open(path, flags | O_CLOEXEC, 0o600) >= 0 }

    /// `argument` is a path that the test chose: another VM's file or socket.
    static let rows: [Row] = [
        // Files.
        Row(name: "open-passwd") { _ in opens("/etc/passwd", O_RDONLY) },
        Row(name: "open-argument-read") { opens($0, O_RDONLY) },
        Row(name: "open-argument-write") { opens($0, O_RDWR) },
        Row(name: "create-file") { opens($0 + ".new", O_WRONLY | O_CREAT) },
        Row(name: "open-own-memory") { _ in opens("/proc/self/mem", O_RDWR) },
        Row(name: "open-relative") { _ in opens("../../etc/passwd", O_RDONLY) },
        Row(name: "openat2") { path in withPath(path) { call(437, Int(AT_FDCWD), $0, 0, 24) } },
        Row(name: "open-by-handle") { _ in call(SYS_open_by_handle_at, 3, 0, 0) },
        Row(name: "unlink") { unlink($0) == 0 },
        Row(name: "rename") { rename($0, $0 + ".moved") == 0 },
        Row(name: "link") { link($0, $0 + ".link") == 0 },
        Row(name: "symlink") { symlink("/etc/passwd", $0 + ".link") == 0 },
        Row(name: "mkdir") { mkdir($0 + ".folder", 0o700) == 0 },
        Row(name: "list-folder") { _ in opendir("/") != nil },
        Row(name: "truncate") { truncate($0, 0) == 0 },
        Row(name: "chmod") { chmod($0, 0o777) == 0 },
        Row(name: "chown") { chown($0, 0, 0) == 0 },
        Row(name: "stat") { path in
            var status = stat()
            return stat(path, &status) == 0
        },
        Row(name: "chroot") { _ in chroot("/tmp") == 0 },
        Row(name: "mount") { _ in withPath("/tmp") { call(SYS_mount, $0, $0, 0, 4096) } },
        // Other programs.
        Row(name: "execve") { _ in withPath("/bin/true") { call(SYS_execve, $0, 0, 0) } },
        Row(name: "execveat") { _ in call(SYS_execveat, 0, 0, 0, 0, 0x1000) },
        Row(name: "fork") { _ in call(SYS_fork) },
        Row(name: "vfork") { _ in call(SYS_vfork) },
        Row(name: "clone-process") { _ in call(SYS_clone, Int(SIGCHLD), 0, 0, 0, 0) },
        Row(name: "clone3") { _ in call(435, 0, 0) },
        Row(name: "thread") { _ in (try? HostThread.start(named: "probe") {}) != nil },
        Row(name: "ptrace") { _ in call(SYS_ptrace, 16, Int(getppid()), 0, 0) },
        Row(name: "signal-parent") { _ in kill(getppid(), 0) == 0 },
        Row(name: "signal-group") { _ in kill(0, 0) == 0 },
        Row(name: "signal-thread-elsewhere") { _ in call(SYS_tgkill, 1, 1, 0) },
        Row(name: "read-other-memory") { _ in call(SYS_process_vm_readv, Int(getppid()), 0, 0, 0, 0, 0) },
        Row(name: "pidfd-open") { _ in call(434, 1, 0) },
        // Network.
        Row(name: "socket-tcp") { _ in connects(AF_INET, 1) },
        Row(name: "socket-udp") { _ in connects(AF_INET, 2) },
        Row(name: "socket-unix") { _ in connects(AF_UNIX, 1) },
        Row(name: "socketpair") { _ in call(SYS_socketpair, 1, 1, 0, 0) },
        Row(name: "connect") { _ in call(SYS_connect, 0, 0, 16) },
        Row(name: "bind") { _ in call(SYS_bind, 0, 0, 16) },
        Row(name: "io-uring") { _ in call(425, 8, 0) },
        // Memory and kernel.
        Row(name: "map-write-and-execute") { _ in maps(PROT_READ | PROT_WRITE | PROT_EXEC) },
        Row(name: "make-executable") { _ in maps(PROT_READ | PROT_WRITE, then: PROT_READ | PROT_EXEC) },
        Row(name: "type-on-terminal") { _ in
            var byte: CChar = 0x6C
            return withUnsafeMutablePointer(to: &byte) { call(SYS_ioctl, 0, 0x5412, Int(bitPattern: $0)) }
        },
        Row(name: "become-dumpable") { _ in call(SYS_prctl, 4, 1, 0, 0, 0) },
        Row(name: "raise-limits") { _ in call(SYS_prlimit64, 0, 7, 0, 0) },
        Row(name: "bpf") { _ in call(SYS_bpf, 0, 0, 0) },
        Row(name: "keyctl") { _ in call(SYS_keyctl, 0, 0, 0) },
        Row(name: "unshare") { _ in call(SYS_unshare, 0x1000_0000) },
    ]

    /// Not a thing to be refused but a fault of our own, for the test of its report.
    static let crash = "crash"

    @inline(never) private static func crashNow() {
        // SAFETY: none; this is the fault.
        UnsafeMutablePointer<UInt8>(bitPattern: 16)?.pointee = 1
    }

    /// Tries one.
    /// - Returns: how the VM ends.
    static func run(_ name: String, _ argument: String) -> MachineEnd {
        if name == crash { crashNow() }
        guard let row = rows.first(where: { $0.name == name }) else { return .failed("there is no probe '\(name)'") }
        return .failed("probe \(name): \(row.attempt(argument) ? "done" : "refused")")
    }
}
