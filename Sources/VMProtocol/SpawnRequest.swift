import Glibc

/// One call of `posix_spawn` with chosen descriptors; all others are close-on-exec.
public struct SpawnRequest {
    private let executable: String
    private let arguments: [String]
    /// Which descriptor becomes which number.
    private let descriptors: [(Descriptor, Int32)]
    private let flags: Int16

    /// - Parameters:
    ///   - arguments: the name of the program first.
    ///   - flags: POSIX_SPAWN flags besides those for signals.
    public init(executable: String, arguments: [String], descriptors: [(Descriptor, Int32)], flags: Int16) {
        self.executable = executable
        self.arguments = arguments
        self.descriptors = descriptors
        self.flags = flags
    }

    /// Numbers below this may be targets; sources are moved above it first, so that no copy overwrites a source.
    private static let firstSource: Int32 = 16

    /// - Returns: the process id.
    public func run() throws(HostError) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var moved: [Descriptor] = []
        for (descriptor, target) in descriptors {
            let source = fcntl(descriptor.raw, F_DUPFD_CLOEXEC, Self.firstSource)
            guard source >= 0 else { throw HostError("start", executable) }
            moved.append(Descriptor(owning: source))
            posix_spawn_file_actions_adddup2(&actions, source, target)
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var defaults = sigset_t()
        sigemptyset(&defaults)
        for number in [SIGINT, SIGTERM, SIGPIPE, SIGHUP, SIGQUIT, SIGXFSZ] { sigaddset(&defaults, number) }
        var blocked = sigset_t()
        sigemptyset(&blocked)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        posix_spawnattr_setsigmask(&attributes, &blocked)
        posix_spawnattr_setflags(&attributes, flags | Int16(POSIX_SPAWN_SETSIGDEF) | Int16(POSIX_SPAWN_SETSIGMASK))
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var processID: pid_t = 0
        let result = posix_spawn(&processID, executable, &actions, &attributes, &words, environ)
        withExtendedLifetime(moved) {}
        guard result == 0 else { throw HostError("start", executable, code: result) }
        return processID
    }
}

extension VMDescription {
    /// A pipe that already holds the whole description: nobody has to stay to feed it.
    public func pipe() throws(HostError) -> Descriptor {
        let text = JSONCoding.encode(self)
        let (reading, writing) = try Descriptor.pipe()
        writing.setNonBlocking()
        guard writing.write(text[...]) == text.count else {
            throw HostError(
                "start", name, code: 0,
                reason: "its description of \(text.count) bytes does not fit into a pipe")
        }
        return reading
    }
}
