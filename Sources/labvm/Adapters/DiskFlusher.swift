import Glibc
import Synchronization
import VMProtocol

/// Flushes disks every few seconds, beside the guest: firmware and simple guests never do, and the host may go down.
final class DiskFlusher: Sendable {
    private static let periodSeconds: UInt32 = 2
    private let disks: [DiskAdapter]
    private let isStopped = Mutex(false)

    init(_ drives: [Drive]) {
        disks = drives.filter { $0.removable == nil }.compactMap { $0.medium?.backend }.filter { !$0.isReadOnly }
    }

    /// Starts the thread, where there is a disk to write to.
    func start() throws(HostError) {
        guard !disks.isEmpty else { return }
        try HostThread.start(named: "flusher", stackBytes: 1 << 20) { [self] in
            while true {
                sleep(Self.periodSeconds)
                // Under the lock: after `stop` no flush runs that could meet a closed image.
                let goesOn = isStopped.withLock { isStopped in
                    if !isStopped { for disk in disks { disk.flushIfDirty() } }
                    return !isStopped
                }
                if !goesOn { return }
            }
        }
    }

    /// No flush begins after this, and none is under way.
    func stop() { isStopped.withLock { $0 = true } }
}
