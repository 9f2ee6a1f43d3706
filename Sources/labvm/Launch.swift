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
            // Before there are threads: they have it from the one that makes them.
            if let nice = description.nice { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, Int32(nice)) }
            let loop = try IOLoop()
            let holder = SessionHolder()
            let hold = try GuestHold { trouble in loop.post { holder.session?.guestHeld(trouble) } }
            let (drives, warnings) = try DriveSet.open(description, hold: hold)
            let output = try ConsoleOutput(
                logPath: description.stateFolder.map { VMFile.consoleLog.path(in: $0) }, hold: hold,
                schedule: { loop.post { holder.session?.showOutput() } })
            let resets = ResetCounter { count in loop.post { holder.session?.guestReset(count()) } }
            let typed = TypedInput { loop.post { holder.session?.takeInputAgain() } }
            let machine = try EmulatedPC(
                description, drives: drives, output: output, typed: typed, onReset: { resets.add() })
            if let name = description.loadSnapshot { try begin(machine, from: name, drives) }
            if let path = description.savedState { try machine.goOn(from: path) }
            let session = try VMSession(
                description: description, loop: loop, output: output, machine: machine, drives: drives,
                hold: hold, typed: typed, holder: holder)
            holder.session = session
            // Everything is open. Nothing of the guest runs before the sandbox is closed.
            var sandbox = Confinement.begin(
                description.sandbox ?? .auto,
                endsWithParent: description.endsWithParent ?? (description.console == .stdio))
            let flusher = DiskFlusher(drives)
            try flusher.start()
            let gate = try session.startMachine()
            Confinement.finish(&sandbox)
            try require(sandbox, description)
            session.sandbox = sandbox
            reporter.say(.started(warnings: warnings + sandbox.missing.map(notice)))
            let limit = description.cpuPercent.map { CPULimit(percent: $0, machine: machine, loop: loop) }
            limit?.start()
            gate.open()
            let end = session.run()
            withExtendedLifetime(limit) { flusher.stop() }
            closeImages(drives)
            return end
        } catch {
            let reason = sentence(for: error)
            reporter.say(.failed(reason))
            return .failed(reason)
        }
    }

    /// -loadvm: the machine has not run yet.
    private static func begin(_ machine: EmulatedPC, from name: String, _ drives: [Drive]) throws(HostError) {
        func failed(_ reason: String) -> HostError { HostError("load", name, code: 0, reason: reason) }
        do throws(QMPError) {
            if let reason = try VMSnapshots(drives).load(machine.machine, name) { throw QMPError.generic(reason) }
        } catch {
            throw failed(error.text)
        }
    }

    /// - Throws: where the description wants the whole sandbox and the host cannot give it.
    private static func require(_ sandbox: SandboxState, _ description: VMDescription) throws(HostError) {
        guard description.sandbox == .required, !sandbox.missing.isEmpty else { return }
        throw HostError(
            "start", description.name, code: 0,
            reason: "'sandbox: required', but this host lacks \(sandbox.missing.joined(separator: " and "))")
    }

    private static func notice(_ missing: String) -> String {
        StartReport.hostNotice + missing + ": the sandbox is not whole"
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
