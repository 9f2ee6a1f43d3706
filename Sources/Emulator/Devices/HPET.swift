/// High Precision Event Timer at FED00000 (IA-PC HPET specification 1.0a, 2.3), three comparators, 100 MHz.
///
/// | offset | what |
/// | --- | --- |
/// | 000 | capabilities: 63–32 period in femtoseconds, 31–16 vendor, 15 legacy routes, 13 64-bit, 12–8 timers − 1, 7–0 revision |
/// | 010 | configuration: 0 run, 1 legacy replacement (timer 0 is IRQ 0, timer 1 is IRQ 8) |
/// | 020 | interrupt status of level-triggered timers; written ones clear |
/// | 0F0 | main counter |
/// | 100 + 20n | timer n: 63–32 possible GSIs, 13–9 GSI, 8 32-bit, 6 set accumulator, 5 64-bit, 4 can be periodic, 3 periodic, 2 enabled, 1 level |
/// | 108 + 20n | comparator; in periodic mode also the period |
final class HPET: MMIODevice, BoardDevice {
    static let base: UInt64 = 0xFED0_0000
    static let mappedBytes: UInt64 = 0x400
    static let eventTimerBlockID: UInt32 = 0x8086_A201
    private static let periodFemtoseconds: UInt64 = 10_000_000
    private static let nanosecondsPerTick: UInt64 = 10
    private static let timerCount = 3

    private enum Bits {
        static let run: UInt64 = 1, legacy: UInt64 = 2
        static let level: UInt64 = 1 << 1, enabled: UInt64 = 1 << 2, periodic: UInt64 = 1 << 3
        static let canBePeriodic: UInt64 = 1 << 4, is64Bit: UInt64 = 1 << 5, setsAccumulator: UInt64 = 1 << 6
        static let forced32: UInt64 = 1 << 8
        static let writable: UInt64 = 0x3F4E
        /// Every timer can reach GSI 2 only, as on QEMU's `pc`.
        static let routes: UInt64 = 1 << (32 + 2)
    }

    private struct Comparator {
        var config: UInt64 = Bits.canBePeriodic | Bits.is64Bit | Bits.routes
        var value: UInt64 = ~0
        var period: UInt64 = 0
        var is32Bit: Bool { config & Bits.forced32 != 0 }
        var isPeriodic: Bool { config & Bits.periodic != 0 }
    }

    private let scheduler: Scheduler
    private let wires: InterruptWires
    private var lines: [Int: [IRQLine]] = [:]
    private let pit: PIT8254
    private let rtc: CMOSRTC
    private var config: UInt64 = 0
    private var status: UInt64 = 0
    private var comparators = [Comparator](repeating: Comparator(), count: HPET.timerCount)
    private var alarms: [Scheduler.Timer] = []
    /// The counter's value when it last stopped or started, and the guest time of that.
    private var stoppedAt: UInt64 = 0
    private var startedAt: UInt64 = 0

    init(scheduler: Scheduler, wires: InterruptWires, pit: PIT8254, rtc: CMOSRTC) {
        self.scheduler = scheduler
        self.wires = wires
        self.pit = pit
        self.rtc = rtc
        for index in 0..<Self.timerCount {
            let alarm = scheduler.makeTimer("hpet-\(index)") { [weak self] in self?.expired(index, at: $0) }
            alarms.append(alarm)
        }
    }

    func reset() {
        (config, status, stoppedAt) = (0, 0, 0)
        comparators = [Comparator](repeating: Comparator(), count: Self.timerCount)
        alarms.forEach(scheduler.cancel)
        lines.values.joined().forEach { $0.set(false) }
        applyLegacy()
    }

    // MARK: Counting

    private var isRunning: Bool { config & Bits.run != 0 }

    private func counter(at now: UInt64) -> UInt64 {
        isRunning ? stoppedAt &+ (now - startedAt) / Self.nanosecondsPerTick : stoppedAt
    }

    /// Ticks until the counter next equals the comparator; a full turn when it does so now.
    private func distance(_ comparator: Comparator, from count: UInt64) -> UInt64 {
        if comparator.is32Bit {
            let ticks = UInt64(UInt32(truncatingIfNeeded: comparator.value) &- UInt32(truncatingIfNeeded: count))
            return ticks == 0 ? 1 << 32 : ticks
        }
        let ticks = comparator.value &- count
        return ticks == 0 ? ~0 : ticks
    }

    private func arm(_ index: Int) {
        // The counter runs for every timer, interrupting or not; only those that interrupt need an alarm.
        guard isRunning, comparators[index].config & Bits.enabled != 0 else { return scheduler.cancel(alarms[index]) }
        let now = scheduler.nowNanoseconds
        let ticks = distance(comparators[index], from: counter(at: now))
        let (wait, overflow) = ticks.multipliedReportingOverflow(by: Self.nanosecondsPerTick)
        // The tick in progress began up to 9 ns ago.
        let started = now - (now - startedAt) % Self.nanosecondsPerTick
        let (deadline, late) = started.addingReportingOverflow(wait)
        if overflow || late { scheduler.cancel(alarms[index]) } else { scheduler.arm(alarms[index], at: deadline) }
    }

    private func armAll() { (0..<Self.timerCount).forEach(arm) }

    private func expired(_ index: Int, at deadline: UInt64) {
        raise(index)
        if comparators[index].isPeriodic, comparators[index].period != 0 {
            // Step past the present moment: periods missed while the host was busy merge.
            let count = counter(at: max(deadline, scheduler.nowNanoseconds))
            let period = comparators[index].period
            if comparators[index].is32Bit {
                let behind = UInt64(
                    UInt32(truncatingIfNeeded: count) &- UInt32(truncatingIfNeeded: comparators[index].value))
                let next = comparators[index].value &+ (behind / period + 1) &* period
                comparators[index].value = next & 0xFFFF_FFFF
            } else {
                let behind = count &- comparators[index].value
                comparators[index].value &+= (behind / period &+ 1) &* period
            }
        }
        arm(index)
    }

    // MARK: Interrupts

    private var isLegacy: Bool { config & Bits.legacy != 0 }

    private func line(_ index: Int) -> IRQLine {
        let gsi: Int
        if isLegacy, index < 2 { gsi = index == 0 ? 0 : 8 } else { gsi = Int(comparators[index].config >> 9 & 31) }
        return lines(to: gsi)[index]
    }

    /// The wires of all timers to one GSI.
    private func lines(to gsi: Int) -> [IRQLine] {
        if let known = lines[gsi] { return known }
        // Routes beyond the I/O APIC's pins end nowhere.
        let made = (0..<Self.timerCount).map { _ in
            gsi < IOAPIC.pinCount ? wires.line(gsi) : IRQLine.unconnected()
        }
        lines[gsi] = made
        return made
    }

    private func raise(_ index: Int) {
        if comparators[index].config & Bits.level != 0 {
            status |= 1 << UInt64(index)
            line(index).set(true)
        } else {
            line(index).pulse()
        }
    }

    private func applyLegacy() {
        pit.isInterruptEnabled = !isLegacy
        rtc.isInterruptConnected = !isLegacy
    }

    // MARK: Registers

    private func read(_ register: UInt64) -> UInt64 {
        switch register {
        case 0x00:
            return Self.periodFemtoseconds << 32 | UInt64(Self.eventTimerBlockID) & ~0x1F00
                | UInt64(Self.timerCount - 1) << 8
        case 0x10: return config
        case 0x20: return status
        case 0xF0: return counter(at: scheduler.nowNanoseconds)
        case 0x100..<0x100 + 0x20 * UInt64(Self.timerCount):
            let comparator = comparators[Int(register - 0x100) / 0x20]
            return register & 0x1F == 0 ? comparator.config : register & 0x1F == 8 ? comparator.value : 0
        default: return 0
        }
    }

    func mmioRead(_ offset: UInt64, size: Int) -> UInt64 {
        read(offset & ~7) >> ((offset & 7) * 8)
    }

    func mmioWrite(_ offset: UInt64, size: Int, value: UInt64) {
        guard size >= 4, offset & 3 == 0 else { return }
        let shift = (offset & 4) * 8
        let field: UInt64 = size == 8 ? ~0 : 0xFFFF_FFFF << shift
        write(offset & ~7, value << shift & field, field: field)
    }

    /// - Parameter field: which of the register's bits are written.
    private func write(_ register: UInt64, _ value: UInt64, field: UInt64) {
        let now = scheduler.nowNanoseconds
        switch register {
        case 0x10 where field & 3 != 0:
            // A change of the run bit only; a running counter keeps its phase.
            if (value ^ config) & Bits.run != 0 {
                stoppedAt = counter(at: now)
                startedAt = now
            }
            config = value & 3
            applyLegacy()
            armAll()
        case 0x20:
            for index in 0..<Self.timerCount where value >> UInt64(index) & 1 != 0 && status >> UInt64(index) & 1 != 0 {
                status &= ~(1 << UInt64(index))
                line(index).set(false)
            }
        case 0xF0 where !isRunning: stoppedAt = stoppedAt & ~field | value
        case 0x100..<0x100 + 0x20 * UInt64(Self.timerCount):
            let index = Int(register - 0x100) / 0x20
            if register & 0x1F == 0 { writeConfig(index, value, field: field) }
            if register & 0x1F == 8 { writeComparator(index, value, field: field) }
            arm(index)
        default: break
        }
    }

    private func writeConfig(_ index: Int, _ value: UInt64, field: UInt64) {
        let mask = Bits.writable & field
        let old = comparators[index].config
        if old & Bits.level != 0, value & Bits.level == 0 || value & Bits.enabled == 0, mask != 0 {
            line(index).set(false)
            status &= ~(1 << UInt64(index))
        }
        comparators[index].config = old & ~mask | value & mask
        if comparators[index].is32Bit { comparators[index].value &= 0xFFFF_FFFF }
    }

    /// In periodic mode the value written is the period; with "set accumulator" it is the comparator, and the bit clears.
    private func writeComparator(_ index: Int, _ value: UInt64, field: UInt64) {
        let isNarrow = comparators[index].is32Bit
        // 32-bit timers have no upper half to write.
        guard !isNarrow || field & 0xFFFF_FFFF != 0 else { return }
        let bits = isNarrow ? value & 0xFFFF_FFFF : value
        let setsAccumulator = comparators[index].config & Bits.setsAccumulator != 0
        if !comparators[index].isPeriodic || setsAccumulator {
            comparators[index].value = isNarrow ? bits : comparators[index].value & ~field | bits
        }
        if comparators[index].isPeriodic {
            comparators[index].period = isNarrow ? bits : comparators[index].period & ~field | bits
        }
        if field & 0xFFFF_FFFF != 0 { comparators[index].config &= ~Bits.setsAccumulator }
    }
}

extension HPET {
    var stateID: String { "hpet" }

    func exchange(_ c: StateCoder) {
        c.field("config", &config)
        c.field("status", &status)
        for index in comparators.indices {
            c.group("comparators\(index)") {
                c.field("config", &comparators[index].config)
                c.field("value", &comparators[index].value)
                c.field("period", &comparators[index].period)
            }
        }
        c.field("stoppedAt", &stoppedAt)
        c.past("startedAt", &startedAt)
        // One bit for each GSI whose wire a timer holds high.
        for index in comparators.indices {
            var levels: UInt32 = 0
            for (gsi, group) in lines where group[index].level { levels |= 1 << UInt32(gsi) }
            c.field("lines\(index)", &levels)
            guard c.isRestoring else { continue }
            for gsi in 0..<32 {
                let isHigh = levels >> UInt32(gsi) & 1 != 0
                if isHigh || lines[gsi] != nil { lines(to: gsi)[index].restore(level: isHigh) }
            }
        }
    }

    func stateRestored() { applyLegacy() }
}
