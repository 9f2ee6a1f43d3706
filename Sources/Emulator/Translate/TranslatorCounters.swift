/// What the translator did since power-on: for `info jit`, and for choosing what to do next.
public struct TranslatorCounters: Sendable {
    /// Regions made, and the guest instructions and host bytes in them.
    public var regions: UInt64 = 0, instructions: UInt64 = 0, hostBytes: UInt64 = 0
    /// Regions thrown away because their guest code changed, and times that everything was.
    public var killed: UInt64 = 0, flushes: UInt64 = 0
    /// Accesses that missed the TLB in line.
    public var fills: UInt64 = 0
    /// Those that lay across two pages, and those whose page cannot be in the TLB (code, devices) or faulted.
    public var crossings: UInt64 = 0, refusals: UInt64 = 0
    /// Operations of the interpreter's that translated code called for.
    public var helps: UInt64 = 0
    /// Jumps to code that the jump cache did not know; those that it knew from before the address space changed; those for which there was none.
    public var finds: UInt64 = 0, returns: UInt64 = 0, strangers: UInt64 = 0
    /// Returns to the run loop: to look something up, because a fault or something else is pending, to interpret.
    public var lookups: UInt64 = 0, faults: UInt64 = 0, boundaries: UInt64 = 0, interpreted: UInt64 = 0

    /// The operations that were called for most often.
    public var operations: [(name: String, value: UInt64)] = []

    /// Names and values, in the order to show them in.
    public var rows: [(name: String, value: UInt64)] {
        [
            ("regions", regions), ("guest-instructions", instructions), ("host-bytes", hostBytes),
            ("regions-killed", killed), ("flushes", flushes), ("tlb-fills", fills), ("tlb-crossings", crossings),
            ("tlb-refusals", refusals), ("helper-calls", helps),
            ("jump-cache-misses", finds), ("jump-cache-returns", returns), ("jump-cache-strangers", strangers),
            ("exits-lookup", lookups),
            ("exits-fault", faults), ("exits-boundary", boundaries), ("exits-interpret", interpreted),
        ] + operations
    }
}
