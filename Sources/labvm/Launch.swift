import Emulator
import Glibc
import Images
import VMProtocol

/// Builds a VM from its description, runs it and records its end.
enum Launch {
    /// - Returns: how the VM ended; `.failed` when it never ran.
    static func run(_ description: VMDescription, inheritedLock: Int32?, reporter: StartReporter) -> MachineEnd {
        do {
            // Held, not used: the lock says to others that this VM runs.
            let lock = try takeLock(description, inherited: inheritedLock)
            defer { withExtendedLifetime(lock) {} }
            let loop = try IOLoop()
            let holder = SessionHolder()
            let hold = try GuestHold { trouble in loop.post { holder.session?.guestHeld(trouble) } }
            let (drives, warnings) = try DriveSet.open(description, hold: hold)
            let output = try ConsoleOutput(
                logPath: description.stateFolder.map { VMFile.consoleLog.path(in: $0) }, hold: hold,
                schedule: { loop.post { holder.session?.showOutput() } })
            let machine = try EmulatedPC(
                description, drives: drives, output: output, onReset: { loop.post { holder.session?.guestReset() } })
            let session = try VMSession(
                description: description, loop: loop, output: output, machine: machine, drives: drives,
                hold: hold, holder: holder)
            holder.session = session
            Confinement.apply(endsWithParent: description.console == .stdio)
            reporter.say(.started(warnings: warnings))
            let flusher = DiskFlusher(drives)
            try flusher.start()
            let end = try session.run()
            flusher.stop()
            closeImages(drives)
            return end
        } catch {
            let reason = sentence(for: error)
            reporter.say(.failed(reason))
            return .failed(reason)
        }
    }

    /// Writes the exit record and the last event.
    /// - Returns: the process's exit code.
    static func record(_ end: MachineEnd, of description: VMDescription) -> Int32 {
        var record = ExitRecord(reason: end.reason, message: end.message, endedAt: WallClock.now)
        record.status = end.status
        if let folder = description.stateFolder {
            do throws(HostError) {
                try StateFile.replace(
                    VMFile.exitRecord.path(in: folder), with: JSONCoding.encode(record, pretty: true))
            } catch {
                ProcessLog.say(error.description)
                // A full disk still takes this: its room was set aside.
                var condition = VMCondition()
                condition.exit = record
                try? ConditionFile(in: folder).write(condition)
            }
            let detail = record.message.map { "\(record.reason.rawValue): \($0)" } ?? record.reason.rawValue
            do throws(HostError) {
                try EventHistory(VMFile.events.path(in: folder)).append(
                    LifecycleEvent(time: record.endedAt, vm: description.name, event: "exited", detail: detail))
            } catch {
                ProcessLog.say(error.description)
            }
        }
        if let folder = description.runtimeFolder {
            unlink(VMFile.consoleSocket.path(in: folder))
            unlink(VMFile.qmpSocket.path(in: folder))
        }
        if let path = description.monitorSocket { unlink(path) }
        return record.status ?? (record.reason == .failed ? 1 : 0)
    }

    private static func takeLock(_ description: VMDescription, inherited: Int32?) throws(HostError) -> FileLock? {
        if let inherited {
            _ = fcntl(inherited, F_SETFD, FD_CLOEXEC)
            return FileLock(inherited: Descriptor(owning: inherited))
        }
        guard let folder = description.stateFolder else { return nil }
        let path = VMFile.lock.path(in: folder)
        guard let lock = try FileLock.tryLock(path) else {
            throw HostError("start", description.name, code: 0, reason: "it is running already (\(path) is locked)")
        }
        return lock
    }

    /// What the guest flushed is safe already; this writes what it did not.
    private static func closeImages(_ drives: [Drive]) {
        for medium in drives.compactMap(\.medium) {
            for image in DiskImage.chain(of: medium.image) {
                do {
                    try image.close()
                } catch {
                    ProcessLog.say("closing \(image.path) failed: \(error.sentence)")
                }
            }
        }
    }

    private static func sentence(for error: any Error) -> String {
        switch error {
        case let error as HostError: error.description
        case let error as ImageError: error.sentence
        case let error as MachineError: error.description
        default: String(describing: error)
        }
    }
}

/// Lets callbacks that are made before the session find it. Touched on the I/O thread only.
final class SessionHolder: @unchecked Sendable {
    // SAFETY: set before the loop and the machine run, read on the I/O thread after that.
    var session: VMSession?
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
