/// Motorola MC146818 real-time clock with 128 bytes of CMOS RAM (datasheet, "Registers"; PC/AT technical reference).
///
/// | index | content |
/// | --- | --- |
/// | 00, 02, 04 | seconds, minutes, hours |
/// | 01, 03, 05 | alarm seconds, minutes, hours (C0h and above: any) |
/// | 06–09, 32 | weekday (1 Sunday), day, month, year, century |
/// | 0A | 7 update in progress, 6–4 divider, 3–0 periodic rate |
/// | 0B | 7 set, 6 periodic, 5 alarm, 4 update-ended enable, 2 binary, 1 24-hour |
/// | 0C | 7 IRQ, 6 periodic, 5 alarm, 4 update-ended flag; reading clears |
/// | 0D | 7 battery good |
///
/// Ports: 70h index (bit 7 masks NMI), 71h data. Which other bytes the firmware reads is in `CMOSContents`.
final class CMOSRTC: PortDevice, BoardDevice {
    private enum Register { static let a = 0x0A, b = 0x0B, c = 0x0C, d = 0x0D, century = 0x32 }
    private enum Flag {
        static let irq: UInt8 = 0x80, periodic: UInt8 = 0x40, alarm: UInt8 = 0x20, update: UInt8 = 0x10
    }
    /// The update cycle is announced 244 µs before the seconds change.
    private static let updateNanoseconds: UInt64 = 244_000
    private static let second = ClockRates.nanosecondsPerSecond

    private let scheduler: Scheduler
    private let irq: IRQLine
    private var ram = [UInt8](repeating: 0, count: 128)
    private var index = 0
    /// RTC seconds since 1970 at guest time zero; the guest's setting of the clock changes it.
    private var epochSeconds: Int64
    /// Guest time up to which the flags in register C have been brought.
    private var flagsSettledAt: UInt64 = 0
    private var timer: Scheduler.Timer?
    /// HPET legacy replacement takes IRQ 8 away from the clock.
    var isInterruptConnected = true { didSet { updateIRQ() } }

    /// - Parameter epochSeconds: what the clock shows at guest time zero, in seconds since 1970.
    init(scheduler: Scheduler, irq: IRQLine, epochSeconds: Int64) {
        self.scheduler = scheduler
        self.irq = irq
        self.epochSeconds = epochSeconds
        ram[Register.a] = 0x26
        ram[Register.b] = 0x02
        ram[Register.d] = 0x80
        timer = scheduler.makeTimer("rtc") { [weak self] deadline in self?.settleFlags(deadline) }
    }

    func attach(to ports: PortBus) { ports.claim(0x70, count: 2, by: self) }

    /// Sets a byte of CMOS RAM, as the factory would.
    func setByte(_ index: Int, _ value: UInt8) { ram[index & 0x7F] = value }

    /// RESET# clears the enables and flags; time and RAM live on the battery.
    func reset() {
        ram[Register.b] &= ~(Flag.periodic | Flag.alarm | Flag.update | 0x08)
        ram[Register.c] = 0
        index = 0
        irq.set(false)
        flagsSettledAt = scheduler.nowNanoseconds
        rearm()
    }

    /// The host's clock went on without the machine.
    func advance(bySeconds seconds: Int64) { epochSeconds = min(epochSeconds &+ seconds, 1 << 43) }

    // MARK: Time

    private var isSetting: Bool { ram[Register.b] & 0x80 != 0 }
    private var dividerRuns: Bool { ram[Register.a] & 0x70 < 0x60 }
    private func clockSeconds(_ now: UInt64) -> Int64 { epochSeconds &+ Int64(clamping: now / Self.second) }

    /// A byte has no room for a century above 255, or above 159 in BCD, which a guest may have set: its low bits are kept.
    private func encode(_ value: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: ram[Register.b] & 4 != 0 ? value : (value / 10) << 4 | value % 10)
    }

    private func decode(_ value: UInt8) -> Int {
        ram[Register.b] & 4 != 0 ? Int(value) : Int(value >> 4) * 10 + Int(value & 15)
    }

    private func encodeHour(_ hour: Int) -> UInt8 {
        if ram[Register.b] & 2 != 0 { return encode(hour) }
        return encode((hour + 11) % 12 + 1) | (hour >= 12 ? 0x80 : 0)
    }

    private func decodeHour(_ value: UInt8) -> Int {
        if ram[Register.b] & 2 != 0 { return decode(value) }
        return decode(value & 0x7F) % 12 + (value & 0x80 != 0 ? 12 : 0)
    }

    /// Brings the time bytes up to the moment, unless the guest holds them.
    private func refreshTime(_ now: UInt64) {
        guard !isSetting else { return }
        let date = CalendarDate(secondsSince1970: clockSeconds(now))
        ram[0x00] = encode(date.second)
        ram[0x02] = encode(date.minute)
        ram[0x04] = encodeHour(date.hour)
        ram[0x06] = encode(date.weekday + 1)
        ram[0x07] = encode(date.day)
        ram[0x08] = encode(date.month)
        ram[0x09] = encode(date.year % 100)
        ram[Register.century] = encode(date.year / 100)
    }

    /// The guest wrote the time bytes: the clock goes on from them.
    private func adoptTime(_ now: UInt64) {
        let date = CalendarDate(
            year: decode(ram[Register.century]) * 100 + decode(ram[0x09]), month: decode(ram[0x08]),
            day: decode(ram[0x07]), hour: decodeHour(ram[0x04]), minute: decode(ram[0x02]), second: decode(ram[0x00]))
        epochSeconds = date.secondsSince1970 &- Int64(clamping: now / Self.second)
    }

    // MARK: Interrupts

    /// Nanoseconds between periodic interrupts for the rate in register A; nil when off. Rates 1 and 2 equal 8 and 9.
    private var periodTicks: UInt64? {
        let rate = ram[Register.a] & 15
        guard rate != 0, dividerRuns else { return nil }
        return 1 << (UInt64(rate < 3 ? rate + 7 : rate) - 1)
    }

    private func alarmMatches(_ seconds: Int64) -> Bool {
        let date = CalendarDate(secondsSince1970: seconds)
        func matches(_ alarm: UInt8, _ value: UInt8) -> Bool { alarm >= 0xC0 || alarm == value }
        return matches(ram[1], encode(date.second)) && matches(ram[3], encode(date.minute))
            && matches(ram[5], encodeHour(date.hour))
    }

    /// Sets the flags of everything that happened since the last look and arms the timer for the next enabled event.
    private func settleFlags(_ now: UInt64) {
        guard now >= flagsSettledAt else { return }
        if let period = periodTicks {
            let before = ClockRates.ticks(at: flagsSettledAt, hertz: 32_768) / period
            if ClockRates.ticks(at: now, hertz: 32_768) / period != before { ram[Register.c] |= Flag.periodic }
        }
        let (firstSecond, lastSecond) = (flagsSettledAt / Self.second, now / Self.second)
        if lastSecond != firstSecond, dividerRuns, !isSetting {
            ram[Register.c] |= Flag.update
            // After a long pause the alarm is looked for in the last day only: it repeats at least daily.
            let from = max(clockSeconds(flagsSettledAt) + 1, clockSeconds(now) - 86_400)
            if ram[Register.c] & Flag.alarm == 0, (from...clockSeconds(now)).contains(where: alarmMatches) {
                ram[Register.c] |= Flag.alarm
            }
        }
        flagsSettledAt = now
        updateIRQ()
        rearm()
    }

    private func updateIRQ() {
        let isAsserted = ram[Register.c] & ram[Register.b] & (Flag.periodic | Flag.alarm | Flag.update) != 0
        ram[Register.c] = ram[Register.c] & ~Flag.irq | (isAsserted ? Flag.irq : 0)
        irq.set(isAsserted && isInterruptConnected)
    }

    private func rearm() {
        guard let timer else { return }
        let enabled = ram[Register.b]
        var next = UInt64.max
        if enabled & Flag.periodic != 0, let period = periodTicks {
            let tick = (ClockRates.ticks(at: flagsSettledAt, hertz: 32_768) / period + 1) * period
            next = ClockRates.nanoseconds(at: tick, hertz: 32_768)
        }
        if enabled & (Flag.alarm | Flag.update) != 0, dividerRuns, !isSetting {
            next = min(next, (flagsSettledAt / Self.second + 1) * Self.second)
        }
        if next == .max { scheduler.cancel(timer) } else { scheduler.arm(timer, at: next) }
    }

    // MARK: Ports

    func portRead(_ port: UInt16, size: Int) -> UInt32 {
        PortBus.splitRead(port, size: size) { $0 == 0x71 ? readData() : 0xFF }
    }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        PortBus.splitWrite(port, size: size, value: value) { port, byte in
            if port == 0x70 { index = Int(byte & 0x7F) } else if port == 0x71 { writeData(byte) }
        }
    }

    private func readData() -> UInt8 {
        let now = scheduler.nowNanoseconds
        switch index {
        case 0x00, 0x02, 0x04, 0x06...0x09, Register.century: refreshTime(now)
        case Register.a:
            let untilUpdate = Self.second - now % Self.second
            let isUpdating = dividerRuns && !isSetting && untilUpdate <= Self.updateNanoseconds
            return ram[Register.a] & 0x7F | (isUpdating ? 0x80 : 0)
        case Register.c:
            settleFlags(now)
            let value = ram[Register.c]
            ram[Register.c] = 0
            updateIRQ()
            return value
        default: break
        }
        return ram[index]
    }

    private func writeData(_ value: UInt8) {
        let now = scheduler.nowNanoseconds
        switch index {
        case 0x00, 0x02, 0x04, 0x06...0x09, Register.century:
            refreshTime(now)
            ram[index] = value
            if !isSetting { adoptTime(now) }
        case Register.a:
            settleFlags(now)
            ram[index] = value & 0x7F
            rearm()
        case Register.b:
            settleFlags(now)
            refreshTime(now)
            let wasSetting = isSetting
            // SET also clears the update-ended enable.
            ram[index] = value & 0x80 != 0 ? value & ~Flag.update : value
            if wasSetting, !isSetting { adoptTime(now) }
            updateIRQ()
            rearm()
        case Register.c, Register.d: break
        default: ram[index] = value
        }
    }
}

extension CMOSRTC {
    var stateID: String { "rtc" }

    func exchange(_ c: StateCoder) {
        c.field("irq", irq)
        c.field("ram", &ram)
        c.field("index", &index, in: 0...127)
        // Some hundred thousand years either way.
        c.field("epochSeconds", &epochSeconds, in: -(1 << 43)...1 << 43)
        c.past("flagsSettledAt", &flagsSettledAt)
    }
}
