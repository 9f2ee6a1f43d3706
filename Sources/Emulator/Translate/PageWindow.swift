/// The page that one access of a loop was last seen in.
///
/// The look-up of a TLB entry waits for the address, and the access for the entry. In loops most accesses stay in a page for long: such a one
/// keeps that page's addend at a place of its own, and only compares. Windows hold nothing that was not in the TLB, and are shut
/// whenever anything leaves it.
struct PageWindow {
    /// Linear address of the page.
    var page: UInt64 = 0
    /// How far into the page an access may begin, and one more; 0: the window is shut.
    var limit: UInt64 = 0
    /// Host minus guest address.
    var addend: UInt64 = 0
    /// How often it may still be moved until somebody asks whether it is worth it.
    var patience: Int64 = PageWindow.movesUntilAsked

    static let movesUntilAsked: Int64 = 256
    /// Moving that often within so many slices (RunLoop.swift) costs more than looking up each time.
    static let slicesOfPatience: UInt64 = 64
}

/// All windows of a CPU, in its arena.
struct PageWindows {
    static let count = 4096
    static let stride = MemoryLayout<PageWindow>.stride
    /// Windows, and one bit for each that is open.
    static let bytes = count * stride + count / 8

    let windows: UnsafeMutablePointer<PageWindow>
    private let open: UnsafeMutablePointer<UInt64>

    /// - Parameter memory: `bytes` of it.
    init(_ memory: UnsafeMutableRawPointer) {
        windows = memory.bindMemory(to: PageWindow.self, capacity: Self.count)
        windows.initialize(repeating: PageWindow(), count: Self.count)
        open = (memory + Self.count * Self.stride).bindMemory(to: UInt64.self, capacity: Self.count / 64)
        open.initialize(repeating: 0, count: Self.count / 64)
    }

    /// Costs what is open.
    func shut() {
        for word in 0..<Self.count / 64 where open[word] != 0 {
            var bits = open[word]
            open[word] = 0
            while bits != 0 {
                windows[word * 64 + bits.trailingZeroBitCount].limit = 0
                bits &= bits - 1
            }
        }
    }
}
