import Glibc
import Synchronization
import VMProtocol

/// A VM that shares the terminal of the labctl that started it and ends with it: `labctl run`.
public enum ForegroundVM {
    /// For the signal handler, which may touch nothing else.
    private static let child = Atomic<Int32>(0)

    /// Runs a VM to its end. The terminal is put back as it was, however the VM process ends.
    /// - Returns: the exit code to end with.
    public static func run(_ description: VMDescription) throws(OrchestratorError) -> Int32 {
        let executable = try VMExecutable.find()
        var terminal = termios()
        let hasTerminal = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &terminal) == 0
        // Ctrl-C belongs to the VM process, which shares our terminal; SIGTERM is passed on.
        signal(SIGINT, SIG_IGN)
        let processID = try withHostErrors { () throws(HostError) in
            let input = try description.pipe()
            return try SpawnRequest(
                executable: executable, arguments: ["labvm", "--description-fd", "3"], descriptors: [(input, 3)],
                flags: 0
            ).run()
        }
        child.store(processID, ordering: .relaxed)
        for number in [SIGTERM, SIGHUP] {
            signal(number) { number in kill(ForegroundVM.child.load(ordering: .relaxed), number) }
        }
        var status: Int32 = 0
        while waitpid(processID, &status, 0) < 0, errno == EINTR {}
        if hasTerminal { tcsetattr(STDIN_FILENO, TCSANOW, &terminal) }
        if let path = description.monitorSocket { unlink(path) }
        let signalNumber = status & 0x7F
        if [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT].contains(signalNumber) {
            throw OrchestratorError(
                .vm, "labvm crashed (signal \(signalNumber)); this is a fault of labctl, and its backtrace stands above"
            )
        }
        guard signalNumber != SIGSYS else {
            throw OrchestratorError(
                .vm, "the VM process asked the system for something that its sandbox forbids, and was ended")
        }
        guard signalNumber == 0 else {
            throw OrchestratorError(.vm, "the VM process was ended by signal \(signalNumber)")
        }
        return status >> 8 & 0xFF
    }
}
