/// Names of the files in the two folders that a VM process and its orchestrator share.
///
/// | folder | file | written by | content |
/// | --- | --- | --- | --- |
/// | state | `lock` | both | flock held for as long as the VM process lives; its text is only for people |
/// | state | `console.log` | labvm | the newest bytes of serial port 0, over all runs |
/// | state | `console.log.1` | labvm | bytes before those (`ConsoleIndex`) |
/// | state | `console.index` | labvm | where the bytes of both lie |
/// | state | `console.times` | labvm | when they were said (`ConsoleTimes`) |
/// | state | `condition.json` | labvm | `VMCondition`, overwritten in place |
/// | state | `vm.log` | labvm | what the process says on stderr: warnings, host I/O errors |
/// | state | `events.jsonl` | labvm | lifecycle, one JSON object a line |
/// | state | `exit.json` | labvm | `ExitRecord`, the last act |
/// | state | `restarts.json` | labvm's watcher | `RestartRecord` |
/// | state | `stop-requested` | labctl | nothing; there while the VM shall not be started again |
/// | runtime | `console.sock` | labvm | serial port 0 |
/// | runtime | `qmp.sock` | labvm | QEMU's machine protocol |
public enum VMFile: String, Sendable, CaseIterable {
    case lock
    case consoleLog = "console.log"
    case olderConsoleLog = "console.log.1"
    case consoleIndex = "console.index"
    case consoleTimes = "console.times"
    case condition = "condition.json"
    case processLog = "vm.log"
    case events = "events.jsonl"
    case exitRecord = "exit.json"
    case restarts = "restarts.json"
    case stopRequest = "stop-requested"
    case consoleSocket = "console.sock"
    case qmpSocket = "qmp.sock"

    /// The file's path in a folder.
    public func path(in folder: String) -> String { folder + "/" + rawValue }
}

/// What a VM process says on its report descriptor: one line of JSON when it runs or cannot. The descriptor stays open
/// for as long as the process lives, so that end-of-file on the other side says that the process is gone.
public enum StartReport: Codable, Sendable, Equatable {
    /// Disks are open, sockets listen and the guest is about to run. Warnings are sentences for the user.
    case started(warnings: [String])
    /// The VM cannot run; a sentence that says why.
    case failed(String)

    /// How a warning begins that is about the host and the same for all of its VMs.
    public static let hostNotice = "this host lacks "
}

/// One line of `events.jsonl`.
public struct LifecycleEvent: Codable, Sendable, Equatable {
    /// Seconds since 1970.
    public var time: Double
    /// The VM, or nil for the lab as a whole.
    public var vm: String?
    /// What happened: `started`, `reset`, `powerdown`, `paused`, `resumed`, `io-error`, `exited`, `stopped`, `killed`,
    /// `ready`, `down`, `restarted` …
    public var event: String
    /// More about it, in words.
    public var detail: String?

    public init(time: Double, vm: String?, event: String, detail: String? = nil) {
        self.time = time
        self.vm = vm
        self.event = event
        self.detail = detail
    }
}
