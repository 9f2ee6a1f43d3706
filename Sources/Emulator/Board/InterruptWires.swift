/// The board's interrupt wires: each global system interrupt runs to the 8259 pair and to the I/O APIC.
///
/// | GSI | 8259 | I/O APIC pin | used by |
/// | --- | --- | --- | --- |
/// | 0 | 0 | 2 | PIT (the MADT announces the override) |
/// | 1–15 | the same, except 2 | the same | ISA devices, PCI after routing |
/// | 16–23 | – | the same | – |
///
/// Every caller of `line` gets a wire of its own; wires with one number are joined by OR.
final class InterruptWires: BoardDevice {
    private let pic: PIC8259
    private let ioAPIC: IOAPIC
    private var picHolders = [Int](repeating: 0, count: 16)
    private var pinHolders = [Int](repeating: 0, count: IOAPIC.pinCount)

    init(pic: PIC8259, ioAPIC: IOAPIC) {
        self.pic = pic
        self.ioAPIC = ioAPIC
    }

    func line(_ gsi: Int) -> IRQLine {
        IRQLine { [weak self] level in self?.set(gsi, level) }
    }

    private func set(_ gsi: Int, _ level: Bool) {
        let change = level ? 1 : -1
        if gsi < 16, gsi != 2 {
            picHolders[gsi] += change
            pic.setInput(gsi, picHolders[gsi] > 0)
        }
        let pin = gsi == 0 ? 2 : gsi
        pinHolders[pin] += change
        ioAPIC.setInput(pin, pinHolders[pin] > 0)
    }
}

extension InterruptWires {
    var stateID: String { "wires" }

    /// The wires' levels are their devices' own.
    func reset() {}

    func exchange(_ c: StateCoder) {
        c.field("picHolders", &picHolders)
        c.field("pinHolders", &pinHolders)
        // A device has a wire or two to an interrupt, not hundreds.
        c.check(
            (picHolders + pinHolders).allSatisfy { (0...0xFF).contains($0) },
            "a wire with an impossible number of holders")
    }
}
