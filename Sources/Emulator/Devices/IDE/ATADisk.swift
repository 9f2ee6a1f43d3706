/// An ATA hard disk (ATA/ATAPI-6, T13/1410D): LBA28, LBA48 and CHS, PIO, multiple and bus-master DMA.
final class ATADisk: IDEDrive {
    static let sectorBytes = 512
    /// Most sectors per interrupt that SET MULTIPLE accepts; a power of two.
    static let maximumMultiple = 16
    /// Ranges of a TRIM list that are discarded in one step, 32 MiB each at most.
    private static let rangesAtOnce = 16

    let backend: any DiskBackend
    let serial: String
    let totalSectors: UInt64
    /// As found at power-on: what a guest writes to the boot sector later does not change it.
    private(set) var geometry: DiskGeometry
    /// Heads and sectors per track that INITIALIZE DEVICE PARAMETERS set.
    private(set) var currentHeads: Int
    private(set) var currentSectors: Int
    /// Zero while SET MULTIPLE has not been given.
    private(set) var multiple = ATADisk.maximumMultiple
    private(set) var isWriteCacheOn = true
    private(set) var isSMARTOn = true

    /// The transfer that is under way.
    private var transfer: ATATransfer?
    private var nextLBA: UInt64 = 0
    private var sectorsLeft = 0
    private var blockSectors = 0
    /// A TRIM command waits for its list of ranges, so many bytes; and what is still to be discarded of a list.
    private var awaitsRanges = false
    private var rangeBytesLeft = 0
    private var ranges: ArraySlice<Range<UInt64>> = []

    override var isPresent: Bool { true }

    init(channel: IDEChannel, unit: Int, backend: any DiskBackend, serial: String) {
        self.backend = backend
        self.serial = serial
        totalSectors = backend.sizeBytes / UInt64(Self.sectorBytes)
        geometry = DiskGeometry(totalSectors: totalSectors, bootSector: Self.firstSector(of: backend))
        currentHeads = geometry.heads
        currentSectors = geometry.sectorsPerTrack
        super.init(channel: channel, unit: unit, bufferBytes: Self.bufferBytes)
    }

    /// Empty when it cannot be read: then there is just no partition table to guess the geometry from.
    private static func firstSector(of backend: any DiskBackend) -> [UInt8] {
        let sector = UnsafeMutableRawBufferPointer.allocate(byteCount: sectorBytes, alignment: 16)
        defer { sector.deallocate() }
        do throws(DiskBackendError) { try backend.read(into: sector, at: 0) } catch { return [] }
        return Array(sector)
    }

    override func resetState(powerOn: Bool) {
        transfer = nil
        awaitsRanges = false
        ranges = []
        sectorsLeft = 0
        guard powerOn else { return }
        currentHeads = geometry.heads
        currentSectors = geometry.sectorsPerTrack
        multiple = Self.maximumMultiple
        isWriteCacheOn = true
        isSMARTOn = true
    }

    override func setSignature() {
        super.setSignature()
        registers.error = 1
        registers.status = IDEStatus.idle
    }

    // MARK: Commands

    override func execute(_ code: UInt8) {
        registers.error = 0
        guard let command = ATACommand(rawValue: code & 0xF0 == 0x10 || code & 0xF0 == 0x70 ? code & 0xF0 : code)
        else { return failLater(IDEError.abort) }
        if let transfer = ATATransfer(command) { return begin(transfer) }
        switch command {
        case .identify: sendBlock(identifyWords())
        case .setFeatures: setFeatures()
        case .setMultiple: setMultiple()
        case .initializeParameters:
            guard registers.count > 0 else { return failLater(IDEError.abort) }
            currentHeads = Int(registers.device & 0x0F) + 1
            currentSectors = Int(registers.count)
            finishLater()
        case .flush, .flushExt: flush()
        case .dataSetManagement: beginTrim()
        case .smart: smart()
        case .readNativeMax: readNativeMax(isExt: false)
        case .readNativeMaxExt: readNativeMax(isExt: true)
        case .checkPower, .checkPowerOld:
            registers.count = 0xFF
            finishLater()
        case .recalibrate, .seek, .idle, .idleOld, .idleImmediate, .idleImmediateOld, .standby, .standbyOld,
            .standbyImmediate, .standbyImmediateOld, .sleep, .sleepOld:
            finishLater()
        default: failLater(IDEError.abort)
        }
    }

    /// Answers with 512 bytes of data through the data port.
    func sendBlock(_ bytes: [UInt8]) {
        transfer = nil
        sectorsLeft = 0
        slice(bytes.count).copyBytes(from: bytes)
        setBusy()
        later(IDETiming.command, .sendBlock, count: bytes.count)
    }

    override func perform(_ step: IDEStep) {
        switch step.action {
        case .sendBlock:
            openWindow(step.count, input: true)
            channel.raiseInterrupt()
        case .flush: step.hasFailed ? fail(IDEError.uncorrectable) : finish()
        case .readBlock, .writeBlock, .readDMA, .writeDMA: transferDone(step)
        case .discard: rangesDone(step)
        default: super.perform(step)
        }
    }

    private func setMultiple() {
        let count = Int(registers.count)
        guard count <= Self.maximumMultiple, count & (count - 1) == 0 else { return failLater(IDEError.abort) }
        multiple = count
        finishLater()
    }

    private func setFeatures() {
        switch registers.feature {
        case 0x02: isWriteCacheOn = true
        case 0x82: isWriteCacheOn = false
        case 0x03: if !transferMode.select(registers.count) { return failLater(IDEError.abort) }
        // Power management, acoustics, look-ahead, reverting to defaults: accepted, nothing to change.
        case 0x05, 0x85, 0x42, 0xC2, 0x55, 0xAA, 0x66, 0xCC: break
        default: return failLater(IDEError.abort)
        }
        finishLater()
    }

    func setSMART(_ enabled: Bool) { isSMARTOn = enabled }

    private func flush() {
        setBusy()
        channel.submit(after: IDETiming.command, step(.flush)) { () throws(DiskBackendError) in try backend.flush() }
    }

    private func readNativeMax(isExt: Bool) {
        guard registers.isLBA else { return failLater(IDEError.abort) }
        let last = totalSectors == 0 ? 0 : totalSectors - 1
        setAddress(isExt ? last : min(last, 0x0FFF_FFFE), isExt: isExt)
        finishLater()
    }

    // MARK: Moving sectors

    private func begin(_ transfer: ATATransfer) {
        let count = transfer.isExt ? registers.sectorCount48 : registers.sectorCount28
        guard let lba = address(isExt: transfer.isExt), lba < totalSectors, UInt64(count) <= totalSectors - lba
        else { return failLater(IDEError.idNotFound) }
        if transfer.kind == .write, backend.isReadOnly { return failLater(IDEError.abort) }
        if transfer.path == .multiple, multiple == 0 { return failLater(IDEError.abort) }
        self.transfer = transfer
        nextLBA = lba
        sectorsLeft = count
        switch (transfer.kind, transfer.path) {
        case (.verify, _):
            nextLBA += UInt64(sectorsLeft)
            sectorsLeft = 0
            complete()
        case (_, .dma): beginDMA()
        case (.read, _): readBlock(after: IDETiming.command)
        case (.write, _): requestBlock()
        }
    }

    private var blockLimit: Int { transfer?.path == .multiple ? multiple : 1 }
    private var byteOffset: UInt64 { nextLBA * UInt64(Self.sectorBytes) }

    private func readBlock(after delay: UInt64) {
        blockSectors = min(blockLimit, sectorsLeft)
        let target = slice(blockSectors * Self.sectorBytes)
        setBusy()
        channel.submit(after: delay, step(.readBlock, count: target.count)) { () throws(DiskBackendError) in
            try backend.read(into: target, at: byteOffset)
        }
    }

    /// A block, or a step of a DMA transfer, has been moved between disk and buffer.
    private func transferDone(_ step: IDEStep) {
        if step.hasFailed { return failTransfer() }
        switch step.action {
        case .readBlock:
            advance(blockSectors)
            openWindow(blockSectors * Self.sectorBytes, input: true)
            channel.raiseInterrupt()
        case .writeBlock:
            advance(blockSectors)
            if sectorsLeft == 0 { return complete() }
            requestBlock()
            channel.raiseInterrupt()
        case .readDMA:
            let part = UnsafeRawBufferPointer(slice(blockSectors * Self.sectorBytes))
            guard channel.busMaster.copyToGuest(part) == part.count else { return dmaTooShort() }
            advance(blockSectors)
            sectorsLeft == 0 ? completeDMA() : readStep()
        default:
            advance(step.count)
            if step.count < blockSectors { return dmaTooShort() }
            sectorsLeft == 0 ? completeDMA() : writeStep()
        }
    }

    private func requestBlock() {
        blockSectors = min(blockLimit, sectorsLeft)
        openWindow(blockSectors * Self.sectorBytes, input: false)
    }

    override func windowDone() {
        if awaitsRanges { return }
        guard let transfer else {
            registers.status = IDEStatus.idle
            return
        }
        if transfer.kind == .write { return writeBlock() }
        if sectorsLeft > 0 { return readBlock(after: IDETiming.nextBlock) }
        // A PIO read ends with its last word: the host was told of the block when it became ready.
        reportEnd()
        registers.status = IDEStatus.idle
        self.transfer = nil
    }

    private func writeBlock() {
        let source = UnsafeRawBufferPointer(slice(blockSectors * Self.sectorBytes))
        setBusy()
        channel.submit(after: IDETiming.nextBlock, step(.writeBlock)) { () throws(DiskBackendError) in
            try backend.write(from: source, at: byteOffset)
            if transfer?.forcesUnitAccess ?? false { try backend.flush() }
        }
    }

    override func dmaStarted() {
        if awaitsRanges { return receiveRanges() }
        guard let transfer else { return }
        transfer.kind == .read ? readStep() : writeStep()
    }

    /// One buffer's worth of a DMA read: disk to buffer, later buffer to guest memory.
    private func readStep() {
        blockSectors = min(sectorsLeft, buffer.count / Self.sectorBytes)
        let part = slice(blockSectors * Self.sectorBytes)
        channel.submit(after: IDETiming.command, step(.readDMA, count: part.count)) { () throws(DiskBackendError) in
            try backend.read(into: part, at: byteOffset)
        }
    }

    private func writeStep() {
        blockSectors = min(sectorsLeft, buffer.count / Self.sectorBytes)
        let wanted = slice(blockSectors * Self.sectorBytes)
        // What the descriptors hold reaches the disk in whole sectors, even where they end early.
        let whole = channel.busMaster.copyFromGuest(wanted) / Self.sectorBytes
        let part = UnsafeRawBufferPointer(slice(whole * Self.sectorBytes))
        channel.submit(after: IDETiming.command, step(.writeDMA, count: whole)) { () throws(DiskBackendError) in
            if !part.isEmpty { try backend.write(from: part, at: byteOffset) }
            if transfer?.forcesUnitAccess ?? false { try backend.flush() }
        }
    }

    private func completeDMA() {
        channel.busMaster.stop(leavingActive: channel.busMaster.hasMore)
        reportEnd()
        transfer = nil
        finish()
    }

    private func complete() {
        reportEnd()
        transfer = nil
        finishLater()
    }

    private func advance(_ sectors: Int) {
        let moved = min(sectors, sectorsLeft)
        nextLBA += UInt64(moved)
        sectorsLeft -= moved
    }

    /// The host could not read or write: the registers name the first sector that failed.
    private func failTransfer() {
        let isExt = transfer?.isExt ?? false
        setAddress(nextLBA, isExt: isExt)
        registers.count = UInt8(truncatingIfNeeded: sectorsLeft)
        if transfer?.path == .dma { channel.busMaster.stop(leavingActive: false) }
        transfer = nil
        fail(IDEError.uncorrectable)
    }

    /// After success the registers hold the last sector's address and no sectors left.
    private func reportEnd() {
        guard let transfer, nextLBA > 0 else { return }
        setAddress(nextLBA - 1, isExt: transfer.isExt)
        registers.count = 0
        registers.hobCount = 0
    }

    // MARK: TRIM (DATA SET MANAGEMENT, ACS-2 7.5): 8-byte entries, 48-bit address and 16-bit length

    private func beginTrim() {
        guard registers.feature & 1 != 0, !backend.isReadOnly else { return failLater(IDEError.abort) }
        rangeBytesLeft = registers.sectorCount48 * Self.sectorBytes
        guard rangeBytesLeft <= buffer.count else { return failLater(IDEError.abort) }
        awaitsRanges = true
        beginDMA()
    }

    private func receiveRanges() {
        let part = slice(rangeBytesLeft)
        let isShort = channel.busMaster.copyFromGuest(part) < part.count
        awaitsRanges = false
        guard !isShort else { return dmaTooShort() }
        var list: [Range<UInt64>] = []
        for at in stride(from: 0, to: part.count, by: 8) {
            let entry = part.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            let lba = entry & 0xFFFF_FFFF_FFFF
            let count = entry >> 48
            if count == 0 { continue }
            guard lba < totalSectors, count <= totalSectors - lba else {
                channel.busMaster.stop(leavingActive: false)
                return failLater(IDEError.idNotFound)
            }
            list.append(lba..<lba + count)
        }
        ranges = list[...]
        discard()
    }

    /// A list of 16,384 ranges can name a whole large disk: it is worked off a few at a time, with the machine looking
    /// around in between.
    private func discard() {
        let bytes = UInt64(Self.sectorBytes)
        channel.submit(after: IDETiming.command, step(.discard)) { () throws(DiskBackendError) in
            for range in ranges.prefix(Self.rangesAtOnce) {
                try backend.discard(at: range.lowerBound * bytes, length: UInt64(range.count) * bytes)
            }
        }
    }

    private func rangesDone(_ step: IDEStep) {
        ranges = ranges.dropFirst(Self.rangesAtOnce)
        if !step.hasFailed, !ranges.isEmpty { return discard() }
        ranges = []
        channel.busMaster.stop(leavingActive: channel.busMaster.hasMore)
        step.hasFailed ? fail(IDEError.abort) : finish()
    }

    // MARK: State

    override func exchange(_ c: StateCoder) {
        super.exchange(c)
        c.group("geometry") { geometry.exchange(c) }
        c.field("currentHeads", &currentHeads, in: 1...16)
        c.field("currentSectors", &currentSectors, in: 1...255)
        c.field("multiple", &multiple, in: 0...Self.maximumMultiple)
        c.field("isWriteCacheOn", &isWriteCacheOn)
        c.field("isSMARTOn", &isSMARTOn)
        var code = transfer?.code
        c.field("transfer", &code)
        if c.isRestoring { transfer = code.flatMap(ATATransfer.init(code:)) }
        c.field("nextLBA", &nextLBA, in: 0...totalSectors)
        c.field("sectorsLeft", &sectorsLeft, in: 0...65536)
        c.check(UInt64(sectorsLeft) <= totalSectors - nextLBA, "a transfer that goes beyond the disk")
        c.field("blockSectors", &blockSectors, in: 0...buffer.count / Self.sectorBytes)
        c.field("awaitsRanges", &awaitsRanges)
        c.field("rangeBytesLeft", &rangeBytesLeft, in: 0...buffer.count)
        var bounds = ranges.flatMap { [$0.lowerBound, $0.upperBound] }
        c.field("ranges", &bounds, count: 0...2 * buffer.count / 8)
        if c.isRestoring { restoreRanges(c, bounds) }
        exchangeBuffer(c)
    }

    private func restoreRanges(_ c: StateCoder, _ bounds: [UInt64]) {
        var list: [Range<UInt64>] = []
        for at in stride(from: 0, to: bounds.count - 1, by: 2) where bounds[at] <= bounds[at + 1] {
            list.append(bounds[at]..<bounds[at + 1])
        }
        c.check(
            list.count * 2 == bounds.count && list.allSatisfy { $0.upperBound <= totalSectors },
            "a range to discard beyond the disk")
        ranges = list[...]
    }

    // MARK: Addresses

    /// The address in the registers; nil for a CHS address outside the geometry.
    private func address(isExt: Bool) -> UInt64? {
        if isExt { return registers.lba48 }
        if registers.isLBA { return registers.lba28 }
        let cylinder = Int(registers.lbaHigh) << 8 | Int(registers.lbaMid)
        let head = Int(registers.device & 0x0F)
        let sector = Int(registers.lbaLow)
        guard sector >= 1, sector <= currentSectors, head < currentHeads else { return nil }
        return UInt64((cylinder * currentHeads + head) * currentSectors + sector - 1)
    }

    private func setAddress(_ lba: UInt64, isExt: Bool) {
        if !isExt && !registers.isLBA {
            let track = Int(clamping: lba) / currentSectors
            registers.lbaLow = UInt8(truncatingIfNeeded: Int(clamping: lba) % currentSectors + 1)
            registers.device = registers.device & 0xF0 | UInt8(truncatingIfNeeded: track % currentHeads)
            let cylinder = track / currentHeads
            registers.lbaMid = UInt8(truncatingIfNeeded: cylinder)
            registers.lbaHigh = UInt8(truncatingIfNeeded: cylinder >> 8)
            return
        }
        registers.lbaLow = UInt8(truncatingIfNeeded: lba)
        registers.lbaMid = UInt8(truncatingIfNeeded: lba >> 8)
        registers.lbaHigh = UInt8(truncatingIfNeeded: lba >> 16)
        if isExt {
            registers.hobLow = UInt8(truncatingIfNeeded: lba >> 24)
            registers.hobMid = UInt8(truncatingIfNeeded: lba >> 32)
            registers.hobHigh = UInt8(truncatingIfNeeded: lba >> 40)
        } else {
            registers.device = registers.device & 0xF0 | UInt8(truncatingIfNeeded: lba >> 24) & 0x0F
        }
    }
}
