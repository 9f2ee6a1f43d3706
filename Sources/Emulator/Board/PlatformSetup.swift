/// Does what firmware leaves behind on the PCI bus, for a kernel that starts without it: addresses, interrupt routes, PM base,
/// and in the keyboard controller.
enum PlatformSetup {
    private static let firstIOPort: UInt32 = 0xC000
    private static let firstMemory: UInt32 = 0xF000_0000
    private static let memoryEnd: UInt64 = 0xFEC0_0000
    /// ISA interrupts of PIRQA–D, as SeaBIOS routes them.
    private static let routes: [UInt8] = [10, 10, 11, 11]
    private static let smbusBase: UInt32 = 0xB100

    static func run(pci: PCIBus, ports: PortBus, isaBridge: PIIX3, power: PIIX4PM) {
        for (index, irq) in routes.enumerated() { isaBridge.configWrite(0x60 + index, size: 1, value: UInt32(irq)) }
        // Interrupts 10 and 11 are level-triggered.
        ports.write(0x4D1, size: 1, value: 0x0C)
        power.configWrite(0x40, size: 4, value: UInt32(ACPITables.pmBase) | 1)
        power.configWrite(0x80, size: 1, value: 1)
        power.configWrite(0x90, size: 4, value: smbusBase | 1)
        power.configWrite(0xD2, size: 1, value: 9)
        // Keyboard translated to set 1 with its interrupt, mouse off: what drivers of old expect of a BIOS.
        ports.write(0x64, size: 1, value: 0x60)
        ports.write(0x60, size: 1, value: 0x61)
        assignAddresses(pci)
        power.configWrite(0x3C, size: 1, value: UInt32(ACPITables.sciInterrupt))
    }

    private static func assignAddresses(_ pci: PCIBus) {
        var nextPort = firstIOPort
        var nextMemory = UInt64(firstMemory)
        for (address, device) in pci.plugged {
            var command: UInt32 = 0
            for (index, bar) in device.bars.enumerated() {
                guard let bar, bar.kind != .rom else { continue }
                let size = UInt64(bar.sizeBytes)
                if bar.kind == .io {
                    let port = (UInt64(nextPort) + size - 1) & ~(size - 1)
                    guard port + size <= 0x1_0000 else { continue }
                    device.configWrite(0x10 + 4 * index, size: 4, value: UInt32(port))
                    nextPort = UInt32(port + size)
                    command |= 1
                } else {
                    let base = (nextMemory + size - 1) & ~(size - 1)
                    guard base + size <= memoryEnd else { continue }
                    device.configWrite(0x10 + 4 * index, size: 4, value: UInt32(base))
                    nextMemory = base + size
                    command |= 2
                }
            }
            if device.configRead(0x0A, size: 2) == 0x0101 {
                // IDE in compatibility mode: both channels decode their ISA ports.
                device.configWrite(0x40, size: 4, value: 0x8000_8000)
                command |= 5
            }
            let pin = Int(device.configRead(0x3D, size: 1))
            if pin != 0 { device.configWrite(0x3C, size: 1, value: UInt32(routes[(pin - 1 + address.slot - 1) & 3])) }
            if command != 0 { device.configWrite(0x04, size: 2, value: command) }
        }
    }
}
