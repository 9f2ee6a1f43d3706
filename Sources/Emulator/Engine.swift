/// What executes guest instructions.
public enum Engine: Sendable, Equatable {
    /// One decoded instruction at a time: the reference.
    case interpreter
    /// Hot code as code of the host's own, the rest interpreted.
    case translator
    /// Both in lockstep: the run stops at the first difference.
    case verify
}
