/// Where a VM comes from that is not switched on but goes on from a saved machine.

/// `from_snapshot`, with `warm`.
public enum MachineOrigin: Sendable, Equatable {
    /// A snapshot of this lab.
    case snapshot(String)
    /// A VM like this one, booted and saved once.
    case warm(WarmRecipe)

    /// What `from_snapshot` says in place of a snapshot's name.
    public static let warmName = "warm"
}

/// `warm`: what is done with the machine between its boot and the moment at which it is saved.
public struct WarmRecipe: Sendable, Equatable {
    /// Behind `ready`, in order.
    public var steps: [LabStep]
    /// For all of it.
    public var timeout: LabDuration
    public var spans: SectionSpans

    public init(steps: [LabStep] = [], timeout: LabDuration = .minutes(30)) {
        self.steps = steps
        self.timeout = timeout
        self.spans = SectionSpans()
    }
}

/// `identity`: what is done in a clone that is not to be its twin.
public enum GuestIdentity: Sendable, Equatable {
    /// The ready-made steps for Debian.
    case debian
    case steps([LabStep])
}
