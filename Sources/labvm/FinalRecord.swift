import Glibc
import VMProtocol

/// The process's last words: `exit.json` and the event `exited`. Both files are opened at the start, because nothing can be
/// opened when the end comes; an empty `exit.json` is none.
final class FinalRecord {
    private let description: VMDescription
    private let exitFile: Descriptor?
    private let events: EventHistory?
    private let conditionFile: ConditionFile?

    init(_ description: VMDescription) {
        self.description = description
        func open<T>(_ file: VMFile, _ body: (String) throws(HostError) -> T) -> T? {
            guard let folder = description.stateFolder else { return nil }
            do throws(HostError) {
                return try body(file.path(in: folder))
            } catch {
                ProcessLog.say(error.description)
                return nil
            }
        }
        exitFile = open(.exitRecord) { path throws(HostError) in
            try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC)
        }
        events = open(.events) { path throws(HostError) in try EventHistory(path) }
        conditionFile = open(.condition) { _ throws(HostError) in
            try ConditionFile(in: description.stateFolder ?? "")
        }
        if let exitFile { CrashReport.record(on: exitFile.raw) }
    }

    /// Writes how the VM ended.
    /// - Returns: the process's exit code.
    func write(_ end: MachineEnd) -> Int32 {
        var record = ExitRecord(reason: end.reason, message: end.message, endedAt: WallClock.now)
        record.status = end.status
        if let exitFile {
            if !exitFile.writeAll(JSONCoding.encode(record, pretty: true)) || !HostCall.sync(exitFile.raw) {
                ProcessLog.say(HostError("write", VMFile.exitRecord.rawValue).description)
                // A full disk still takes this: its room was set aside.
                _ = HostCall.truncate(exitFile.raw, to: 0)
                var condition = VMCondition()
                condition.exit = record
                conditionFile?.write(condition)
            }
        }
        let detail = record.message.map { "\(record.reason.rawValue): \($0)" } ?? record.reason.rawValue
        do throws(HostError) {
            try events?.append(
                LifecycleEvent(time: record.endedAt, vm: description.name, event: "exited", detail: detail))
        } catch {
            ProcessLog.say(error.description)
        }
        // Without a sandbox; with one, whoever looks at the VM next removes them.
        if let folder = description.runtimeFolder {
            unlink(VMFile.consoleSocket.path(in: folder))
            unlink(VMFile.qmpSocket.path(in: folder))
        }
        if let path = description.monitorSocket { unlink(path) }
        return record.status ?? (record.reason == .failed ? 1 : 0)
    }
}

extension MachineEnd {
    var reason: ExitRecord.Reason {
        switch self {
        case .powerOff: .guestPowerOff
        case .reset: .guestReset
        case .quit: .quit
        case .debugExit: .debugExit
        case .failed: .failed
        }
    }

    var status: Int32? { if case .debugExit(let status) = self { status } else { nil } }

    var message: String? { if case .failed(let message) = self { message } else { nil } }
}
