import Emulator
import Glibc
import Images
import VMProtocol

/// One VM, one process. Started by labctl; the command line is for descriptors only:
///
/// | argument | meaning |
/// | --- | --- |
/// | `--description-fd N` | the `VMDescription` as JSON, read to its end |
/// | `--lock-fd N` | the state folder's `lock`, already locked by whoever started us; kept open to the end |
/// | `--report-fd N` | where one `StartReport` line goes; kept open to the end |
///
/// `--check-state FILE` instead of these reads a saved state and says on stderr what is wrong with it.
@main
enum LabVM {
    static func main() {
        if CommandLine.arguments.count == 3, CommandLine.arguments[1] == "--check-state" {
            exit(checkState(CommandLine.arguments[2]))
        }
        guard let arguments = LabVMArguments(CommandLine.arguments.dropFirst()) else {
            ProcessLog.say("usage: labvm --description-fd N [--lock-fd N] [--report-fd N] (started by labctl)")
            exit(64)
        }
        // A reader that went away and a file that may not grow are errors of one write, not the end of the process.
        for number in [SIGPIPE, SIGXFSZ] { signal(number, SIG_IGN) }
        // Whoever started us may have blocked signals: SIGTERM must be heard.
        var none = sigset_t()
        sigemptyset(&none)
        sigprocmask(SIG_SETMASK, &none, nil)
        CrashReport.install()
        Confinement.closeInherited(keep: arguments.descriptors)
        let reporter = StartReporter(arguments.report.map { Descriptor(owning: $0) })
        guard let description = readDescription(arguments.description) else {
            reporter.say(.failed("the description on descriptor \(arguments.description) is incomplete"))
            exit(1)
        }
        if let watcher = Watcher(description, lock: arguments.lock, reporter: reporter) { exit(watcher.run()) }
        // All paths are absolute; a process that stays for days must not keep somebody's folder busy.
        if description.stateFolder != nil { _ = chdir("/") }
        let record = FinalRecord(description)
        let end = Launch.run(description, inheritedLock: arguments.lock, reporter: reporter)
        exit(record.write(end))
    }

    /// - Returns: the exit code.
    private static func checkState(_ path: String) -> Int32 {
        do throws(MachineError) {
            try Machine.verifyState(at: path)
            return 0
        } catch {
            ProcessLog.say(error.description)
            return 1
        }
    }

    private static func readDescription(_ raw: Int32) -> VMDescription? {
        let input = Descriptor(owning: raw)
        var text: [UInt8] = []
        while case .bytes(let bytes) = input.read() {
            text += bytes
            guard text.count <= StateFile.largestBytes else { return nil }
        }
        return JSONCoding.decode(VMDescription.self, from: text)
    }
}

/// The descriptors that the command line names.
struct LabVMArguments {
    var description: Int32
    var lock: Int32?
    var report: Int32?

    /// Nil when the command line is not one of ours.
    init?(_ words: some Sequence<String>) {
        var numbers: [String: Int32] = [:]
        var words = Array(words)[...]
        while let name = words.popFirst() {
            guard ["--description-fd", "--lock-fd", "--report-fd"].contains(name),
                let value = words.popFirst().flatMap({ Int32($0) }), value >= 0
            else { return nil }
            numbers[name] = value
        }
        guard let description = numbers["--description-fd"] else { return nil }
        self.description = description
        lock = numbers["--lock-fd"]
        report = numbers["--report-fd"]
    }

    var descriptors: [Int32] { [description, lock, report].compactMap { $0 } }
}

/// Tells whoever started the process how the start went. Without a descriptor for it, people read stderr.
final class StartReporter {
    private let descriptor: Descriptor?
    private var isDone = false
    /// Whether the VM was said to run.
    private(set) var hasSaidStarted = false

    init(_ descriptor: Descriptor?) {
        self.descriptor = descriptor
        if let descriptor { _ = fcntl(descriptor.raw, F_SETFD, FD_CLOEXEC) }
    }

    /// Says what another process has said, a line or nothing.
    func pass(_ line: [UInt8]) {
        guard !isDone, !line.isEmpty else { return }
        isDone = true
        if case .started? = JSONCoding.decode(StartReport.self, from: line.filter { $0 != UInt8(ascii: "\n") }) {
            hasSaidStarted = true
        }
        descriptor?.writeAll(line)
    }

    func say(_ report: StartReport) {
        guard !isDone else { return }
        isDone = true
        if case .started = report { hasSaidStarted = true }
        if let descriptor {
            descriptor.writeAll(JSONCoding.encode(report) + [UInt8(ascii: "\n")])
        }
        switch report {
        case .started(let warnings): for warning in warnings { ProcessLog.say("warning: \(warning)") }
        case .failed(let reason): ProcessLog.say(reason)
        }
    }
}
