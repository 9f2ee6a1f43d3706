import Glibc
import LabSpec
import VMProtocol

/// What can be said to a VM that shall end.
struct Stopper {
    private let progress: ProgressSink

    init(_ orchestrator: LabOrchestrator) { self.init(orchestrator.progress) }

    init(_ progress: @escaping ProgressSink) { self.progress = progress }

    /// How long a process may take to answer.
    private static let answerMilliseconds: UInt64 = 2000

    /// Presses the power button.
    /// - Returns: whether the VM took note.
    func powerDown(_ vm: VMFolder) -> Bool {
        do {
            try QMPClient(vm, limitMilliseconds: Self.answerMilliseconds).execute("system_powerdown")
            return true
        } catch {
            return false
        }
    }

    /// Tells the process to end.
    /// - Returns: the process, where it could be reached.
    func quit(_ vm: VMFolder) -> Int32? {
        guard let client = try? QMPClient(vm, limitMilliseconds: Self.answerMilliseconds) else { return nil }
        _ = try? client.execute("quit")
        return client.peerProcessID
    }

    /// The process of this user that has a VM's lock open. In its sandbox a process does not show its descriptors to anybody
    /// but root; its socket still tells who listens.
    func lockHolder(_ vm: VMFolder) -> Int32? {
        guard let path = Folder.real(vm.file(.lock)) else { return nil }
        let holder = Folder.names(in: "/proc").lazy.compactMap { Int32($0) }.first { number in
            number != getpid()
                && Folder.names(in: "/proc/\(number)/fd").contains { Folder.link("/proc/\(number)/fd/\($0)") == path }
        }
        return holder ?? QMPClient.listener(of: vm)
    }

    /// So that the end of the process is not taken for an accident.
    func markStopRequested(_ vm: VMFolder) {
        // The VM's watcher looks for this file.
        do throws(HostError) {
            _ = try Descriptor.open(vm.file(.stopRequest), O_WRONLY | O_CREAT)
        } catch {
            progress(.warning(error.description))
        }
        guard var record = vm.recordReading.known, record.run != nil else { return }
        record.run?.stopRequested = true
        do {
            try vm.write(record)
        } catch {
            progress(.warning(error.message))
        }
    }
}
