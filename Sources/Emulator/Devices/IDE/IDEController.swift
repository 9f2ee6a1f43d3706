/// Intel 82371SB (PIIX3) IDE function, 290550-002 section 2.3: two channels at their ISA addresses and a bus master.
///
/// | config offset | size | field |
/// | --- | --- | --- |
/// | 09 | 1 | programming interface 80h: compatibility mode, bus master |
/// | 20 | 4 | BAR 4: 16 I/O ports of the bus master, 8 per channel |
/// | 40 | 2 | IDETIM primary: bit 15 decode enable, timings |
/// | 42 | 2 | IDETIM secondary |
final class IDEController: PCIDevice, PortDevice, BoardDevice {
    private(set) var channels: [IDEChannel] = []
    private let ports: PortBus

    /// - Parameter media: what is plugged in as hda, hdb, hdc and hdd; missing or nil entries are empty slots.
    init(
        ports: PortBus, memory: PhysicalMap, scheduler: Scheduler, primaryIRQ: IRQLine, secondaryIRQ: IRQLine,
        media: [IDEMedium?]
    ) {
        self.ports = ports
        super.init(name: "PIIX3 IDE", vendor: 0x8086, device: 0x7010, classCode: 0x010180)
        addBAR(4, .io, sizeBytes: 16)
        for offset in 0x40...0x43 { writeMask[offset] = 0xFF }
        writeMask[0x44] = 0xFF
        let slots = (0..<4).map { $0 < media.count ? media[$0] : nil }
        let sites: [(base: UInt16, control: UInt16, irq: IRQLine)] = [
            (0x1F0, 0x3F6, primaryIRQ), (0x170, 0x376, secondaryIRQ),
        ]
        for (index, site) in sites.enumerated() {
            let engine = BusMaster(memory: memory) { [unowned self] in isBusMaster }
            channels.append(
                IDEChannel(
                    ports: ports, commandBase: site.base, controlPort: site.control, irq: site.irq,
                    scheduler: scheduler, busMaster: engine, media: Array(slots[index * 2..<index * 2 + 2]),
                    firstUnit: index * 2))
        }
        reset()
    }

    /// hda, hdb, hdc, hdd.
    var drives: [IDEDrive] { channels.flatMap(\.drives) }
    /// Disk geometries by slot, for the CMOS; nil where there is no disk.
    var geometries: [DiskGeometry?] { drives.map { ($0 as? ATADisk)?.geometry } }
    /// CD-ROM drives by slot.
    var cdroms: [ATAPIDrive?] { drives.map { $0 as? ATAPIDrive } }

    func reset() {
        resetConfig()
        set16(0x06, 0x0280)
        set32(0x40, 0)
        set8(0x44, 0)
        channels.forEach { $0.reset() }
    }

    override func barChanged(_ index: Int, from oldAddress: UInt32?, to address: UInt32?) {
        if let oldAddress { ports.release(UInt16(truncatingIfNeeded: oldAddress), count: 16, from: self) }
        if let address, address <= 0xFFF0 { ports.claim(UInt16(address), count: 16, by: self) }
    }

    func portRead(_ port: UInt16, size: Int) -> UInt32 {
        PortBus.splitRead(port, size: size) { port in channels[Int(port >> 3 & 1)].busMaster.read(port & 7) }
    }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        PortBus.splitWrite(port, size: size, value: value) { port, byte in
            channels[Int(port >> 3 & 1)].busMaster.write(port & 7, byte)
        }
    }
}

/// What is plugged into an IDE slot.
enum IDEMedium {
    /// A hard disk; `serial` nil gives the name that QEMU would.
    case disk(any DiskBackend, serial: String? = nil)
    /// A CD-ROM drive, with a disc or empty.
    case cdrom((any DiskBackend)?)

    static func defaultSerial(unit: Int) -> String { "QM0000\(unit + 1)" }
}

extension IDEController {
    var stateID: String { "ide" }

    func exchange(_ c: StateCoder) {
        exchangeConfig(c)
        for (index, channel) in channels.enumerated() { c.group("channels\(index)") { channel.exchange(c) } }
    }

    func stateRestored() { configRestored() }
}
