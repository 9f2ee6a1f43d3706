/// Where fields of `CPUState` lie from the state pointer, in bytes: what generated code addresses.
enum StateOffset {
    private static func of<T>(_ path: KeyPath<CPUState, T>) -> Int {
        guard let offset = MemoryLayout<CPUState>.offset(of: path) else { fatalError("a computed field has no place") }
        return offset
    }
    private static func native<T>(_ path: KeyPath<NativeState, T>) -> Int {
        guard let offset = MemoryLayout<NativeState>.offset(of: path) else {
            fatalError("a computed field has no place")
        }
        return of(\.native) + offset
    }
    private static func fpu<T>(_ path: KeyPath<FPUState, T>) -> Int {
        guard let offset = MemoryLayout<FPUState>.offset(of: path) else { fatalError("a computed field has no place") }
        return of(\.fpu) + offset
    }

    static let budget = of(\.budget), rip = of(\.rip), flagsRest = of(\.flagsRest), cr4 = of(\.cr4)
    static let interruptRequest = of(\.interruptRequest), fpuTrapped = of(\.fpuTrapped)
    static let kernelGSBase = of(\.kernelGSBase)
    static let flags = native(\.flags), hostStack = native(\.hostStack), jumpKey = native(\.jumpKey),
        codeBase = native(\.codeBase)
    static let exitSlot = native(\.exitSlot), exitFallback = native(\.exitFallback)
    static let xmmLive = native(\.xmmLive), x87Live = native(\.x87Live)
    static let scratch = native(\.scratch), groups = native(\.groups), hostMXCSR = native(\.hostMXCSR)
    static let plainFS = native(\.plainFS), plainGS = native(\.plainGS), x87Image = native(\.x87Image)
    static let xmm = fpu(\.xmm), mxcsr = fpu(\.mxcsr), x87Control = fpu(\.control), x87Status = fpu(\.status)

    static func gpr(_ register: Int) -> Int { register * 8 }
    /// Base of a segment register.
    static func segmentBase(_ index: Int) -> Int { segments + index * MemoryLayout<Segment>.stride + baseInSegment }
    static func selector(_ index: Int) -> Int { segments + index * MemoryLayout<Segment>.stride + selectorInSegment }
    private static let selectorInSegment = MemoryLayout<Segment>.offset(of: \Segment.selector) ?? 0
    private static let segments = of(\.segments)
    private static let baseInSegment = MemoryLayout<Segment>.offset(of: \Segment.base) ?? 0

    /// Loads, or stores, at a privilege: where the TLB table begins.
    static func tlb(user: Bool, write: Bool) -> Int {
        CPUArena.tlbOffset + ((user ? 2 : 0) + (write ? 1 : 0)) * TLBTables.entryCount * MemoryLayout<TLBEntry>.stride
    }
    /// A page window and its fields, and the byte that holds its bit.
    static func window(_ number: Int) -> Int { CPUArena.windowOffset + number * PageWindows.stride }
    static let pageInWindow = MemoryLayout<PageWindow>.offset(of: \.page) ?? 0
    static let limitInWindow = MemoryLayout<PageWindow>.offset(of: \.limit) ?? 0
    static let addendInWindow = MemoryLayout<PageWindow>.offset(of: \.addend) ?? 0
    static let patienceInWindow = MemoryLayout<PageWindow>.offset(of: \.patience) ?? 0
    static func openWindows(_ number: Int) -> Int {
        CPUArena.windowOffset + PageWindows.count * PageWindows.stride + number / 8
    }
    /// Entry of the jump cache for a linear address.
    static func jump(_ linear: UInt64) -> Int {
        CPUArena.jumpOffset + Int(linear & UInt64(CPUArena.jumpCount - 1)) * 16
    }
}
