/// Intel 82093AA I/O APIC at FEC00000 (datasheet 290566), with the EOI register of version 20h.
///
/// | offset | what |
/// | --- | --- |
/// | 00 | IOREGSEL: register number |
/// | 10 | IOWIN: 00 id, 01 version and entry count, 02 arbitration, 10 + 2n / 11 + 2n redirection entry n |
/// | 40 | EOI: vector |
///
/// Redirection entry: 7–0 vector, 10–8 mode, 11 logical, 12 pending, 14 remote IRR, 15 level, 16 masked, 63–56 destination.
/// Input polarity does not matter here: our wires say "asserted", not "high".
final class IOAPIC: MMIODevice, BoardDevice {
    static let base: UInt64 = 0xFEC0_0000
    static let mappedBytes: UInt64 = 0x1000
    static let pinCount = 24

    private enum Entry {
        static let remoteIRR: UInt64 = 1 << 14, level: UInt64 = 1 << 15, masked: UInt64 = 1 << 16
        static let readOnly: UInt64 = 1 << 12 | 1 << 14
        static let writable: UInt64 = 0xFF00_0000_0001_FFFF
    }

    private let bus: APICBus
    private let pic: PIC8259
    private var selected: UInt32 = 0
    private var id: UInt32 = 0
    private var entries = [UInt64](repeating: Entry.masked, count: IOAPIC.pinCount)
    private var inputs: UInt32 = 0

    init(bus: APICBus, pic: PIC8259) {
        self.bus = bus
        self.pic = pic
        for apic in bus.apics { apic.endOfInterrupt = { [weak self] vector in self?.endOfInterrupt(vector) } }
    }

    func reset() {
        (selected, id) = (0, 0)
        entries = [UInt64](repeating: Entry.masked, count: Self.pinCount)
    }

    func setInput(_ pin: Int, _ level: Bool) {
        let bit: UInt32 = 1 << UInt32(pin)
        let isRising = level && inputs & bit == 0
        inputs = level ? inputs | bit : inputs & ~bit
        // An edge at a masked pin is lost (datasheet, "Interrupt Mask").
        if isRising || level && entries[pin] & Entry.level != 0 { service(pin) }
    }

    /// Sends the pin's message, for an edge that just came or a level that still stands.
    private func service(_ pin: Int) {
        let entry = entries[pin]
        guard entry & Entry.masked == 0 else { return }
        let isLevel = entry & Entry.level != 0
        if isLevel, inputs & 1 << UInt32(pin) == 0 || entry & Entry.remoteIRR != 0 { return }
        guard let mode = LocalAPIC.DeliveryMode(rawValue: UInt32(entry >> 8 & 7)) else { return }
        var message = InterruptMessage(
            destination: UInt32(entry >> 56), isLogical: entry & 0x800 != 0, mode: mode, vector: UInt8(entry & 0xFF),
            isLevel: isLevel)
        guard bus.isExpected(message) else { return }
        if mode == .external {
            // The 8259 pair hangs on this pin: it supplies the vector, to one processor.
            message.mode = .lowestPriority
            message.vector = pic.acknowledge()
            message.isLevel = false
        } else if isLevel, mode == .fixed || mode == .lowestPriority {
            entries[pin] |= Entry.remoteIRR
        }
        bus.send(message)
    }

    private func endOfInterrupt(_ vector: UInt8) {
        for pin in 0..<Self.pinCount
        where entries[pin] & (Entry.level | Entry.remoteIRR) == Entry.level | Entry.remoteIRR
            && UInt8(entries[pin] & 0xFF) == vector
        {
            entries[pin] &= ~Entry.remoteIRR
            service(pin)
        }
    }

    // MARK: Registers

    func mmioRead(_ offset: UInt64, size: Int) -> UInt64 {
        switch offset & 0xFF {
        case 0x00: return UInt64(selected)
        case 0x10: return UInt64(readRegister())
        default: return 0
        }
    }

    func mmioWrite(_ offset: UInt64, size: Int, value: UInt64) {
        switch offset & 0xFF {
        case 0x00: selected = UInt32(value & 0xFF)
        case 0x10: writeRegister(UInt32(truncatingIfNeeded: value))
        case 0x40: endOfInterrupt(UInt8(truncatingIfNeeded: value))
        default: break
        }
    }

    private func readRegister() -> UInt32 {
        switch selected {
        case 0x00, 0x02: return id
        case 0x01: return 0x20 | UInt32(Self.pinCount - 1) << 16
        default:
            guard selected >= 0x10, let pin = selectedPin else { return 0 }
            return UInt32(truncatingIfNeeded: entries[pin] >> (selected & 1 != 0 ? 32 : 0))
        }
    }

    private var selectedPin: Int? {
        let pin = Int(selected >> 1) - 8
        return pin >= 0 && pin < Self.pinCount ? pin : nil
    }

    private func writeRegister(_ value: UInt32) {
        if selected == 0 { id = value & 0x0F00_0000 }
        guard selected >= 0x10, let pin = selectedPin else { return }
        let old = entries[pin]
        var entry =
            selected & 1 != 0
            ? old & 0xFFFF_FFFF | UInt64(value) << 32 : old & ~0xFFFF_FFFF | UInt64(value)
        entry = entry & Entry.writable & ~Entry.readOnly | old & Entry.readOnly
        // An edge-triggered entry has no remote IRR: guests clear a stuck one by switching to edge and back.
        if entry & Entry.level == 0 { entry &= ~Entry.remoteIRR }
        entries[pin] = entry
        if entry & Entry.level != 0 { service(pin) }
    }
}

extension IOAPIC {
    var stateID: String { "ioapic" }

    func exchange(_ c: StateCoder) {
        c.field("selected", &selected, in: 0...0xFF)
        c.field("id", &id)
        c.field("entries", &entries)
        c.field("inputs", &inputs)
    }
}
