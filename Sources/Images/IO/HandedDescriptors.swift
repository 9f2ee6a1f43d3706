import Glibc
import Synchronization

/// Files that are open already and have a name here: a process in a sandbox is handed descriptors, because it cannot open
/// anything. `FileStorage.open` looks here before it asks the host.
public enum HandedDescriptors {
    private static let names = Mutex<[String: Int32]>([:])

    /// Gives a descriptor a name. It stays the caller's, who keeps it open until `remove`.
    public static func add(_ descriptor: Int32, as name: String) { names.withLock { $0[name] = descriptor } }

    public static func remove(_ name: String) { names.withLock { _ = $0.removeValue(forKey: name) } }

    /// A descriptor of its own for a name; nil when nothing was handed over under it.
    static func open(_ name: String) -> Int32? {
        names.withLock { $0[name] }.map { fcntl($0, F_DUPFD_CLOEXEC, 3) }
    }
}
