import Glibc
import VMProtocol

/// The process's last words: `exit.json` and the event `exited`. Both files are opened at the start, because nothing can be
/// opened when the end comes; an empty `exit.json` is none.
final class FinalRecord {
    private let description: VMDescription
    private let exitFile: Descriptor?
    private let events: Descriptor?

    init(_ description: VMDescription) {
        self.description = description
        func open(_ file: VMFile, _ flags: Int32) -> Descriptor? {
            guard let folder = description.stateFolder else { return nil }
            do throws(HostError) {
                return try Descriptor.open(file.path(in: folder), flags)
            } catch {
                ProcessLog.say(error.description)
                return nil
            }
        }
        exitFile = open(.exitRecord, O_WRONLY | O_CREAT | O_TRUNC)
        events = open(.events, O_WRONLY | O_CREAT | O_APPEND)
        if let exitFile { CrashReport.record(on: exitFile.raw) }
    }

    /// Writes how the VM ended.
    /// - Returns: the process's exit code.
    func write(_ end: MachineEnd) -> Int32 {
        var record = ExitRecord(reason: end.reason, message: end.message, endedAt: WallClock.now)
        record.status = end.status
        if let exitFile {
            if !exitFile.writeAll(JSONCoding.encode(record, pretty: true)) || fsync(exitFile.raw) != 0 {
                ProcessLog.say(HostError("write", VMFile.exitRecord.rawValue).description)
            }
            let detail = record.message.map { "\(record.reason.rawValue): \($0)" } ?? record.reason.rawValue
            let event = LifecycleEvent(
                time: record.endedAt, vm: description.name, event: "exited", detail: detail)
            // One write, so that lines of several processes do not mix.
            events?.writeAll(JSONCoding.encode(event) + [UInt8(ascii: "\n")])
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
