/// How a VM came out of `up` or `reset`.
public struct VMOutcome: Sendable, Equatable, Encodable {
    public enum Result: String, Sendable, Encodable {
        /// Up, and started by this verb.
        case started
        /// Up before already.
        case unchanged
        /// Stopped before and after; its overlays are fresh (`reset`).
        case reset
        case stopped
        case failed
        /// Runs, but its `ready` text did not come in time.
        case notReady = "not-ready"
        /// Not started: a VM that it depends on is not up.
        case skipped
        /// Not done, as the verb was interrupted.
        case interrupted
    }

    public var name: String
    public var result: Result
    /// Why, where it went wrong.
    public var message: String?
    /// Last lines of its console, where it did not become ready.
    public var console: [String]
    /// From its start until it was ready.
    public var seconds: Double?

    public init(
        _ name: String, _ result: Result, message: String? = nil, console: [String] = [], seconds: Double? = nil
    ) {
        self.name = name
        self.result = result
        self.message = message
        self.console = console
        self.seconds = seconds
    }

    /// Whether the VM is what was asked for.
    public var isGood: Bool {
        switch result {
        case .started, .unchanged, .reset, .stopped: true
        case .failed, .notReady, .skipped, .interrupted: false
        }
    }
}
