import Glibc
import VMProtocol

/// What the process has to say to people: stderr, which the orchestrator sends to `vm.log`.
enum ProcessLog {
    static func say(_ message: String) {
        Descriptor.standardError.writeAll(Array("labvm: \(message)\n".utf8))
    }
}

extension Descriptor {
    /// Never closed: the process keeps its streams to the end.
    static let standardInput = Descriptor(owning: STDIN_FILENO)
    static let standardOutput = Descriptor(owning: STDOUT_FILENO)
    static let standardError = Descriptor(owning: STDERR_FILENO)
}
