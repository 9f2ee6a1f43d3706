import Glibc
import LabSpec
import VMProtocol

/// One VM on its way down: its guest is asked, then its process, then the system. Many can be on their way at once: nothing
/// here waits.
struct StopTask {
    private enum Stage {
        /// The guest was asked to power off.
        case asked(until: UInt64)
        /// The process was told to quit.
        case quitting(processID: Int32?, until: UInt64)
        case killed(processID: Int32, until: UInt64)
    }

    enum Outcome {
        /// - Parameter forced: whether the guest did not do it by itself.
        case stopped(forced: Bool)
        case failed(String)
    }

    /// How long a process may take to obey `quit`, and to end when it is killed.
    private static let quitMilliseconds: UInt64 = 5000

    private let vm: VMFolder
    private let stopper: Stopper
    private var stage: Stage

    /// Asks at once.
    /// - Parameter limitMilliseconds: how long the guest gets to power off by itself; 0 does not ask it.
    init(_ vm: VMFolder, _ orchestrator: LabOrchestrator, limitMilliseconds: UInt64) {
        self.init(vm, orchestrator.progress, limitMilliseconds: limitMilliseconds)
    }

    init(_ vm: VMFolder, _ progress: @escaping ProgressSink, limitMilliseconds: UInt64) {
        self.vm = vm
        stopper = Stopper(progress)
        stopper.markStopRequested(vm)
        if limitMilliseconds > 0, stopper.powerDown(vm) {
            stage = .asked(until: StopTask.deadline(limitMilliseconds))
        } else {
            stage = .quitting(processID: stopper.quit(vm), until: StopTask.deadline(Self.quitMilliseconds))
        }
    }

    private static func deadline(_ milliseconds: UInt64) -> UInt64 {
        WallClock.monotonicNanoseconds + milliseconds * 1_000_000
    }

    /// Takes the next step when it is due.
    /// - Returns: how it ended; nil while it goes on.
    mutating func advance() -> Outcome? {
        guard vm.isRunning else {
            // A process in its sandbox cannot remove what it leaves behind.
            for socket in [vm.consoleSocket, vm.qmpSocket] { unlink(socket) }
            if case .asked = stage { return .stopped(forced: false) }
            return .stopped(forced: true)
        }
        let now = WallClock.monotonicNanoseconds
        switch stage {
        case .asked(let until):
            guard now > until else { return nil }
            stage = .quitting(processID: stopper.quit(vm), until: Self.deadline(Self.quitMilliseconds))
        case .quitting(let known, let until):
            guard now > until else { return nil }
            // A process without a voice: the one that has the lock open is the one.
            guard let processID = known ?? stopper.lockHolder(vm) else {
                return .failed(
                    "\(vm.name) runs, but its process cannot be reached nor found; 'fuser \(vm.file(.lock))' may name it"
                )
            }
            kill(processID, SIGKILL)
            stage = .killed(processID: processID, until: Self.deadline(Self.quitMilliseconds))
        case .killed(let processID, let until):
            if now > until { return .failed("process \(processID) of \(vm.name) does not end") }
        }
        return nil
    }

    /// Goes on until it is over.
    mutating func finish() throws(OrchestratorError) {
        while true {
            switch advance() {
            case .stopped: return
            case .failed(let reason): throw OrchestratorError(.vm, reason)
            case nil: usleep(10_000)
            }
        }
    }
}
