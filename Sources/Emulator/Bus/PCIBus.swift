/// A PCI function: 256 bytes of configuration space (PCI Local Bus 3.0, chapter 6) with write masks and BARs.
///
/// | offset | size | field |
/// | --- | --- | --- |
/// | 00 | 2+2 | vendor, device |
/// | 04 | 2 | command: bit 0 I/O, 1 memory, 2 bus master |
/// | 06 | 2 | status |
/// | 08 | 1+3 | revision, class code (prog-if, subclass, class) |
/// | 0E | 1 | header type, bit 7 multifunction |
/// | 10–27 | 6×4 | base address registers |
/// | 2C | 2+2 | subsystem vendor, subsystem |
/// | 30 | 4 | expansion ROM base |
/// | 3C | 1+1 | interrupt line, interrupt pin |
class PCIDevice {
    enum BARKind { case io, memory, rom }

    struct BAR {
        let kind: BARKind
        let sizeBytes: UInt32
        /// Where it answers now; nil while disabled or unassigned.
        var mappedAt: UInt32?
    }

    let name: String
    private(set) var config = [UInt8](repeating: 0, count: 256)
    /// Bits of each configuration byte that the guest can change.
    var writeMask = [UInt8](repeating: 0, count: 256)
    /// BARs 0–5; index 6 is the expansion ROM.
    private(set) var bars: [BAR?] = Array(repeating: nil, count: 7)
    /// INTx# wire, set by the bus when the device is plugged in.
    var interrupt = IRQLine.unconnected()

    init(name: String, vendor: UInt16, device: UInt16, classCode: UInt32, revision: UInt8 = 0, interruptPin: UInt8 = 0)
    {
        self.name = name
        set16(0x00, vendor)
        set16(0x02, device)
        config[0x08] = revision
        config[0x09] = UInt8(truncatingIfNeeded: classCode)
        config[0x0A] = UInt8(truncatingIfNeeded: classCode >> 8)
        config[0x0B] = UInt8(truncatingIfNeeded: classCode >> 16)
        config[0x3D] = interruptPin
        // Firmware recognises the machine by this subsystem, which every function of QEMU's `pc` carries.
        set16(0x2C, 0x1AF4)
        set16(0x2E, 0x1100)
        writeMask[0x04] = 0x07
        writeMask[0x05] = 0x05
        writeMask[0x0C] = 0xFF
        writeMask[0x0D] = 0xFF
        writeMask[0x3C] = 0xFF
    }

    // MARK: For subclasses

    /// A BAR's address or enable changed; map or unmap the region. `address` nil means it no longer answers.
    func barChanged(_ index: Int, from oldAddress: UInt32?, to address: UInt32?) {}
    /// Configuration bytes changed by the guest (after masks were applied).
    func configWritten(_ offset: Int, size: Int) {}

    func addBAR(_ index: Int, _ kind: BARKind, sizeBytes: UInt32) {
        bars[index] = BAR(kind: kind, sizeBytes: sizeBytes, mappedAt: nil)
        let at = Self.barOffset(index)
        let mask = ~(sizeBytes - 1) | (kind == .rom ? 1 : 0)
        for i in 0..<4 { writeMask[at + i] = UInt8(truncatingIfNeeded: mask >> UInt32(8 * i)) }
        if kind == .io { config[at] = 1; writeMask[at] &= 0xFC }
    }

    func set8(_ offset: Int, _ value: UInt8) { config[offset] = value }
    func set16(_ offset: Int, _ value: UInt16) {
        config[offset] = UInt8(truncatingIfNeeded: value)
        config[offset + 1] = UInt8(truncatingIfNeeded: value >> 8)
    }
    func set32(_ offset: Int, _ value: UInt32) {
        set16(offset, UInt16(truncatingIfNeeded: value))
        set16(offset + 2, UInt16(truncatingIfNeeded: value >> 16))
    }
    var command: UInt16 { UInt16(config[4]) | UInt16(config[5]) << 8 }
    var isBusMaster: Bool { command & 4 != 0 }

    /// Back to power-on: BARs unmapped, command cleared. Subclasses restore their own registers and call super.
    func resetConfig() {
        set16(0x04, 0)
        config[0x3C] = 0
        for (index, bar) in bars.enumerated() {
            if let bar { set32(Self.barOffset(index), bar.kind == .io ? 1 : 0) }
        }
        updateBARs()
    }

    // MARK: State

    /// What every function has; the addresses at which it answers follow from it.
    func exchangeConfig(_ c: StateCoder) {
        c.field("config", &config)
        c.field("interrupt", interrupt)
    }

    /// Answers where the restored configuration says.
    func configRestored() { updateBARs() }

    // MARK: For the bus

    func configRead(_ offset: Int, size: Int) -> UInt32 {
        var value: UInt32 = 0
        for i in 0..<size where offset + i < 256 { value |= UInt32(config[offset + i]) << UInt32(8 * i) }
        return value
    }

    func configWrite(_ offset: Int, size: Int, value: UInt32) {
        for i in 0..<size where offset + i < 256 {
            let byte = UInt8(truncatingIfNeeded: value >> UInt32(8 * i))
            let mask = writeMask[offset + i]
            config[offset + i] = config[offset + i] & ~mask | byte & mask
        }
        let end = offset + size
        if offset < 0x06 && end > 0x04 || offset < 0x28 && end > 0x10 || offset < 0x34 && end > 0x30 { updateBARs() }
        configWritten(offset, size: size)
    }

    private static func barOffset(_ index: Int) -> Int { index == 6 ? 0x30 : 0x10 + 4 * index }

    private func updateBARs() {
        for index in bars.indices {
            guard let bar = bars[index] else { continue }
            let raw = configRead(Self.barOffset(index), size: 4)
            let enabled: Bool
            switch bar.kind {
            case .io: enabled = command & 1 != 0
            case .memory: enabled = command & 2 != 0
            case .rom: enabled = command & 2 != 0 && raw & 1 != 0
            }
            let address = raw & ~(bar.sizeBytes - 1)
            // An address of zero, or all ones while a driver sizes the BAR, is not a place to answer at.
            let isPlace = address != 0 && address != ~(bar.sizeBytes - 1)
            let place: UInt32? = enabled && isPlace ? address : nil
            if place != bar.mappedAt {
                let old = bar.mappedAt
                bars[index]?.mappedAt = place
                barChanged(index, from: old, to: place)
            }
        }
    }
}

/// PCI bus 0 behind configuration mechanism 1 (ports CF8h and CFCh; PCI 3.0, 3.2.2.3.2).
final class PCIBus: PortDevice, BoardDevice {
    /// Indexed by device * 8 + function.
    private var functions: [PCIDevice?] = Array(repeating: nil, count: 256)
    private var address: UInt32 = 0
    /// Wires of INTA#–INTD# of each slot: the south bridge's router sets it before devices are plugged in.
    /// Arguments: slot (device number), pin 1–4, level.
    var interruptRouter: (Int, Int, Bool) -> Void = { _, _, _ in }

    func plug(_ device: PCIDevice, slot: Int, function: Int = 0) {
        functions[slot * 8 + function] = device
        let pin = Int(device.configRead(0x3D, size: 1))
        if pin != 0 {
            device.interrupt = IRQLine { [weak self] level in self?.interruptRouter(slot, pin, level) }
        }
    }

    var devices: [PCIDevice] { functions.compactMap { $0 } }

    /// Every function with its place, in order.
    var plugged: [(address: (slot: Int, function: Int), device: PCIDevice)] {
        functions.enumerated().compactMap { index, device in device.map { ((index / 8, index % 8), $0) } }
    }

    func portRead(_ port: UInt16, size: Int) -> UInt32 {
        if port == 0xCF8, size == 4 { return address }
        guard port >= 0xCFC, let (device, offset) = selected(port) else { return ~0 }
        return device.configRead(offset, size: size)
    }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        if port == 0xCF8, size == 4 {
            address = value & 0x80FF_FFFC
        } else if port >= 0xCFC, let (device, offset) = selected(port) {
            device.configWrite(offset, size: size, value: value)
        }
    }

    func reset() {}

    private func selected(_ port: UInt16) -> (PCIDevice, Int)? {
        guard address & 0x8000_0000 != 0, address >> 16 & 0xFF == 0,
            let device = functions[Int(address >> 8 & 0xFF)]
        else { return nil }
        return (device, Int(address & 0xFC) + Int(port & 3))
    }
}

extension PCIBus {
    var stateID: String { "pci-bus" }

    func exchange(_ c: StateCoder) { c.field("address", &address) }
}
