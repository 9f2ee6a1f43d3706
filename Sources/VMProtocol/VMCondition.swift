import Glibc

/// How a running VM is, beyond "its process lives": `condition.json` in its state folder.
///
/// The VM process sets the file's space aside before the guest runs and then overwrites it in place: it can still say that
/// the disk is full when the disk is full.
public struct VMCondition: Codable, Sendable, Equatable {
    /// Why the guest does not run at present; nil while it runs.
    public var paused: String?
    /// What the host cannot do and the guest does not feel yet: console output that waits for room.
    public var trouble: String?
    /// How often the guest has reset itself or was reset since the VM started.
    public var resets = 0
    /// How the VM ended, where `exit.json` could not be written.
    public var exit: ExitRecord?

    public init() {}

    /// The condition that a VM's folder has; nil where there is none or it is just being written.
    public static func read(in folder: String) -> VMCondition? {
        guard let bytes = try? StateFile.read(VMFile.condition.path(in: folder)) else { return nil }
        return JSONCoding.decode(VMCondition.self, from: bytes)
    }
}

/// The file that a VM process keeps its condition in.
public final class ConditionFile: Sendable {
    /// Bytes set aside; longer texts lose their end.
    private static let sizeBytes = 4096
    private static let longestText = 600

    private let file: Descriptor

    /// Makes the file and sets its space aside.
    public init(in folder: String) throws(HostError) {
        let path = VMFile.condition.path(in: folder)
        file = try Descriptor.open(path, O_RDWR | O_CREAT)
        let code = posix_fallocate(file.raw, 0, off_t(Self.sizeBytes))
        // A file system that cannot set space aside still takes writes while it has room.
        if code == ENOSPC || code == EDQUOT { throw HostError("make", path, code: code) }
    }

    /// Replaces what the file says.
    public func write(_ condition: VMCondition) {
        var condition = condition
        condition.paused = condition.paused.map { String($0.prefix(Self.longestText)) }
        condition.trouble = condition.trouble.map { String($0.prefix(Self.longestText)) }
        if let message = condition.exit?.message { condition.exit?.message = String(message.prefix(Self.longestText)) }
        var bytes = JSONCoding.encode(condition)
        guard bytes.count < Self.sizeBytes else { return }
        bytes += [UInt8](repeating: UInt8(ascii: " "), count: Self.sizeBytes - bytes.count - 1) + [UInt8(ascii: "\n")]
        _ = bytes.withUnsafeBytes { pwrite(file.raw, $0.baseAddress, $0.count, 0) }
    }
}
