/// What a channel or a drive does when the time of a command, or of a part of it, is over. Plain data, so that a command in flight
/// can be saved and go on in another process.
struct IDEStep {
    enum Action: UInt8 {
        /// Both drives leave a reset; after diagnostics the master interrupts.
        case softReset = 0, diagnostics
        /// A command without data ends.
        case finish, fail
        /// Disk: the answer in the buffer is shown; the cache is flushed; a block or a DMA step has been read or written; ranges
        /// were discarded.
        case sendBlock, flush, readBlock, writeBlock, readDMA, writeDMA, discard
        /// CD-ROM: identify data; a packet command ends; what is staged goes through the data port or the bus master, or is read first.
        case packetIdentify, packetSuccess, packetFailure, packetBlock, packetDMA, packetRefillBlock, packetRefillDMA
    }

    var action: Action
    /// The drive, 0 or 1.
    var unit = 0
    /// The host could not read, write or flush.
    var hasFailed = false
    /// Bytes of an answer, or sectors moved.
    var count = 0
    /// Error register of a command that fails.
    var error: UInt8 = 0

    init(_ action: Action) { self.action = action }

    mutating func exchange(_ c: StateCoder) {
        c.field("action", &action)
        c.field("unit", &unit, in: 0...1)
        c.field("hasFailed", &hasFailed)
        c.field("count", &count, in: 0...IDEDrive.bufferBytes)
        c.field("error", &error)
    }
}
