import Glibc
import VMProtocol

/// Keeps a VM running whose description asks for it (`restart`): the process that labctl started does not run the VM but starts
/// it as a process of its own, waits, and starts it again when it ended without being asked to. It sleeps all the while, and
/// holds the VM's lock with it. There is no daemon: with the VM's end, or when labctl asks for it, the watcher ends too.
final class Watcher {
    /// Descriptors of the VM's process: the numbers that its command line names.
    private enum Channel { static let description: Int32 = 3, lock: Int32 = 4, report: Int32 = 5 }

    /// The pause before the first restart; each one that follows soon is twice as long.
    private static let firstPauseMilliseconds: UInt64 = 1000
    private static let longestPauseMilliseconds: UInt64 = 120_000
    /// A VM that ran for so long begins with the first pause again.
    private static let settledNanoseconds: UInt64 = 60_000_000_000
    /// How soon it is noticed that labctl wants an end.
    private static let lookMilliseconds: Int32 = 100

    private var description: VMDescription
    private let policy: VMDescription.Restart
    private let folder: String
    private let lock: Descriptor
    private let reporter: StartReporter
    private let events: EventHistory?
    private var pause = Watcher.firstPauseMilliseconds
    private var count = 0

    /// - Returns: nil for a description that does not ask for it, or a VM that has no state.
    init?(_ description: VMDescription, lock: Int32?, reporter: StartReporter) {
        guard let policy = description.restart, let folder = description.stateFolder, let lock else { return nil }
        self.policy = policy
        self.folder = folder
        self.reporter = reporter
        self.lock = Descriptor(owning: lock)
        _ = fcntl(lock, F_SETFD, FD_CLOEXEC)
        // The VM's own process is one without a watcher.
        var plain = description
        plain.restart = nil
        self.description = plain
        events = try? EventHistory(VMFile.events.path(in: folder))
    }

    /// - Returns: the exit code of the last process.
    func run() -> Int32 {
        while true {
            let started = (monotonic: WallClock.monotonicNanoseconds, wall: WallClock.now)
            let status: Int32
            do throws(HostError) {
                status = try runOnce(isFirst: count == 0)
            } catch {
                reporter.say(.failed(error.description))
                return 1
            }
            if count == 0, !reporter.hasSaidStarted { return Self.code(of: status) }
            // Its disks are no longer as they were when the state was saved: from now on it is switched on.
            description.savedState = nil
            let end = end(since: started.wall, status)
            guard !isStopRequested, end.asksForRestart(policy) else { return Self.code(of: status) }
            if WallClock.monotonicNanoseconds - started.monotonic > Self.settledNanoseconds {
                pause = Self.firstPauseMilliseconds
            }
            guard waitToRestart(end.words) else { return Self.code(of: status) }
        }
    }

    private static func code(of status: Int32) -> Int32 {
        let signal = status & 0x7F
        return signal == 0 ? status >> 8 & 0xFF : 128 + signal
    }

    /// Starts the VM's process and waits for its end.
    /// - Parameter isFirst: whether what it reports is passed on to labctl, which waits for it.
    /// - Returns: its status as wait(2) has it.
    private func runOnce(isFirst: Bool) throws(HostError) -> Int32 {
        let (processID, reading) = try start()
        if isFirst {
            var line: [UInt8] = []
            while case .bytes(let bytes) = reading.read() {
                line += bytes
                if line.contains(UInt8(ascii: "\n")) { break }
            }
            reporter.pass(line)
        }
        // What later ones report goes to vm.log too.
        var status: Int32 = 0
        while waitpid(processID, &status, 0) < 0, errno == EINTR {}
        withExtendedLifetime(reading) {}
        return status
    }

    /// - Returns: the process, and its report. The other end is the process's alone when this returns.
    private func start() throws(HostError) -> (processID: Int32, report: Descriptor) {
        let input = try description.pipe()
        let (reading, writing) = try Descriptor.pipe()
        let processID = try SpawnRequest(
            executable: "/proc/self/exe",
            arguments: [
                "labvm", "--description-fd", "\(Channel.description)", "--lock-fd", "\(Channel.lock)",
                "--report-fd", "\(Channel.report)",
            ], descriptors: [(input, Channel.description), (lock, Channel.lock), (writing, Channel.report)], flags: 0
        ).run()
        return (processID, reading)
    }

    /// How the VM ended.
    private struct End {
        /// Nil: it did not get to say.
        var record: ExitRecord?
        var signal: Int32

        var words: String {
            if let record { return record.message ?? record.reason.words }
            return signal == 0 ? "its process ended without a word" : "its process was ended by signal \(signal)"
        }

        func asksForRestart(_ policy: VMDescription.Restart) -> Bool {
            switch record?.reason {
            case .quit: false
            case nil, .failed, .crashed: true
            case .debugExit where record?.status != 0: true
            case .guestPowerOff, .guestReset, .debugExit: policy == .always
            }
        }
    }

    private func end(since start: Double, _ status: Int32) -> End {
        let bytes = (try? StateFile.read(VMFile.exitRecord.path(in: folder))) ?? nil
        let record = bytes.flatMap { JSONCoding.decode(ExitRecord.self, from: $0) }
        return End(record: record.flatMap { $0.endedAt >= start ? $0 : nil }, signal: status & 0x7F)
    }

    private var isStopRequested: Bool { access(VMFile.stopRequest.path(in: folder), F_OK) == 0 }

    /// Waits before the next start.
    /// - Returns: false when labctl wants an end meanwhile.
    private func waitToRestart(_ reason: String) -> Bool {
        let milliseconds = pause
        pause = min(2 * pause, Self.longestPauseMilliseconds)
        note(RestartRecord(count: count, reason: reason, nextAt: WallClock.now + Double(milliseconds) / 1000))
        let deadline = WallClock.monotonicNanoseconds + milliseconds * 1_000_000
        while WallClock.monotonicNanoseconds < deadline {
            if isStopRequested { return false }
            _ = poll(nil, 0, Self.lookMilliseconds)
        }
        if isStopRequested { return false }
        count += 1
        note(RestartRecord(count: count, reason: reason, startedAt: WallClock.now))
        let event = LifecycleEvent(
            time: WallClock.now, vm: description.name, event: "restarted",
            detail: "restart \(count), after \(milliseconds / 1000) s: \(reason)")
        // History never stops a VM.
        try? events?.append(event)
        return true
    }

    private func note(_ record: RestartRecord) {
        do throws(HostError) {
            try StateFile.replace(VMFile.restarts.path(in: folder), with: JSONCoding.encode(record))
        } catch {
            ProcessLog.say(error.description)
        }
    }
}
