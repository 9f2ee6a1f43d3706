/// Intel 8254 programmable interval timer and system control port B (Intel 82371SB datasheet, 4.3 and 2.5.3).
///
/// | port | read | write |
/// | --- | --- | --- |
/// | 40–42 | count or latched status of counter 0–2 | count |
/// | 43 | – | control word: 7–6 counter (3: read-back), 5–4 access, 3–1 mode, 0 BCD |
/// | 61 | 0 gate 2, 1 speaker, 2–3 NMI masks, 4 refresh toggle, 5 OUT 2 | bits 0–3 |
///
/// Counter 0's output is IRQ 0. Counter 2's gate is bit 0 of port 61h; counters 0 and 1 are always enabled.
final class PIT8254: PortDevice, BoardDevice {
    /// DRAM refresh requests come every 15.085 µs and toggle bit 4 of port 61h.
    private static let refreshNanoseconds: UInt64 = 15_085

    private let scheduler: Scheduler
    private let irq: IRQLine
    private var counters = [PITCounter(gate: true), PITCounter(gate: true), PITCounter(gate: false)]
    /// Writable bits of port 61h.
    private var controlB: UInt8 = 0
    private var timer: Scheduler.Timer?
    /// HPET legacy replacement takes IRQ 0 away from counter 0.
    var isInterruptEnabled = true { didSet { if isInterruptEnabled != oldValue { scheduleInterrupt() } } }

    init(scheduler: Scheduler, irq: IRQLine) {
        self.scheduler = scheduler
        self.irq = irq
        timer = scheduler.makeTimer("pit") { [weak self] deadline in self?.outputRose(at: deadline) }
    }

    func attach(to ports: PortBus) {
        ports.claim(0x40, count: 4, by: self)
        ports.claim(0x61, count: 1, by: self)
    }

    func reset() {
        counters = [PITCounter(gate: true), PITCounter(gate: true), PITCounter(gate: false)]
        controlB = 0
        scheduleInterrupt()
    }

    private var tick: UInt64 { ClockRates.ticks(at: scheduler.nowNanoseconds, hertz: ClockRates.pitHertz) }

    /// Counter 2's OUT pin gated by the speaker bit, for an audio back end.
    var isSpeakerHigh: Bool { controlB & 2 != 0 && counters[2].output(tick) }

    private func scheduleInterrupt() {
        guard let timer else { return }
        let now = tick
        // Disconnected, the wire must rest low: it is shared with the HPET, and a high level would hide its edges.
        irq.set(isInterruptEnabled && counters[0].output(now))
        arm(timer, after: now)
    }

    private func arm(_ timer: Scheduler.Timer, after now: UInt64) {
        if isInterruptEnabled, let rise = counters[0].nextRise(after: now) {
            scheduler.arm(timer, at: ClockRates.nanoseconds(at: rise, hertz: ClockRates.pitHertz))
        } else {
            scheduler.cancel(timer)
        }
    }

    private func outputRose(at deadline: UInt64) {
        let now = ClockRates.ticks(at: deadline, hertz: ClockRates.pitHertz)
        counters[0].settle(now)
        irq.set(false)
        irq.set(true)
        if let timer { arm(timer, after: now) }
    }

    // MARK: Ports

    func portRead(_ port: UInt16, size: Int) -> UInt32 { PortBus.splitRead(port, size: size, readByte) }
    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        PortBus.splitWrite(port, size: size, value: value, writeByte)
    }

    private func readByte(_ port: UInt16) -> UInt8 {
        let now = tick
        switch port {
        case 0x40...0x42:
            let index = Int(port & 3)
            counters[index].settle(now)
            return counters[index].read(now)
        case 0x61:
            counters[2].settle(now)
            let refresh = UInt8(scheduler.nowNanoseconds / Self.refreshNanoseconds & 1)
            return controlB | refresh << 4 | (counters[2].output(now) ? 0x20 : 0)
        default: return 0xFF
        }
    }

    private func writeByte(_ port: UInt16, _ value: UInt8) {
        let now = tick
        switch port {
        case 0x40...0x42:
            let index = Int(port & 3)
            counters[index].settle(now)
            let isComplete = counters[index].write(value, now)
            if index == 0, isComplete || counters[0].mode == 0 { scheduleInterrupt() }
        case 0x43: writeControl(value, now)
        case 0x61:
            controlB = value & 0x0F
            counters[2].settle(now)
            counters[2].setGate(value & 1 != 0, now)
        default: break
        }
    }

    private func writeControl(_ value: UInt8, _ now: UInt64) {
        let selected = Int(value >> 6)
        for counter in counters.indices { counters[counter].settle(now) }
        guard selected == 3 else {
            counters[selected].writeControl(value, now)
            if selected == 0, value & 0x30 != 0 { scheduleInterrupt() }
            return
        }
        // Read-back: bit 5 clear latches counts, bit 4 clear latches status, bits 3–1 choose counters.
        for counter in counters.indices where value & (2 << UInt8(counter)) != 0 {
            if value & 0x20 == 0 { counters[counter].latchCount(now) }
            if value & 0x10 == 0 { counters[counter].latchStatus(now) }
        }
    }
}

extension PIT8254 {
    var stateID: String { "pit" }

    func exchange(_ c: StateCoder) {
        c.field("irq", irq)
        let now = ClockRates.ticks(at: c.now, hertz: ClockRates.pitHertz)
        for index in counters.indices { c.group("counters\(index)") { counters[index].exchange(c, now: now) } }
        c.field("controlB", &controlB)
    }
}
