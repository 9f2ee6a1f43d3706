/// One IDE channel: two drive slots behind eight command ports and one control port, and one interrupt line.
///
/// A guest's write to a register reaches both drives, a read comes from the selected one. A command runs in two halves,
/// so that host I/O can move to another thread without changing a device: `submit` does the I/O and keeps as an `IDEStep` what
/// is to be done with its result, from the scheduler a few microseconds of guest time later, with BSY set meanwhile.
final class IDEChannel: PortDevice {
    let commandBase: UInt16
    let controlPort: UInt16
    let busMaster: BusMaster
    /// Master, slave.
    private(set) var drives: [IDEDrive] = []
    private(set) var control: UInt8 = 0
    private var selectedIndex = 0
    private let irq: IRQLine
    private let scheduler: Scheduler
    private var timer: Scheduler.Timer?
    /// What the command in flight does next.
    private(set) var pending: IDEStep?

    var selected: IDEDrive { drives[selectedIndex] }
    private var isInterruptEnabled: Bool { control & IDEControl.interruptDisable == 0 }

    /// - Parameter media: what is plugged in as master and slave; nil for an empty slot.
    init(
        ports: PortBus, commandBase: UInt16, controlPort: UInt16, irq: IRQLine, scheduler: Scheduler,
        busMaster: BusMaster, media: [IDEMedium?], firstUnit: Int
    ) {
        self.commandBase = commandBase
        self.controlPort = controlPort
        self.irq = irq
        self.scheduler = scheduler
        self.busMaster = busMaster
        for slot in 0..<2 {
            let medium = slot < media.count ? media[slot] : nil
            switch medium {
            case .disk(let backend, let serial):
                let name = serial ?? IDEMedium.defaultSerial(unit: firstUnit + slot)
                drives.append(ATADisk(channel: self, unit: slot, backend: backend, serial: name))
            case .cdrom(let backend):
                let name = IDEMedium.defaultSerial(unit: firstUnit + slot)
                drives.append(ATAPIDrive(channel: self, unit: slot, backend: backend, serial: name))
            case nil:
                drives.append(IDEDrive(channel: self, unit: slot))
            }
        }
        timer = scheduler.makeTimer("ide-\(String(commandBase, radix: 16))") { [unowned self] _ in
            guard let step = pending else { return }
            pending = nil
            perform(step)
        }
        busMaster.started = { [unowned self] in drives.forEach { $0.busMasterStarted() } }
        ports.claim(commandBase, count: 8, by: self)
        ports.claim(controlPort, count: 1, by: self)
        reset()
    }

    func reset() {
        cancelPending()
        control = 0
        selectedIndex = 0
        irq.set(false)
        busMaster.reset()
        for drive in drives {
            drive.registers = TaskFile()
            drive.reset(powerOn: true)
        }
    }

    // MARK: For drives

    /// Takes a step after some guest time; a reset forgets it. A host that polls with interrupts off gets it at once:
    /// no handler can run too early, and firmware that reads sector by sector waits for nothing.
    func later(_ nanoseconds: UInt64, _ step: IDEStep) {
        guard let timer, isInterruptEnabled || busMaster.isActive else { return perform(step) }
        pending = step
        scheduler.arm(timer, at: scheduler.nowNanoseconds &+ nanoseconds)
    }

    /// Host I/O, then its consequences for the guest.
    func submit(after nanoseconds: UInt64, _ step: IDEStep, _ io: () throws(DiskBackendError) -> Void) {
        scheduler.longWork()
        var done = step
        do { try io() } catch {
            done.hasFailed = true
            done.count = 0
        }
        later(nanoseconds, done)
    }

    private func perform(_ step: IDEStep) {
        switch step.action {
        case .softReset: resetDrives()
        case .diagnostics:
            resetDrives()
            raiseInterrupt()
        default: drives[step.unit].perform(step)
        }
    }

    func raiseInterrupt() {
        guard isInterruptEnabled else { return }
        irq.set(true)
        busMaster.interruptRaised()
    }

    private func cancelPending() {
        pending = nil
        if let timer { scheduler.cancel(timer) }
    }

    // MARK: Ports

    func portRead(_ port: UInt16, size: Int) -> UInt32 {
        if port == commandBase {
            var value: UInt32 = 0
            _ = withUnsafeMutableBytes(of: &value) { bytes in
                bytes.baseAddress.map { selected.readData(into: $0, count: size) }
            }
            return value
        }
        return PortBus.splitRead(port, size: size, readRegister)
    }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        if port == commandBase {
            _ = withUnsafeBytes(of: value) { bytes in
                bytes.baseAddress.map { selected.writeData(from: $0, count: size) }
            }
        } else {
            PortBus.splitWrite(port, size: size, value: value, writeRegister)
        }
    }

    func movesInBulk(_ port: UInt16) -> Bool { port == commandBase }

    func portReadBulk(_ port: UInt16, size: Int, count: Int, into buffer: UnsafeMutableRawPointer) {
        let total = size * count
        guard port == commandBase else {
            let value = UInt8(truncatingIfNeeded: portRead(port, size: 1))
            buffer.initializeMemory(as: UInt8.self, repeating: value, count: total)
            return
        }
        var done = 0
        while done < total {
            // SAFETY: done < total, the caller's buffer of size * count bytes.
            let moved = selected.readData(into: buffer + done, count: total - done)
            if moved == 0 { break }
            done += moved
        }
        // SAFETY: as above; what the drive does not have reads as zero.
        (buffer + done).initializeMemory(as: UInt8.self, repeating: 0, count: total - done)
    }

    func portWriteBulk(_ port: UInt16, size: Int, count: Int, from buffer: UnsafeRawPointer) {
        let total = size * count
        guard port == commandBase else {
            for i in 0..<count {
                // SAFETY: i * size < total, the caller's buffer.
                writeRegister(port, (buffer + i * size).load(as: UInt8.self))
            }
            return
        }
        var done = 0
        while done < total {
            // SAFETY: done < total, the caller's buffer.
            let moved = selected.writeData(from: buffer + done, count: total - done)
            if moved == 0 { break }
            done += moved
        }
    }

    private func readRegister(_ port: UInt16) -> UInt8 {
        let file = selected.registers
        let old = control & IDEControl.highOrderByte != 0
        if port == controlPort { return selected.isPresent ? file.status : 0 }
        guard drives.contains(where: \.isPresent) else { return 0 }
        switch port &- commandBase {
        case 1: return selected.isPresent ? (old ? file.hobFeature : file.error) : 0
        case 2: return old ? file.hobCount : file.count
        case 3: return old ? file.hobLow : file.lbaLow
        case 4: return old ? file.hobMid : file.lbaMid
        case 5: return old ? file.hobHigh : file.lbaHigh
        case 6: return file.device
        case 7:
            irq.set(false)
            return selected.isPresent ? file.status : 0
        default: return 0
        }
    }

    private func writeRegister(_ port: UInt16, _ value: UInt8) {
        if port == controlPort { return writeControl(value) }
        let register = port &- commandBase
        if register == 7 { return writeCommand(value) }
        guard selected.registers.status & (IDEStatus.busy | IDEStatus.dataRequest) == 0 || !selected.isPresent
        else { return }
        control &= ~IDEControl.highOrderByte
        if register == 6 { selectedIndex = Int(value >> 4 & 1) }
        for drive in drives {
            switch register {
            case 1:
                drive.registers.hobFeature = drive.registers.feature
                drive.registers.feature = value
            case 2:
                drive.registers.hobCount = drive.registers.count
                drive.registers.count = value
            case 3:
                drive.registers.hobLow = drive.registers.lbaLow
                drive.registers.lbaLow = value
            case 4:
                drive.registers.hobMid = drive.registers.lbaMid
                drive.registers.lbaMid = value
            case 5:
                drive.registers.hobHigh = drive.registers.lbaHigh
                drive.registers.lbaHigh = value
            case 6:
                drive.registers.device = value & 0xEF | 0xA0 | UInt8(selectedIndex << 4)
            default: break
            }
        }
    }

    private func writeControl(_ value: UInt8) {
        let wasReset = control & IDEControl.softReset != 0
        let isReset = value & IDEControl.softReset != 0
        control = value
        if !isInterruptEnabled { irq.set(false) }
        if isReset, !wasReset {
            cancelPending()
            irq.set(false)
            for drive in drives where drive.isPresent {
                drive.closeWindow()
                drive.setBusy()
            }
        } else if wasReset, !isReset {
            later(IDETiming.softReset, IDEStep(.softReset))
        }
    }

    private func writeCommand(_ command: UInt8) {
        irq.set(false)
        control &= ~IDEControl.highOrderByte
        let drive = selected
        guard drive.isPresent else {
            // Diagnostics run on both drives, whichever is selected.
            if command == ATACommand.executeDiagnostics.rawValue { runDiagnostics() }
            return
        }
        if command == ATACommand.deviceReset.rawValue, drive is ATAPIDrive {
            cancelPending()
            drive.reset(powerOn: false)
            return
        }
        let isOccupied = drive.registers.status & (IDEStatus.busy | IDEStatus.dataRequest) != 0
        guard !isOccupied, pending == nil, control & IDEControl.softReset == 0 else { return }
        if command == ATACommand.executeDiagnostics.rawValue { return runDiagnostics() }
        drive.execute(command)
    }

    /// EXECUTE DEVICE DIAGNOSTIC (8.11): both drives test themselves, the master interrupts.
    private func runDiagnostics() {
        guard pending == nil else { return }
        for drive in drives where drive.isPresent { drive.setBusy() }
        later(IDETiming.softReset, IDEStep(.diagnostics))
    }

    private func resetDrives() {
        selectedIndex = 0
        for drive in drives {
            drive.registers.device = 0xA0
            drive.reset(powerOn: false)
        }
    }
}

extension IDEChannel {
    func exchange(_ c: StateCoder) {
        c.field("control", &control)
        c.field("selectedIndex", &selectedIndex, in: 0...1)
        c.field("irq", irq)
        // First, as drives ask what of their buffers it uses.
        var step = pending ?? IDEStep(.softReset)
        c.field("isPending", pending != nil) { pending = $0 ? step : nil }
        c.group("pending") { step.exchange(c) }
        if c.isRestoring, pending != nil { pending = step }
        c.group("busMaster") { busMaster.exchange(c) }
        for (unit, drive) in drives.enumerated() { c.group("drives\(unit)") { drive.exchange(c) } }
    }
}
