/// What a slow path of translated code has to know: which instructions the interpreter runs instead, and where the code
/// goes on. Translated code names it by number.
struct SlowPath {
    /// The first instruction, in its block, and how many.
    var first: UnsafePointer<DecodedOp>
    var count: Int32
    /// Instructions of the block from the first on: given back to the budget when it faults.
    var remaining: Int32
    /// Instruction pointer of the block's first byte; in relocatable code from the page's first byte on.
    var start: UInt64
    var isRelative: Bool
    /// Where the code goes on when all of them are done.
    var resume: UInt64
    /// The access that could not be answered, for another try; 0 bytes: none.
    var bytes: Int32
    var writes: Bool
    /// The instructions read or write arithmetic flags.
    var touchesFlags: Bool
    /// One of the instructions may see the x87's state: it must be in `FPUState` then.
    var seesX87: Bool
    /// The code at `resume` expects XMM registers, or the x87 stack, in the host's registers.
    var needsXMM: Bool
    var needsX87: Bool
    /// The instructions' block, and whether they share one check: it is translated without groups when that goes wrong too often.
    var block: UnsafeMutablePointer<Block>?
    var isGroup: Bool
    var groupMisses: Int32 = 0
    /// The access's window; -1: none.
    var window: Int32 = -1
    /// When that was last moved too often.
    var windowSlice: UInt64 = 0
    /// When a group last went wrong.
    var groupSlice: UInt64 = 0

    /// How often a group may be interpreted, each slice counting half of the one before, until its block is translated without groups.
    static let groupPatience: Int32 = 64
}
