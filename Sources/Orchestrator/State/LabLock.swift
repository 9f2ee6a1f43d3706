import Glibc
import VMProtocol

/// Held while a verb changes a lab; a second one is refused, not queued.
public final class LabLock: Sendable {
    private let lock: FileLock

    private init(_ lock: FileLock) { self.lock = lock }

    /// Locks a lab, making its folder where there is none.
    /// - Parameter verb: what is being done, for the message that others get.
    public static func take(_ folder: LabFolder, verb: String) throws(OrchestratorError) -> LabLock {
        if let error = Folder.make(folder.path) { throw OrchestratorError(error) }
        guard let lock = try withHostErrors({ () throws(HostError) in try FileLock.tryLock(folder.lockPath) }) else {
            let bytes = (try? StateFile.read(folder.lockPath)) ?? nil
            let holder = bytes.map { String(decoding: $0, as: UTF8.self) } ?? ""
            throw OrchestratorError(
                .locked,
                "the lab is locked by another labctl\(holder.isEmpty ? "" : " (\(holder))"); wait until it is done")
        }
        lock.annotate("\(verb), process \(getpid())")
        return LabLock(lock)
    }

    deinit { lock.annotate("") }
}
