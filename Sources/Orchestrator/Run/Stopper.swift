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
        // A process without a voice. The socket's peer is the process that listens, not one that got its number later.
        processID = processID ?? listeningProcess(vm)
        guard let processID else {
            throw OrchestratorError(
                .vm,
                "\(vm.name) runs but cannot be reached (its sockets are gone); end its process by hand: "
                    + "'fuser \(vm.file(.lock))' names it")
        }
        kill(processID, SIGKILL)
        guard wait(for: vm, milliseconds: Self.quitMilliseconds) else {
            throw OrchestratorError(.timeout, "process \(processID) of \(vm.name) does not end")
        }
    }

    private func listeningProcess(_ vm: VMFolder) -> Int32? {
        guard let socket = try? UnixSocket.connect(to: vm.qmpSocket) else { return nil }
        var credentials: (Int32, UInt32, UInt32) = (0, 0, 0)
        var length = socklen_t(MemoryLayout.size(ofValue: credentials))
        guard getsockopt(socket.raw, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 else { return nil }
        return credentials.0 > 1 ? credentials.0 : nil
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
        guard var record = vm.readRecord(), record.run != nil else { return }
        record.run?.stopRequested = true
        do {
            try vm.write(record)
        } catch {
            orchestrator.progress(.warning(error.message))
        }
    }
}
