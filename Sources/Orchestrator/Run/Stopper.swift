import Glibc
import LabSpec
import VMProtocol

/// Ends VMs: asks the guest, then its process, then the system.
struct Stopper {
    private let orchestrator: LabOrchestrator

    init(_ orchestrator: LabOrchestrator) { self.orchestrator = orchestrator }

    /// How long a process may take to obey `quit`.
    private static let quitMilliseconds: UInt64 = 5000
    private static let pollMicroseconds: UInt32 = 10_000

    /// Stops one VM and returns when its process is gone.
    /// - Parameter powerDownFor: milliseconds that the guest gets to power off by itself; 0 does not ask it.
    func stopNow(_ vm: VMFolder, powerDownFor limit: UInt64) throws(OrchestratorError) {
        guard vm.isRunning else { return }
        markStopRequested(vm)
        if limit > 0, powerDown(vm) {
            if wait(for: vm, milliseconds: limit) { return }
        }
        try force(vm)
    }

    /// Presses the power button.
    /// - Returns: whether the VM took note.
    func powerDown(_ vm: VMFolder) -> Bool {
        do {
            try QMPClient(vm).execute("system_powerdown")
            return true
        } catch {
            return false
        }
    }

    /// Ends the process of a VM.
    func force(_ vm: VMFolder) throws(OrchestratorError) {
        guard vm.isRunning else { return }
        var processID: Int32?
        do throws(OrchestratorError) {
            let client = try QMPClient(vm, limitMilliseconds: 2000)
            processID = client.peerProcessID
            try client.execute("quit")
            if wait(for: vm, milliseconds: Self.quitMilliseconds) { return }
        } catch {
            if !vm.isRunning { return }
        }
        // A process without a voice: the one that has the lock open is the one.
        guard let processID = processID ?? lockHolder(vm) else {
            throw OrchestratorError(
                .vm,
                "\(vm.name) runs, but its process cannot be reached nor found; 'fuser \(vm.file(.lock))' may name it")
        }
        kill(processID, SIGKILL)
        guard wait(for: vm, milliseconds: Self.quitMilliseconds) else {
            throw OrchestratorError(.timeout, "process \(processID) of \(vm.name) does not end")
        }
    }

    /// The process of this user that has a VM's lock open.
    private func lockHolder(_ vm: VMFolder) -> Int32? {
        guard let lock = realpath(vm.file(.lock), nil) else { return nil }
        defer { free(lock) }
        let path = String(cString: lock)
        return Folder.names(in: "/proc").lazy.compactMap { Int32($0) }.first { number in
            number != getpid()
                && Folder.names(in: "/proc/\(number)/fd").contains { Folder.link("/proc/\(number)/fd/\($0)") == path }
        }
    }

    private func wait(for vm: VMFolder, milliseconds: UInt64) -> Bool {
        let deadline = WallClock.monotonicNanoseconds + milliseconds * 1_000_000
        while vm.isRunning {
            if WallClock.monotonicNanoseconds > deadline { return false }
            usleep(Self.pollMicroseconds)
        }
        return true
    }

    /// So that the end of the process is not taken for an accident.
    func markStopRequested(_ vm: VMFolder) {
        guard var record = vm.recordReading.known, record.run != nil else { return }
        record.run?.stopRequested = true
        do {
            try vm.write(record)
        } catch {
            orchestrator.progress(.warning(error.message))
        }
    }
}
