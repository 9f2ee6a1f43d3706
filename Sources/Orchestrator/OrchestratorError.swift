import Images
import VMProtocol

/// Why a verb failed: a stable kind for exit codes and scripts, a sentence for people.
public struct OrchestratorError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The stable kinds.
    public enum Kind: String, Sendable {
        /// Another labctl changes this lab.
        case locked
        /// A golden image is missing, differs from its digest or changed below overlays.
        case image
        /// A host call failed.
        case host
        /// The disk is full.
        case noSpace
        /// What labctl knows of a lab or VM cannot be read.
        case state
        /// The lab file asks for something that this version cannot do.
        case unsupported
        /// A VM is not there, not running, or did not do what it was asked.
        case vm
        /// Ctrl-C or SIGTERM.
        case interrupted
        /// Nothing happened in time.
        case timeout
    }

    public let kind: Kind
    public let message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var description: String { message }

    init(_ error: HostError) { self.init(.host, error.description) }
    init(_ error: ImageError) { self.init(.image, error.sentence) }
}

/// Runs `body` with host errors as the library's own.
func withHostErrors<Result>(_ body: () throws(HostError) -> Result) throws(OrchestratorError) -> Result {
    do { return try body() } catch { throw OrchestratorError(error) }
}

/// Runs `body` with image errors as the library's own.
func withImageErrors<Result>(_ body: () throws(ImageError) -> Result) throws(OrchestratorError) -> Result {
    do { return try body() } catch { throw OrchestratorError(error) }
}
