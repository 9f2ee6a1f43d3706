import Glibc
import VMProtocol

/// A VM process that this labctl started. It lives on when labctl ends: it has a session of its own and holds its lock.
final class VMProcess {
    let processID: Int32
    /// The process's report; end-of-file when the process is gone.
    let report: Descriptor
    private var received: [UInt8] = []

    /// Descriptors of the new process: the numbers that its command line names.
    private enum Channel { static let description: Int32 = 3, lock: Int32 = 4, report: Int32 = 5 }

    /// From `<spawn.h>`; Swift's Glibc does not show it: the new process leads a session of its own.
    private static let spawnSetSession: Int16 = 0x80

    /// Starts `labvm`.
    /// - Parameters:
    ///   - lock: the VM's lock, which the process takes over; no moment passes in which nobody holds it.
    ///   - log: where its stderr goes.
    init(executable: String, description: VMDescription, lock: FileLock, log: String) throws(HostError) {
        let input = try description.pipe()
        let (reading, writing) = try Descriptor.pipe()
        let null = try Descriptor.open("/dev/null", O_RDWR)
        let logFile = try Descriptor.open(log, O_WRONLY | O_CREAT | O_APPEND)
        processID = try SpawnRequest(
            executable: executable,
            arguments: [
                "labvm", "--description-fd", "\(Channel.description)", "--lock-fd", "\(Channel.lock)",
                "--report-fd", "\(Channel.report)",
            ],
            descriptors: [
                (null, 0), (logFile, 1), (logFile, 2), (input, Channel.description),
                (lock.descriptor, Channel.lock), (writing, Channel.report),
            ], flags: VMProcess.spawnSetSession
        ).run()
        report = reading
        report.setNonBlocking()
    }

    /// What the process said since the last call.
    enum News {
        case nothing
        case started(warnings: [String])
        case failed(String)
        case gone
    }

    /// Reads the report pipe; call it when the pipe is readable.
    func news() -> News {
        switch report.read() {
        case .bytes(let bytes):
            received += bytes
            guard let end = received.firstIndex(of: UInt8(ascii: "\n")) else { return .nothing }
            let line = Array(received[..<end])
            received.removeFirst(end + 1)
            switch JSONCoding.decode(StartReport.self, from: line) {
            case .started(let warnings): return .started(warnings: warnings)
            case .failed(let reason): return .failed(reason)
            case nil: return .failed("the VM process said '\(String(decoding: line, as: UTF8.self))'")
            }
        case .wouldBlock: return .nothing
        case .endOfFile, .failed:
            var status: Int32 = 0
            waitpid(processID, &status, WNOHANG)
            return .gone
        }
    }
}

extension VMProcess {
    /// How long a process may take until it runs.
    private static let startMilliseconds: UInt64 = 60_000

    func waitUntilItRuns(_ folder: VMFolder, _ orchestrator: LabOrchestrator) throws(OrchestratorError) {
        try waitUntilItRuns(folder, interruption: orchestrator.interruption, progress: orchestrator.progress)
    }

    /// Waits until the guest is about to run.
    func waitUntilItRuns(
        _ folder: VMFolder, interruption: StopSignal, progress: ProgressSink
    ) throws(OrchestratorError) {
        let deadline = WallClock.monotonicNanoseconds + Self.startMilliseconds * 1_000_000
        while true {
            switch news() {
            case .started(let warnings):
                for warning in warnings where !warning.hasPrefix(StartReport.hostNotice) {
                    progress(.warning("\(folder.name): \(warning)"))
                }
                return
            case .failed(let reason): throw OrchestratorError(.vm, reason)
            case .gone:
                let log = ConsoleLog.lastLines(folder.file(.processLog), from: 0, count: 1).last
                throw OrchestratorError(
                    .vm, "the VM process ended before the guest ran" + (log.map { ": \($0)" } ?? ""))
            case .nothing: break
            }
            guard WallClock.monotonicNanoseconds < deadline else {
                throw OrchestratorError(.timeout, "the VM process does not start")
            }
            _ = interruption.wait(for: [report.raw], milliseconds: 200)
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
    }
}

/// Where the VM process's program is.
public enum VMExecutable {
    /// `labvm` beside the running program (symbolic links resolved); `$LABCTL_LABVM` for another.
    public static func find() throws(OrchestratorError) -> String {
        if let given = StateDirectory.environment("LABCTL_LABVM"), !given.isEmpty { return given }
        guard let own = realpath("/proc/self/exe", nil) else {
            throw OrchestratorError(.host, "cannot find the folder that this program lies in")
        }
        defer { free(own) }
        let path = String(cString: own)
        let candidate = path[..<(path.lastIndex(of: "/") ?? path.startIndex)] + "/labvm"
        guard access(String(candidate), X_OK) == 0 else {
            throw OrchestratorError(.host, "\(candidate) is missing: labvm must lie beside labctl")
        }
        return String(candidate)
    }
}
