import Glibc

/// One mapping that holds what translated code reaches from one register: a stack, and above it the state, the software TLB and the
/// translated jump cache, each at a fixed distance from the state.
///
/// Translated code runs with the host's RSP at the state (docs/decisions/0303-translator.md): what lies below is a
/// normal stack for calls and signals.
///
///     guard page | stack 1 MiB | CPUState 16 KiB | TLB 256 KiB | jump cache 1 MiB | page windows 129 KiB | origins 512 KiB
struct CPUArena: ~Copyable {
    static let guardBytes = 4096
    static let stackBytes = 1 << 20
    /// Room for the state and what the translator keeps behind it.
    static let stateBytes = 16384
    static let tlbOffset = stateBytes
    static let tlbBytes = 4 * TLBTables.entryCount * MemoryLayout<TLBEntry>.stride
    static let jumpOffset = tlbOffset + tlbBytes
    /// As many as 16 bits of an address tell apart: a 16-bit move is the index.
    static let jumpCount = 1 << 16
    static let jumpBytes = jumpCount * 16
    static let windowOffset = jumpOffset + jumpBytes
    static let originOffset = windowOffset + PageWindows.bytes
    private static let byteCount = guardBytes + stackBytes + originOffset + jumpCount * 8

    private let base: UnsafeMutableRawPointer

    init() {
        guard MemoryLayout<CPUState>.size <= Self.stateBytes,
            let mapped = mmap(
                nil, Self.byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            mapped != MAP_FAILED
        else { fatalError("no \(Self.byteCount) bytes of memory for a CPU") }
        mprotect(mapped, Self.guardBytes, PROT_NONE)
        base = mapped
    }

    deinit { munmap(base, Self.byteCount) }

    /// Where the state goes; aligned to 4096.
    var state: UnsafeMutableRawPointer { base + Self.guardBytes + Self.stackBytes }
    var tlb: UnsafeMutableRawPointer { state + Self.tlbOffset }
    var windows: UnsafeMutableRawPointer { state + Self.windowOffset }
    /// For each place of the jump cache the physical page and mode that its entry was found for; 0: it depends on more than one page.
    var origins: UnsafeMutablePointer<UInt64> { (state + Self.originOffset).assumingMemoryBound(to: UInt64.self) }
    /// Pairs of linear address XOR `CPUState.jumpKey`, and host address of an entry.
    var jumps: UnsafeMutablePointer<UInt64> { (state + Self.jumpOffset).assumingMemoryBound(to: UInt64.self) }
}
