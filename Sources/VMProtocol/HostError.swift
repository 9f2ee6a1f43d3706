import Glibc

/// A host call that failed, with what was attempted on what.
public struct HostError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A verb phrase: `open`, `connect to`, `lock`.
    public let operation: String
    /// The file or socket.
    public let path: String
    /// The system's error number; 0 where `reason` says it all.
    public let code: Int32
    /// Said instead of the system's words when not empty.
    public let reason: String

    public init(_ operation: String, _ path: String, code: Int32 = errno, reason: String = "") {
        self.operation = operation
        self.path = path
        self.code = code
        self.reason = reason
    }

    /// Why, in the system's words or the caller's.
    public var cause: String { reason.isEmpty ? String(cString: strerror(code)) : reason }

    public var description: String { "cannot \(operation) \(path): \(cause)" }
}
