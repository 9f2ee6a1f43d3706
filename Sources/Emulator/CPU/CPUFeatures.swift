/// What CPUID shows and therefore what may execute. The default is x86-64-v2, the level that Debian 12 and its
/// successors are built for.
public struct CPUFeatures: Sendable {
    public init() {}
}
