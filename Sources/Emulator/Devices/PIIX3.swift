/// Intel 82371SB (PIIX3) PCI-to-ISA bridge, 8086:7000 at 0:1.0 (datasheet 290550, section 2.2).
///
/// | offset | what |
/// | --- | --- |
/// | 60–63 | PIRQA–D route: bit 7 off, bits 3–0 ISA interrupt (3–7, 9–12, 14, 15) |
///
/// Port CF9: bit 1 hard reset, bit 2 rising edge resets. A slot's INTx reaches PIRQ (pin − 1 + device − 1) & 3.
final class PIIX3: PCIDevice, PortDevice, BoardDevice {
    private static let resetPort: UInt16 = 0xCF9
    /// Interrupts that PIRQs may reach; 0–2, 8 and 13 belong to the board.
    private static let routable: UInt16 = 0xDEF8

    /// Wires into the interrupt controllers, by ISA number.
    private let isaLines: [IRQLine]
    /// How many functions hold each PIRQ.
    private var holders = [0, 0, 0, 0]
    private var resetControl: UInt8 = 0
    var resetRequested: () -> Void = {}

    /// - Parameter isaLines: sixteen wires, used by nobody else where the guest routes PCI interrupts.
    init(isaLines: [IRQLine]) {
        self.isaLines = isaLines
        super.init(name: "PIIX3 ISA bridge", vendor: 0x8086, device: 0x7000, classCode: 0x060100)
        set8(0x0E, 0x80)
        for register in 0x4C..<0x100 { writeMask[register] = 0xFF }
        for register in 0x60...0x63 { writeMask[register] = 0x8F }
        reset()
    }

    func attach(to ports: PortBus) { ports.claim(Self.resetPort, count: 1, by: self) }

    func reset() {
        resetConfig()
        set16(0x06, 0x0200)
        for (offset, value) in Self.resetValues { set8(offset, value) }
        resetControl = 0
        route()
    }

    private static let resetValues: [(Int, UInt8)] = [
        (0x4C, 0x4D), (0x4E, 0x03), (0x4F, 0x00), (0x60, 0x80), (0x61, 0x80), (0x62, 0x80), (0x63, 0x80),
        (0x69, 0x02), (0x70, 0x80), (0x76, 0x0C), (0x77, 0x0C), (0x78, 0x02), (0x79, 0x00), (0x80, 0x00), (0x82, 0x00),
        (0xA0, 0x08), (0xA2, 0x00), (0xA3, 0x00), (0xA4, 0x00), (0xA5, 0x00), (0xA6, 0x00), (0xA7, 0x00),
        (0xA8, 0x0F), (0xAA, 0x00), (0xAB, 0x00), (0xAC, 0x00), (0xAE, 0x00),
    ]

    /// For `PCIBus.interruptRouter`.
    func setInterrupt(slot: Int, pin: Int, level: Bool) {
        let pirq = (pin - 1 + slot - 1) & 3
        holders[pirq] += level ? 1 : -1
        route()
    }

    override func configWritten(_ offset: Int, size: Int) {
        if offset <= 0x63, offset + size > 0x60 { route() }
    }

    private func target(_ pirq: Int) -> Int? {
        let route = config[0x60 + pirq]
        guard route & 0x80 == 0, Self.routable & 1 << UInt16(route & 15) != 0 else { return nil }
        return Int(route & 15)
    }

    /// Several PIRQs may share an ISA interrupt: it is high while any of them is held.
    private func route() {
        var levels: UInt16 = 0
        for pirq in 0..<4 where holders[pirq] > 0 {
            if let irq = target(pirq) { levels |= 1 << UInt16(irq) }
        }
        for irq in 0..<16 { isaLines[irq].set(levels >> UInt16(irq) & 1 != 0) }
    }

    // MARK: Port CF9

    func portRead(_ port: UInt16, size: Int) -> UInt32 { UInt32(resetControl) }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        let isRising = value & 4 != 0 && resetControl & 4 == 0
        resetControl = UInt8(value & 2)
        if isRising { resetRequested() }
    }
}

extension PIIX3 {
    var stateID: String { "piix3" }

    func exchange(_ c: StateCoder) {
        exchangeConfig(c)
        for pirq in holders.indices { c.field("holders\(pirq)", &holders[pirq], in: 0...0xFF) }
        c.field("resetControl", &resetControl)
        for irq in isaLines.indices { c.field("isaLines\(irq)", isaLines[irq]) }
    }

    func stateRestored() { configRestored() }
}
