/// Power management function of the Intel 82371AB (PIIX4), 8086:7113 at 0:1.3 (datasheet 290562, chapter 7; ACPI 1.0, 4.7).
///
/// | PM base + | what |
/// | --- | --- |
/// | 0 | PM1_STS: 0 timer carry, 5 global, 8 power button, 10 RTC, 15 wake; written ones clear |
/// | 2 | PM1_EN: the same bits |
/// | 4 | PM1_CNT: 0 SCI enable, 12–10 sleep type (0: S5, 1: S3, 2: S4), 13 sleep |
/// | 8 | PM timer, 24 bits at 3.579545 MHz |
///
/// | elsewhere | what |
/// | --- | --- |
/// | config 40, 80 | PM base, bit 0 of 80 enables it |
/// | config 90, D2 | SMBus base, bit 0 of D2 enables it |
/// | config 5B | bit 1: APM control raises SMIs |
/// | config 5F, 63, 67 | which ISA devices are there: 67 bit 3 COM1, bits 4 and 7 COM2; firmware's DSDT asks |
/// | AFE0–AFE3 | GPE0 status and enable |
/// | B2, B3 | APM control and status: F1h turns ACPI on, F0h off |
final class PIIX4PM: PCIDevice, PortDevice, BoardDevice {
    private enum Status { static let timer: UInt16 = 1, powerButton: UInt16 = 1 << 8, wake: UInt16 = 1 << 15 }
    private static let gpeBase: UInt16 = 0xAFE0
    private static let apmControl: UInt16 = 0xB2
    private static let timerMask: UInt64 = 0xFF_FFFF

    private let scheduler: Scheduler
    private let ports: PortBus
    private let serialPortCount: Int
    /// The system control interrupt, ISA 9, level-triggered.
    private let sci: IRQLine
    private var status: UInt16 = 0
    private var enable: UInt16 = 0
    private var control: UInt16 = 0
    private var gpeStatus: UInt16 = 0
    private var gpeEnable: UInt16 = 0
    private var apm: (control: UInt8, status: UInt8) = (0, 0)
    private var mappedPM: UInt16?
    private var mappedSMBus: UInt16?
    private let smbus = SMBusHost()
    /// Timer ticks up to which the carry bit has been accounted for.
    private var settledTicks: UInt64 = 0
    private var timer: Scheduler.Timer?
    /// The guest entered S5 (or S4: nothing is kept for it).
    var powerOff: () -> Void = {}
    /// The guest entered S3; the machine wakes it at the next input.
    var suspend: () -> Void = {}

    init(scheduler: Scheduler, ports: PortBus, sci: IRQLine, serialPortCount: Int) {
        self.serialPortCount = serialPortCount
        self.scheduler = scheduler
        self.ports = ports
        self.sci = sci
        super.init(
            name: "PIIX4 power management", vendor: 0x8086, device: 0x7113, classCode: 0x068000, revision: 3,
            interruptPin: 1)
        for register in 0x40..<0x100 { writeMask[register] = 0xFF }
        (writeMask[0x40], writeMask[0x90]) = (0xC0, 0xF0)
        timer = scheduler.makeTimer("pm-timer") { [weak self] _ in self?.settleTimer() }
        ports.claim(Self.gpeBase, count: 4, by: self)
        ports.claim(Self.apmControl, count: 2, by: self)
        reset()
    }

    func reset() {
        resetConfig()
        for register in 0x40..<0x100 { set8(register, 0) }
        set16(0x06, 0x0280)
        set8(0x40, 0x01)
        set8(0x90, 0x01)
        set8(0x5F, 0x10)
        set8(0x63, 0x60)
        set8(0x67, (serialPortCount > 0 ? 0x08 : 0) | (serialPortCount > 1 ? 0x90 : 0))
        // APMC_EN: firmware takes it for "SMM is set up already" and leaves SMIs alone.
        set8(0x5B, 0x02)
        (status, enable, control, gpeStatus, gpeEnable) = (0, 0, 0, 0, 0)
        apm = (0, 0)
        settledTicks = ticks
        smbus.reset()
        remap()
        update()
    }

    override func configWritten(_ offset: Int, size: Int) {
        set8(0x40, config[0x40] & 0xC0 | 1)
        set8(0x90, config[0x90] & 0xF0 | 1)
        remap()
    }

    private func remap() {
        let pm = UInt16(config[0x40] & 0xC0) | UInt16(config[0x41]) << 8
        let wantedPM = config[0x80] & 1 != 0 && pm != 0 ? pm : nil
        if wantedPM != mappedPM {
            if let old = mappedPM { ports.release(old, count: 64, from: self) }
            if let new = wantedPM { ports.claim(new, count: 64, by: self) }
            mappedPM = wantedPM
        }
        let bus = UInt16(config[0x90] & 0xF0) | UInt16(config[0x91]) << 8
        let wantedBus = config[0xD2] & 1 != 0 && bus != 0 ? bus : nil
        if wantedBus != mappedSMBus {
            if let old = mappedSMBus { ports.release(old, count: 16, from: smbus) }
            if let new = wantedBus { ports.claim(new, count: 16, by: smbus) }
            mappedSMBus = wantedBus
            smbus.base = wantedBus ?? 0
        }
    }

    // MARK: Events

    /// The user pressed the power button: a guest with ACPI shuts down in order.
    func pressPowerButton() {
        status |= Status.powerButton
        update()
    }

    /// A general-purpose event (GPE0) has happened.
    func raiseGeneralEvent(_ number: Int) {
        gpeStatus |= 1 << UInt16(number)
        update()
    }

    private var ticks: UInt64 { ClockRates.ticks(at: scheduler.nowNanoseconds, hertz: ClockRates.pmTimerHertz) }

    /// TMR_STS is set whenever bit 23 of the timer changes.
    private func settleTimer() {
        let now = ticks
        if now >> 23 != settledTicks >> 23 { status |= Status.timer }
        settledTicks = now
        update()
    }

    private func update() {
        sci.set(control & 1 != 0 && (status & enable != 0 || gpeStatus & gpeEnable != 0))
        guard let timer else { return }
        if enable & Status.timer != 0, status & Status.timer == 0 {
            let change = (settledTicks >> 23 + 1) << 23
            scheduler.arm(timer, at: ClockRates.nanoseconds(at: change, hertz: ClockRates.pmTimerHertz))
        } else {
            scheduler.cancel(timer)
        }
    }

    private func writeControl(_ value: UInt16) {
        control = value & ~0x2000
        update()
        guard value & 0x2000 != 0 else { return }
        switch value >> 10 & 7 {
        case 0, 2: powerOff()
        case 1: suspend()
        default: break
        }
    }

    /// Ends S3: WAK_STS tells the guest that it slept.
    func wake() {
        status |= Status.wake
        update()
    }

    // MARK: Ports

    func portRead(_ port: UInt16, size: Int) -> UInt32 {
        if let base = mappedPM, port &- base == 8, size == 4 { return UInt32(ticks & Self.timerMask) }
        return PortBus.splitRead(port, size: size) { port in
            let (register, isHigh) = (port & ~1, port & 1 != 0)
            let value = readWord(register)
            return UInt8(truncatingIfNeeded: isHigh ? value >> 8 : value)
        }
    }

    private func readWord(_ port: UInt16) -> UInt16 {
        if port == Self.apmControl { return UInt16(apm.control) | UInt16(apm.status) << 8 }
        if port == Self.gpeBase { return gpeStatus }
        if port == Self.gpeBase + 2 { return gpeEnable }
        guard let base = mappedPM else { return 0xFFFF }
        switch port &- base {
        case 0:
            settleTimer()
            return status
        case 2: return enable
        case 4: return control
        case 8: return UInt16(truncatingIfNeeded: ticks & Self.timerMask)
        case 10: return UInt16(truncatingIfNeeded: (ticks & Self.timerMask) >> 16)
        default: return 0
        }
    }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        if port & ~1 == Self.apmControl {
            return PortBus.splitWrite(port, size: size, value: value, writeAPM)
        }
        // Registers are words; a byte write changes its half only, and clears no status bits in the other.
        var done = 0
        while done < size {
            let at = port &+ UInt16(done)
            let isByte = at & 1 != 0 || size - done == 1
            let part = UInt16(truncatingIfNeeded: value >> UInt32(8 * done))
            if isByte {
                let isHigh = at & 1 != 0
                let field: UInt16 = isHigh ? 0xFF00 : 0x00FF
                writeWord(at & ~1, isHigh ? part << 8 : part & 0xFF, field: field)
            } else {
                writeWord(at, part, field: 0xFFFF)
            }
            done += isByte ? 1 : 2
        }
    }

    private func writeWord(_ port: UInt16, _ value: UInt16, field: UInt16) {
        let bits = value & field
        if port == Self.gpeBase {
            gpeStatus &= ~bits
        } else if port == Self.gpeBase + 2 {
            gpeEnable = gpeEnable & ~field | bits
        } else if let base = mappedPM {
            switch port &- base {
            case 0:
                settleTimer()
                status &= ~bits
            case 2: enable = enable & ~field | bits
            case 4: return writeControl(control & ~field | bits)
            default: break
            }
        }
        update()
    }

    private func writeAPM(_ port: UInt16, _ value: UInt8) {
        guard port == Self.apmControl else { return apm.status = value }
        apm.control = value
        switch value {
        case 0xF1: control |= 1
        case 0xF0: control &= ~1
        default: break
        }
        update()
    }
}

extension PIIX4PM {
    var stateID: String { "piix4-pm" }

    func exchange(_ c: StateCoder) {
        exchangeConfig(c)
        c.field("sci", sci)
        c.field("status", &status)
        c.field("enable", &enable)
        c.field("control", &control)
        c.field("gpeStatus", &gpeStatus)
        c.field("gpeEnable", &gpeEnable)
        c.field("apmControl", &apm.control)
        c.field("apmStatus", &apm.status)
        c.field("settledTicks", &settledTicks)
        c.group("smbus") { smbus.exchange(c) }
    }

    func stateRestored() {
        configRestored()
        remap()
    }
}

/// SMBus host controller of the PIIX4 (datasheet 7.3) with an empty bus: every transaction ends in "device error".
final class SMBusHost: PortDevice {
    var base: UInt16 = 0
    private var registers = [UInt8](repeating: 0, count: 16)

    func reset() { registers = [UInt8](repeating: 0, count: 16) }

    func exchange(_ c: StateCoder) { c.field("registers", &registers) }

    func portRead(_ port: UInt16, size: Int) -> UInt32 {
        PortBus.splitRead(port, size: size) { registers[Int(($0 &- base) & 15)] }
    }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        PortBus.splitWrite(port, size: size, value: value) { port, byte in
            let register = Int((port &- base) & 15)
            switch register {
            case 0: registers[0] &= ~(byte & 0x1E)
            case 2:
                registers[2] = byte & ~0x40
                // START: nobody acknowledges the address.
                if byte & 0x40 != 0 { registers[0] = 0x04 }
            default: registers[register] = byte
            }
        }
    }
}
