/// What can go wrong when a PC is built. A running guest never throws: its faults are its own.
public enum MachineError: Error, Sendable, CustomStringConvertible {
    case outOfMemory(requestedBytes: UInt64)
    /// A file that the machine needs (firmware, kernel, initrd) cannot be used; `reason` is a sentence.
    case badFile(path: String, reason: String)
    case badConfiguration(String)
    /// A saved state cannot be restored, or a machine not be saved; the text says why and begins with a verb or a section.
    case badState(String)

    public var description: String {
        switch self {
        case .outOfMemory(let bytes): "the host has no \(bytes / 1_048_576) MiB of address space for guest memory"
        case .badFile(let path, let reason): "\(path): \(reason)"
        case .badConfiguration(let reason): reason
        case .badState(let reason): "the saved state \(reason)"
        }
    }
}
