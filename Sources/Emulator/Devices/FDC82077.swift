/// Floppy disk controller Intel 82077AA (290166-007), at 3F0h, IRQ 6, DMA channel 2.
///
/// | port | read | write |
/// | --- | --- | --- |
/// | 3F0, 3F1 | status A, status B | – |
/// | 3F2 | digital output | bits 1:0 drive, 2 not reset, 3 DMA and interrupt gate, 4–7 motors |
/// | 3F3 | tape drive | the same |
/// | 3F4 | main status: bit 7 ready, 6 towards the host, 5 not DMA, 4 busy, 3:0 seeking | data rate, bit 7 reset |
/// | 3F5 | FIFO | FIFO |
/// | 3F7 | bit 7 disk changed | data rate, bits 1:0 |
///
/// A command is its bytes through the FIFO, an execution phase that moves sectors by DMA or through the FIFO, and a
/// result phase; an interrupt announces the result, or the end of a seek.
final class FDC82077: PortDevice, BoardDevice {
    static let base: UInt16 = 0x3F0
    static let commandNanoseconds: UInt64 = 20_000
    static let sectorNanoseconds: UInt64 = 100_000

    enum Phase: UInt8 { case idle = 0, command, executing, hostReads, hostWrites, result }

    /// What the controller does when the time of a command, or of a part of it, is over.
    struct Step {
        enum Action: UInt8 { case resetDone = 0, seekDone, readID, transfer, endTransfer }

        var action: Action
        /// Seek: drive, head bit of the command, and the track to go to. READ ID: the command's second byte.
        var drive = 0
        var head: UInt8 = 0
        var track = 0

        mutating func exchange(_ c: StateCoder) {
            c.field("action", &action)
            c.field("drive", &drive, in: 0...3)
            c.field("head", &head)
            c.field("track", &track, in: -0x1000...0x1000)
        }
    }

    let drives: [FloppyDrive]
    private let irq: IRQLine
    let dma: any FloppyDMA
    private let scheduler: Scheduler
    private var timer: Scheduler.Timer?
    private var pending: Step?

    var phase = Phase.idle
    private var output: UInt8 = 0
    private var tape: UInt8 = 0
    private var rate: UInt8 = 2
    /// Command bytes, data of one sector in transfers without DMA, or result bytes.
    var fifo: [UInt8] = []
    var fifoAt = 0
    var bytesExpected = 0
    /// Status 0 of seeks and resets that SENSE INTERRUPT will report, by drive.
    private var interruptCauses: [UInt8?] = [nil, nil, nil, nil]
    private var seeking: UInt8 = 0
    // SPECIFY, CONFIGURE, PERPENDICULAR and LOCK.
    private var stepAndUnload: UInt8 = 0
    var loadAndDMA: UInt8 = 0
    var configuration: UInt8 = 0x20
    private var precompensationTrack: UInt8 = 0
    private var perpendicular: UInt8 = 0
    private var isLocked = false
    var lastSectorCount: UInt8 = 0
    var transfer: FDCTransfer?

    /// - Parameter drives: A and B.
    init(drives: [FloppyDrive], irq: IRQLine, dma: any FloppyDMA, scheduler: Scheduler) {
        self.drives = (0..<4).map { $0 < drives.count ? drives[$0] : FloppyDrive(kind: .absent) }
        self.irq = irq
        self.dma = dma
        self.scheduler = scheduler
        timer = scheduler.makeTimer("fdc") { [unowned self] _ in
            guard let step = pending else { return }
            pending = nil
            perform(step)
        }
    }

    func attach(to ports: PortBus) {
        ports.claim(Self.base, count: 6, by: self)
        ports.claim(Self.base + 7, count: 1, by: self)
    }

    func reset() {
        output = 0
        tape = 0
        rate = 2
        isLocked = false
        perpendicular = 0
        for drive in drives { drive.track = 0 }
        softReset(announced: false)
    }

    // MARK: Registers

    func portRead(_ port: UInt16, size: Int) -> UInt32 { PortBus.splitRead(port, size: size, readRegister) }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        PortBus.splitWrite(port, size: size, value: value, writeRegister)
    }

    private func readRegister(_ port: UInt16) -> UInt8 {
        switch port &- Self.base {
        case 0: irq.level ? 0x80 : 0
        case 1: 0xC0 | (output & 1) << 5 | output >> 4 & 3
        case 2: output
        case 3: tape
        case 4: mainStatus
        case 5: readFIFO()
        case 7: selected.isChanged && selected.kind != .absent ? 0x80 : 0
        default: 0xFF
        }
    }

    private func writeRegister(_ port: UInt16, _ value: UInt8) {
        switch port &- Self.base {
        case 2: writeOutput(value)
        case 3: tape = value & 3
        case 4:
            rate = value & 3
            if value & 0x80 != 0 { softReset(announced: true) }
        case 5: writeFIFO(value)
        case 7: rate = value & 3
        default: break
        }
    }

    private var selected: FloppyDrive { drives[Int(output & 3)] }
    private var isRunning: Bool { output & 4 != 0 }
    var usesDMA: Bool { loadAndDMA & 1 == 0 && output & 8 != 0 }

    private var mainStatus: UInt8 {
        guard isRunning else { return 0 }
        switch phase {
        case .idle: return 0x80 | seeking
        case .command: return 0x90 | seeking
        case .executing: return 0x10 | seeking
        case .hostReads: return 0xF0 | seeking
        case .hostWrites: return 0xB0 | seeking
        case .result: return 0xD0 | seeking
        }
    }

    private func writeOutput(_ value: UInt8) {
        let wasRunning = isRunning
        output = value
        if !isRunning {
            cancel()
            phase = .idle
            irq.set(false)
        } else if !wasRunning {
            softReset(announced: true)
        }
    }

    private func softReset(announced: Bool) {
        cancel()
        irq.set(false)
        phase = .idle
        fifo = []
        fifoAt = 0
        seeking = 0
        transfer = nil
        interruptCauses = [nil, nil, nil, nil]
        if !isLocked {
            configuration = 0x20
            precompensationTrack = 0
        }
        guard announced, isRunning else { return }
        later(Self.commandNanoseconds, Step(action: .resetDone))
    }

    private func perform(_ step: Step) {
        switch step.action {
        case .resetDone:
            // The drive polling after a reset finds every drive "changed".
            for drive in 0..<4 { interruptCauses[drive] = FDCStatus.pollingChanged | UInt8(drive) }
            interrupt()
        case .seekDone: seekDone(step)
        case .readID: idRead(select: step.head)
        case .transfer: transferStep()
        case .endTransfer: endTransfer()
        }
    }

    func interrupt() { if output & 8 != 0 { irq.set(true) } }

    func later(_ nanoseconds: UInt64, _ step: Step) {
        guard let timer else { return }
        pending = step
        scheduler.arm(timer, at: scheduler.nowNanoseconds &+ nanoseconds)
    }

    private func cancel() {
        pending = nil
        if let timer { scheduler.cancel(timer) }
    }

    // MARK: FIFO

    private func readFIFO() -> UInt8 {
        guard phase == .result || phase == .hostReads, fifoAt < fifo.count else { return 0 }
        irq.set(false)
        let value = fifo[fifoAt]
        fifoAt += 1
        if fifoAt == fifo.count { phase == .result ? endResult() : continueTransfer() }
        return value
    }

    private func writeFIFO(_ value: UInt8) {
        guard isRunning else { return }
        switch phase {
        case .idle:
            fifo = [value]
            bytesExpected = 1 + FDCCommand.row(value).parameters
            phase = .command
        case .command, .hostWrites:
            irq.set(false)
            fifo.append(value)
        default: return
        }
        guard fifo.count == bytesExpected else { return }
        phase == .command ? execute(fifo) : continueTransfer()
    }

    func endResult() {
        phase = .idle
        fifo = []
        fifoAt = 0
    }

    func respond(_ bytes: [UInt8], interrupting: Bool = false) {
        fifo = bytes
        fifoAt = 0
        phase = .result
        if interrupting { interrupt() }
    }

    // MARK: Commands without data

    private func execute(_ bytes: [UInt8]) {
        phase = .executing
        switch FDCCommand.row(bytes[0]).command {
        case .specify:
            stepAndUnload = bytes[1]
            loadAndDMA = bytes[2]
            endResult()
        case .senseDrive: respond([driveStatus(bytes[1])])
        case .recalibrate: seek(drive: Int(bytes[1] & 3), head: 0, to: 0)
        case .seek: seek(drive: Int(bytes[1] & 3), head: bytes[1] & 4, to: Int(bytes[2]))
        case .relativeSeek:
            let drive = Int(bytes[1] & 3)
            let distance = bytes[0] & 0x40 != 0 ? Int(bytes[2]) : -Int(bytes[2])
            seek(drive: drive, head: bytes[1] & 4, to: drives[drive].track + distance)
        case .senseInterrupt: senseInterrupt()
        case .readID: later(Self.sectorNanoseconds, Step(action: .readID, head: bytes[1]))
        case .dumpRegisters: respond(registerDump)
        case .version: respond([0x90])
        case .partID: respond([0x41])
        case .perpendicular:
            perpendicular = bytes[1] & 0x80 != 0 ? bytes[1] & 0x3F : perpendicular & 0x3C | bytes[1] & 3
            endResult()
        case .configure:
            configuration = bytes[2]
            precompensationTrack = bytes[3]
            endResult()
        case .lock:
            isLocked = bytes[0] & 0x80 != 0
            respond([isLocked ? 0x10 : 0])
        case .read, .write, .verify, .readTrack, .format: beginTransfer(bytes)
        case .invalid: respond([FDCStatus.invalid])
        }
    }

    private func driveStatus(_ select: UInt8) -> UInt8 {
        let drive = drives[Int(select & 3)]
        let isProtected = drive.disk?.isReadOnly ?? false
        return 0x28 | select & 7 | (isProtected ? 0x40 : 0) | (drive.track == 0 && drive.kind != .absent ? 0x10 : 0)
    }

    private func seek(drive: Int, head: UInt8, to track: Int) {
        endResult()
        seeking |= 1 << UInt8(drive)
        later(Self.commandNanoseconds, Step(action: .seekDone, drive: drive, head: head, track: track))
    }

    private func seekDone(_ step: Step) {
        seeking &= ~(1 << UInt8(step.drive))
        let isAbsent = drives[step.drive].kind == .absent
        if !isAbsent { drives[step.drive].step(to: step.track) }
        // Without a drive track 0 is never seen.
        let failure = isAbsent ? FDCStatus.abnormal | FDCStatus.equipmentCheck : 0
        interruptCauses[step.drive] = FDCStatus.seekEnd | failure | step.head | UInt8(step.drive)
        interrupt()
    }

    private func senseInterrupt() {
        guard let drive = interruptCauses.firstIndex(where: { $0 != nil }), let cause = interruptCauses[drive] else {
            return respond([FDCStatus.invalid])
        }
        interruptCauses[drive] = nil
        irq.set(false)
        respond([cause, UInt8(drives[drive].track)])
    }

    private func idRead(select: UInt8) {
        let drive = drives[Int(select & 3)]
        let head = select >> 2 & 1
        let isReadable = isReadable(drive) && drive.offset(head: Int(head), sector: 1) != nil
        let status: [UInt8] =
            isReadable ? [select & 7, 0, 0] : [FDCStatus.abnormal | select & 7, FDCStatus.missingAddressMark, 0]
        let sector = isReadable ? drive.passingSector() : 1
        respond(status + [UInt8(drive.track), head, sector, 2], interrupting: true)
    }

    /// There is a disk and the controller samples it at its rate.
    func isReadable(_ drive: FloppyDrive) -> Bool {
        drive.kind != .absent && drive.disk != nil && drive.format.rate == rate
    }

    private var registerDump: [UInt8] {
        drives.map { UInt8($0.track) } + [
            stepAndUnload, loadAndDMA, lastSectorCount, (isLocked ? 0x80 : 0) | perpendicular, configuration,
            precompensationTrack,
        ]
    }
}

extension FDC82077 {
    var stateID: String { "fdc" }

    func exchange(_ c: StateCoder) {
        c.field("irq", irq)
        var step = pending ?? Step(action: .resetDone)
        c.field("isPending", pending != nil) { pending = $0 ? step : nil }
        c.group("pending") { step.exchange(c) }
        if c.isRestoring, pending != nil { pending = step }
        c.field("phase", &phase)
        c.field("output", &output)
        c.field("tape", &tape)
        c.field("rate", &rate, in: 0...3)
        c.field("fifo", &fifo, count: 0...512)
        c.field("fifoAt", &fifoAt, in: 0...512)
        c.check(fifoAt <= fifo.count, "a FIFO read beyond its end")
        c.field("bytesExpected", &bytesExpected, in: 0...512)
        // A command is executed when all of its bytes are there.
        c.check(
            phase != .command || fifo.first.map { bytesExpected == 1 + FDCCommand.row($0).parameters } ?? false,
            "a command of the wrong length")
        for drive in interruptCauses.indices { c.field("interruptCauses\(drive)", &interruptCauses[drive]) }
        c.field("seeking", &seeking)
        c.field("stepAndUnload", &stepAndUnload)
        c.field("loadAndDMA", &loadAndDMA)
        c.field("configuration", &configuration)
        c.field("precompensationTrack", &precompensationTrack)
        c.field("perpendicular", &perpendicular)
        c.field("isLocked", &isLocked)
        c.field("lastSectorCount", &lastSectorCount)
        exchangeTransfer(c)
        let takesBytes = phase == .command || phase == .hostWrites
        c.check(!takesBytes || fifo.count < bytesExpected, "a FIFO that is full already")
        let expected = transfer?.command == .format ? 4 : 512
        c.check(phase != .hostWrites || transfer != nil && bytesExpected == expected, "data for no command")
        for (index, drive) in drives.enumerated() { c.group("drives\(index)") { drive.exchange(c) } }
    }

    private func exchangeTransfer(_ c: StateCoder) {
        var bytes = transfer?.commandBytes ?? []
        c.field("transfer", &bytes, count: 0...9)
        if c.isRestoring {
            let isWhole = bytes.first.map { bytes.count == 1 + FDCCommand.row($0).parameters } ?? true
            var job = isWhole && !bytes.isEmpty ? FDCTransfer(checking: bytes) : nil
            c.check(bytes.isEmpty || job != nil, "a transfer by a command that makes none")
            c.group("progress") { job?.exchange(c) }
            transfer = job
        } else {
            c.group("progress") { transfer?.exchange(c) }
        }
    }
}
