/// An ATAPI CD-ROM drive: the PACKET protocol (ATA/ATAPI-6, 9.8 and 9.9) around MMC commands.
///
/// PACKET asks for a 12-byte command through the data port. Its answer comes in blocks no longer than the byte count
/// limit that the host put into LBA mid and high, one interrupt each, or by the bus master when feature bit 0 is set.
/// While the drive asks for data, sector count is the interrupt reason: bit 0 a command packet, bit 1 towards the host.
final class ATAPIDrive: IDEDrive {
    static let packetBytes = 12
    static let blockBytes = 2048

    private enum Reason {
        static let commandOut: UInt8 = 1
        static let dataIn: UInt8 = 2
        static let status: UInt8 = 3
    }

    enum Phase: UInt8 { case idle = 0, packet, data }

    let serial: String
    /// The disc; nil when the drive is empty.
    private(set) var disc: (any DiskBackend)?
    private(set) var isTrayOpen = false
    var isLocked = false
    var sense = SCSISense.none
    /// Reported and cleared before the next command that touches the medium.
    var unitAttention: SCSISense?
    /// For GET EVENT STATUS NOTIFICATION; cleared when told.
    var mediaEvent = MediaEvent.none

    private var phase = Phase.idle
    private var usesDMA = false
    private var byteCountLimit = 0
    /// What `buffer` holds that has not been sent.
    private var staged = 0..<0
    /// Sectors still to be read from the disc into the buffer.
    private var nextLBA: UInt64 = 0
    private var sectorsLeft = 0
    private var layout = CDSectorLayout.userData
    /// What the command in flight fails with.
    private var failure = SCSISense.none

    override var isPresent: Bool { true }

    init(channel: IDEChannel, unit: Int, backend: (any DiskBackend)?, serial: String) {
        disc = backend
        self.serial = serial
        super.init(channel: channel, unit: unit, bufferBytes: Self.bufferBytes)
    }

    // MARK: For the machine's owner

    /// Puts a disc into the drive, or takes it out with nil, as a person would; the guest is told of the change.
    func changeDisc(_ backend: (any DiskBackend)?) {
        disc = backend
        isTrayOpen = false
        mediaEvent = backend == nil ? .removal : .newMedia
        unitAttention = backend == nil ? nil : .mediumChanged
    }

    /// A press on the eject button.
    /// - Returns: false when the guest has locked the tray; it is asked to unlock.
    func pressEject() -> Bool {
        if isLocked {
            mediaEvent = .ejectRequest
            return false
        }
        changeDisc(nil)
        isTrayOpen = true
        return true
    }

    var loadedDisc: (any DiskBackend)? { isTrayOpen ? nil : disc }
    /// Blocks of 2048 bytes on the disc in the closed tray.
    var totalBlocks: UInt64 {
        ((loadedDisc?.sizeBytes ?? 0) + UInt64(Self.blockBytes - 1)) / UInt64(Self.blockBytes)
    }

    func moveTray(open: Bool) {
        guard isTrayOpen != open else { return }
        isTrayOpen = open
        guard disc != nil else { return }
        mediaEvent = open ? .removal : .newMedia
        unitAttention = open ? nil : .mediumChanged
    }

    // MARK: Reset

    override func resetState(powerOn: Bool) {
        phase = .idle
        staged = 0..<0
        sectorsLeft = 0
        guard powerOn else { return }
        isLocked = false
        sense = .none
        isTrayOpen = false
    }

    override func setSignature() {
        super.setSignature()
        registers.lbaMid = 0x14
        registers.lbaHigh = 0xEB
        registers.error = 1
        // Not ready until the first command: that tells it from a disk.
        registers.status = 0
    }

    // MARK: ATA commands

    override func execute(_ code: UInt8) {
        registers.error = 0
        switch ATACommand(rawValue: code) {
        case .packet: requestPacket()
        case .identifyPacket: sendIdentify()
        case .identify, .readSectors:
            setSignature()
            failLater(IDEError.abort)
        case .setFeatures:
            let isKnown = registers.feature == 0x03 ? transferMode.select(registers.count) : true
            isKnown ? finishLater() : failLater(IDEError.abort)
        case .checkPower, .checkPowerOld:
            registers.count = 0xFF
            finishLater()
        case .idle, .idleImmediate, .standby, .standbyImmediate, .sleep, .flush: finishLater()
        default: failLater(IDEError.abort)
        }
    }

    private func requestPacket() {
        usesDMA = registers.feature & 1 != 0
        byteCountLimit = Int(registers.lbaHigh) << 8 | Int(registers.lbaMid)
        registers.count = Reason.commandOut
        phase = .packet
        openWindow(Self.packetBytes, input: false)
    }

    override func windowDone() {
        switch phase {
        case .packet:
            phase = .idle
            setBusy()
            executePacket(Array(buffer[0..<Self.packetBytes]))
        case .data: sendBlock(after: IDETiming.nextBlock)
        case .idle: registers.status = IDEStatus.idle
        }
    }

    private func sendIdentify() {
        let bytes = identifyWords()
        slice(bytes.count).copyBytes(from: bytes)
        setBusy()
        later(IDETiming.command, .packetIdentify, count: bytes.count)
    }

    override func perform(_ step: IDEStep) {
        switch step.action {
        case .packetIdentify:
            registers.count = Reason.dataIn
            openWindow(step.count, input: true)
            channel.raiseInterrupt()
        case .packetSuccess:
            registers.count = Reason.status
            phase = .idle
            finish()
        case .packetFailure: failNow(failure)
        case .packetBlock: openBlock()
        case .packetDMA: dmaStep()
        case .packetRefillBlock: if refilled(step) { openBlock() }
        case .packetRefillDMA: if refilled(step) { dmaStep() }
        default: super.perform(step)
        }
    }

    private func identifyWords() -> [UInt8] {
        var data = IdentifyData()
        // ATAPI, CD-ROM, removable, DRQ within 50 µs of PACKET, 12-byte packets.
        data[0] = 0x85C0
        data.setText(10, words: 10, serial)
        data[20] = 3
        data[21] = 512
        data[22] = 4
        data.setText(23, words: 4, ATADisk.firmware)
        data.setText(27, words: 20, SCSIInquiry.product)
        data[48] = 1
        data[49] = 0x0300
        data.setModes(transferMode)
        data[71] = 30
        data[72] = 30
        data[80] = 0x001E
        return data.bytes
    }

    // MARK: Ends of a packet command

    /// Answers with bytes that the drive made up.
    func reply(_ bytes: [UInt8], limit: Int) {
        let count = min(bytes.count, limit, buffer.count)
        slice(count).copyBytes(from: bytes[0..<count])
        staged = 0..<count
        sectorsLeft = 0
        startData()
    }

    /// Answers with sectors of the disc; the caller has checked the range.
    func replySectors(from lba: UInt64, count: Int, layout: CDSectorLayout) {
        nextLBA = lba
        sectorsLeft = count
        self.layout = layout
        staged = 0..<0
        startData()
    }

    func succeed() {
        setBusy()
        later(IDETiming.command, .packetSuccess)
    }

    func fail(_ sense: SCSISense) {
        setBusy()
        failure = sense
        later(IDETiming.command, .packetFailure)
    }

    private func failNow(_ sense: SCSISense) {
        self.sense = sense
        if usesDMA { channel.busMaster.stop(leavingActive: false) }
        registers.count = Reason.status
        phase = .idle
        staged = 0..<0
        sectorsLeft = 0
        fail(sense.key << 4 | IDEError.abort)
    }

    // MARK: Data

    private func startData() {
        if staged.isEmpty && sectorsLeft == 0 { return succeed() }
        phase = .data
        if usesDMA { return beginDMA() }
        // A limit of zero stands for the largest one, and an odd one cannot hold whole words.
        byteCountLimit = byteCountLimit == 0 ? 0xFFFE : max(byteCountLimit & ~1, 2)
        sendBlock(after: IDETiming.command)
    }

    /// Refills the buffer from the disc if it is empty, then opens the next block to the data port.
    private func sendBlock(after delay: UInt64) {
        setBusy()
        if !staged.isEmpty {
            later(delay, .packetBlock)
        } else if sectorsLeft > 0 {
            refill(after: delay, .packetRefillBlock)
        } else {
            succeed()
        }
    }

    private func openBlock() {
        var count = min(staged.count, byteCountLimit)
        // Whole sectors where the limit allows one.
        if count < staged.count, count >= layout.bytes, phase == .data { count -= count % layout.bytes }
        let block = staged.lowerBound..<staged.lowerBound + count
        staged = block.upperBound..<staged.upperBound
        registers.count = Reason.dataIn
        registers.lbaMid = UInt8(truncatingIfNeeded: count)
        registers.lbaHigh = UInt8(truncatingIfNeeded: count >> 8)
        openWindow(block, input: true)
        channel.raiseInterrupt()
    }

    private func refill(after delay: UInt64, _ action: IDEStep.Action) {
        guard let disc = loadedDisc else { return fail(.noMedium) }
        let target = slice(min(sectorsLeft, buffer.count / layout.bytes) * layout.bytes)
        channel.submit(after: delay, step(action, count: target.count)) { () throws(DiskBackendError) in
            try layout.read(disc, lba: nextLBA, into: target)
        }
    }

    /// - Returns: false when the disc could not be read, and the command has failed.
    private func refilled(_ step: IDEStep) -> Bool {
        if step.hasFailed {
            failNow(.unrecoveredRead)
            return false
        }
        let sectors = min(sectorsLeft, step.count / layout.bytes)
        nextLBA += UInt64(sectors)
        sectorsLeft -= sectors
        staged = 0..<sectors * layout.bytes
        return true
    }

    override func dmaStarted() {
        if staged.isEmpty, sectorsLeft > 0 { return refill(after: IDETiming.command, .packetRefillDMA) }
        later(IDETiming.command, .packetDMA)
    }

    private func dmaStep() {
        let part = UnsafeRawBufferPointer(slice(staged.count, from: staged.lowerBound))
        let moved = channel.busMaster.copyToGuest(part)
        staged = 0..<0
        guard moved == part.count else {
            phase = .idle
            return dmaTooShort()
        }
        if sectorsLeft > 0 { return refill(after: IDETiming.command, .packetRefillDMA) }
        channel.busMaster.stop(leavingActive: channel.busMaster.hasMore)
        registers.count = Reason.status
        phase = .idle
        finish()
    }

    // MARK: State

    override var heldBytes: Int { max(super.heldBytes, staged.isEmpty ? 0 : staged.upperBound) }

    override func exchange(_ c: StateCoder) {
        super.exchange(c)
        c.field("isTrayOpen", &isTrayOpen)
        c.field("isLocked", &isLocked)
        c.group("sense") { sense.exchange(c) }
        var attention: SCSISense = unitAttention ?? SCSISense.none
        c.field("hasUnitAttention", unitAttention != nil) { unitAttention = $0 ? attention : nil }
        c.group("unitAttention") { attention.exchange(c) }
        if c.isRestoring, unitAttention != nil { unitAttention = attention }
        c.field("mediaEvent", &mediaEvent)
        c.field("phase", &phase)
        c.field("usesDMA", &usesDMA)
        c.field("byteCountLimit", &byteCountLimit, in: 0...0xFFFF)
        var from = staged.lowerBound, to = staged.upperBound
        c.field("stagedFrom", &from, in: 0...buffer.count)
        c.field("stagedTo", &to, in: 0...buffer.count)
        c.check(from <= to, "an answer that ends before it begins")
        if from <= to { staged = from..<to }
        c.field("nextLBA", &nextLBA, in: 0...1 << 40)
        c.field("sectorsLeft", &sectorsLeft, in: 0...Int(UInt32.max))
        c.field("layout", &layout)
        c.group("failure") { failure.exchange(c) }
        exchangeBuffer(c)
    }
}
