import Glibc

/// Gives pages of zeros back to the host while the guest sleeps: what it freed and cleared costs nothing then. A piece at each sleep, so
/// that nobody waits for it, and a long pause between two passes.
struct ZeroPageScan {
    /// Looked at before one sleep: some tens of microseconds.
    static let pieceBytes = 256 << 10
    /// Guest nanoseconds before the first pass (what boots is not idle) and between two.
    static let pause: UInt64 = 20_000_000_000
    /// Shorter sleeps are left alone.
    static let shortestSleep: UInt64 = 1_000_000

    private var next = 0
    private var resumesAt = ZeroPageScan.pause

    /// Looks at the next piece, where it is time to.
    /// - Parameters:
    ///   - memory: private anonymous memory, page-aligned: what is given back reads as zeros again.
    ///   - sleep: how long the guest is going to sleep, in nanoseconds.
    mutating func step(_ memory: UnsafeMutableRawBufferPointer, now: UInt64, sleep: UInt64) {
        guard now >= resumesAt, sleep >= Self.shortestSleep else { return }
        let end = min(next + Self.pieceBytes, memory.count)
        Self.giveBack(UnsafeMutableRawBufferPointer(rebasing: memory[next..<end]))
        next = end
        if next == memory.count {
            next = 0
            resumesAt = now + Self.pause
        }
    }

    /// Gives back all pages of zeros of a range of whole pages.
    static func giveBack(_ memory: UnsafeMutableRawBufferPointer) {
        guard let base = memory.baseAddress else { return }
        var runStart: Int?
        for page in stride(from: 0, through: memory.count, by: StateFormat.pageBytes) {
            let isZero =
                page < memory.count
                && MemoryPages.isZero(
                    UnsafeRawBufferPointer(rebasing: memory[page..<min(page + StateFormat.pageBytes, memory.count)]))
            if isZero {
                runStart = runStart ?? page
            } else if let start = runStart {
                // SAFETY: the run lies inside the buffer, whose owner has it mapped; it holds zeros, and does afterwards.
                _ = madvise(base + start, page - start, MADV_DONTNEED)
                runStart = nil
            }
        }
    }
}
