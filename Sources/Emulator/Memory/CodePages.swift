import Glibc

/// Which physical pages hold decoded code, as one table over all page numbers that memory can have: asked by every slow
/// store, so a load answers it.
final class CodePages {
    struct Page {
        /// Blocks that start in the page, and blocks whose last instruction ends in it.
        var first: UnsafeMutablePointer<Block>?
        var crossing: UnsafeMutablePointer<Block>?
        /// One bit for each 128 bytes that some block covers.
        var lines: UInt32
        /// Stores that hit the page but none of its code, since it last lost its code.
        var strayStores: UInt16
        /// How often the page was given up for its stray stores; each time it takes twice as many.
        var patience: UInt16
    }

    private let pages: UnsafeMutablePointer<Page>
    private let count: UInt64
    private let byteCount: Int

    /// - Parameter limit: physical addresses below it can hold code, in bytes.
    init(limit: UInt64) throws(MachineError) {
        count = limit >> 12
        byteCount = Int(count) * MemoryLayout<Page>.stride
        // Untouched parts cost nothing, and zero bytes are an empty page.
        guard
            let mapped = mmap(
                nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            mapped != MAP_FAILED
        else { throw .outOfMemory(requestedBytes: UInt64(byteCount)) }
        pages = mapped.assumingMemoryBound(to: Page.self)
    }

    deinit { munmap(pages, byteCount) }

    /// The record of the page of a physical address; nil where no memory can be.
    @inline(__always) func page(_ physical: UInt64) -> UnsafeMutablePointer<Page>? {
        let number = physical >> 12
        return number < count ? pages + Int(truncatingIfNeeded: number) : nil
    }

    @inline(__always) func hasCode(_ physical: UInt64) -> Bool {
        guard let page = page(physical) else { return false }
        return page.pointee.lines != 0
    }

    /// Bits of the 128-byte lines that a range of one page touches.
    static func lines(_ physical: UInt64, _ length: UInt64) -> UInt32 {
        let first = physical >> 7 & 31, last = (physical &+ max(length, 1) &- 1) >> 7 & 31
        return UInt32(truncatingIfNeeded: (UInt64(2) << last) &- (UInt64(1) << first))
    }
}
