import Glibc

/// One slot of an IDE channel: the registers, the data window and what disk and CD-ROM have in common.
/// The class itself is an empty slot: registers can be written, commands go nowhere, status reads 0.
class IDEDrive {
    /// Bytes a drive holds at once: a PIO block, an ATAPI burst or one step of a DMA transfer.
    static let bufferBytes = 128 * 1024

    unowned let channel: IDEChannel
    /// 0 master, 1 slave.
    let unit: Int
    var registers = TaskFile()
    let buffer: UnsafeMutableRawBufferPointer
    /// The part of `buffer` that the data port still has to move while DRQ is set.
    private(set) var windowStart = 0
    private(set) var windowEnd = 0
    private(set) var windowIsInput = true
    /// A DMA command waits for the host to start the bus master.
    private(set) var waitsForDMA = false
    /// Mode that SET FEATURES chose, as the identify words 62, 63 and 88 report it.
    var transferMode = IDETransferMode()

    var isPresent: Bool { false }

    init(channel: IDEChannel, unit: Int, bufferBytes: Int = 0) {
        self.channel = channel
        self.unit = unit
        buffer = .allocate(byteCount: bufferBytes, alignment: 4096)
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
    }

    deinit { buffer.deallocate() }

    // MARK: For subclasses

    /// A command was written and the drive is neither busy nor asking for data.
    func execute(_ command: UInt8) {}
    /// The host has read or written the whole data window.
    func windowDone() {}
    /// The bus master runs and a DMA command waits for it.
    func dmaStarted() {}
    /// The time of a step that was asked for with `later` is over.
    func perform(_ step: IDEStep) {
        switch step.action {
        case .finish: finish()
        case .fail: fail(step.error)
        default: break
        }
    }
    /// Fills the registers as after a reset or diagnostics (9.12): the class of device is told by them. For an empty
    /// slot the other drive answers with a disk's signature, and only the status says that nothing is there.
    func setSignature() {
        registers.count = 1
        registers.lbaLow = 1
        registers.lbaMid = 0
        registers.lbaHigh = 0
        registers.device &= 0xF0
    }
    /// Forgets the running command and the modes that a reset clears.
    func resetState(powerOn: Bool) {}

    /// Opens `count` bytes of the buffer to the data port and sets DRQ.
    final func openWindow(_ count: Int, input: Bool) {
        windowStart = 0
        windowEnd = min(count, buffer.count)
        windowIsInput = input
        registers.status = IDEStatus.idle | IDEStatus.dataRequest
    }

    /// The same for data that starts inside the buffer.
    final func openWindow(_ range: Range<Int>, input: Bool) {
        openWindow(range.upperBound, input: input)
        windowStart = min(range.lowerBound, windowEnd)
    }

    final func closeWindow() {
        windowStart = 0
        windowEnd = 0
    }

    /// Ends a command well and interrupts.
    final func finish() {
        registers.status = IDEStatus.idle
        registers.error = 0
        channel.raiseInterrupt()
    }

    /// Ends a command with an error and interrupts.
    final func fail(_ error: UInt8) {
        closeWindow()
        registers.status = IDEStatus.idle | IDEStatus.error
        registers.error = error
        channel.raiseInterrupt()
    }

    /// Busy for a moment, then ends well: commands without data.
    final func finishLater() {
        setBusy()
        later(IDETiming.command, .finish)
    }

    final func failLater(_ error: UInt8) {
        setBusy()
        var step = IDEStep(.fail)
        step.unit = unit
        step.error = error
        channel.later(IDETiming.command, step)
    }

    /// Takes a step of this drive after some guest time.
    final func later(_ nanoseconds: UInt64, _ action: IDEStep.Action, count: Int = 0) {
        channel.later(nanoseconds, step(action, count: count))
    }

    final func step(_ action: IDEStep.Action, count: Int = 0) -> IDEStep {
        var step = IDEStep(action)
        step.unit = unit
        step.count = count
        return step
    }

    final func setBusy() { registers.status = IDEStatus.busy | IDEStatus.ready | IDEStatus.seekComplete }

    /// Waits for the bus master, or begins at once where the driver has started it already.
    final func beginDMA() {
        registers.status = IDEStatus.idle | IDEStatus.dataRequest
        waitsForDMA = true
        if channel.busMaster.isActive { busMasterStarted() }
    }

    final func busMasterStarted() {
        guard waitsForDMA else { return }
        waitsForDMA = false
        setBusy()
        dmaStarted()
    }

    /// The descriptors ended before the transfer did: the bus master stops without an interrupt, and the driver
    /// finds out by its timeout (as on the PIIX).
    final func dmaTooShort() {
        channel.busMaster.stop(leavingActive: false)
        registers.status = IDEStatus.idle
    }

    final func reset(powerOn: Bool) {
        closeWindow()
        waitsForDMA = false
        if powerOn { transferMode = IDETransferMode() }
        resetState(powerOn: powerOn)
        setSignature()
    }

    // MARK: State

    /// Bytes at the start of the buffer that are still needed.
    var heldBytes: Int {
        if windowEnd > windowStart { return windowIsInput ? windowEnd : windowStart }
        guard let step = channel.pending, step.unit == unit else { return 0 }
        return step.count
    }

    func exchange(_ c: StateCoder) {
        c.group("registers") { registers.exchange(c) }
        c.field("windowStart", &windowStart, in: 0...buffer.count)
        c.field("windowEnd", &windowEnd, in: 0...buffer.count)
        c.check(windowStart <= windowEnd, "a data window that ends before it begins")
        c.field("windowIsInput", &windowIsInput)
        c.field("waitsForDMA", &waitsForDMA)
        c.group("transferMode") { transferMode.exchange(c) }
    }

    /// The part of the buffer that is in use; last, as the other fields tell how much that is.
    final func exchangeBuffer(_ c: StateCoder) {
        var held = c.isRestoring ? [] : Array(buffer[0..<min(heldBytes, buffer.count)])
        c.field("buffer", &held, count: 0...buffer.count)
        if c.isRestoring { buffer.copyBytes(from: held) }
    }

    // MARK: Data port

    /// Moves up to `count` bytes to the host; returns how many there were.
    final func readData(into target: UnsafeMutableRawPointer, count: Int) -> Int {
        guard isPresent, windowIsInput, let base = buffer.baseAddress else { return 0 }
        let moved = min(count, windowEnd - windowStart)
        guard moved > 0 else { return 0 }
        // SAFETY: the window lies inside the buffer and the caller has room for `count` bytes.
        memcpy(target, base + windowStart, moved)
        windowStart += moved
        if windowStart == windowEnd { endWindow() }
        return moved
    }

    /// Takes up to `count` bytes from the host; returns how many were wanted.
    final func writeData(from source: UnsafeRawPointer, count: Int) -> Int {
        guard isPresent, !windowIsInput, let base = buffer.baseAddress else { return 0 }
        let moved = min(count, windowEnd - windowStart)
        guard moved > 0 else { return 0 }
        // SAFETY: as in `readData`.
        memcpy(base + windowStart, source, moved)
        windowStart += moved
        if windowStart == windowEnd { endWindow() }
        return moved
    }

    private func endWindow() {
        closeWindow()
        registers.status &= ~IDEStatus.dataRequest
        windowDone()
    }

    /// A slice of the buffer for a backend or the bus master; empty when it would not fit.
    final func slice(_ count: Int, from start: Int = 0) -> UnsafeMutableRawBufferPointer {
        guard start >= 0, count > 0, start + count <= buffer.count else { return .init(start: nil, count: 0) }
        return .init(rebasing: buffer[start..<start + count])
    }
}
