import Glibc

/// A PC like QEMU's `pc` (i440FX and PIIX3): every device, built in one place and wired together.
///
/// A new device is a file in `Devices` and a line in `init`. The board knows nothing of the processor: the machine connects
/// the local APICs' wires and the closures below to it. All calls come from the CPU thread.
final class PCBoard {
    let config: PCConfig
    let memory: PhysicalMap
    let ports = PortBus()
    let pci = PCIBus()
    let scheduler: Scheduler
    /// One for each processor, the boot processor's first.
    private(set) var localAPICs: [LocalAPIC] = []
    /// The boot processor's.
    var localAPIC: LocalAPIC { localAPICs[0] }
    let apicBus: APICBus
    private let apicMapping: LocalAPICMapping
    let ioAPIC: IOAPIC
    let pic: PIC8259
    let wires: InterruptWires
    let a20: A20Gate
    let rtc: CMOSRTC
    let pit: PIT8254
    let hpet: HPET
    let ide: IDEController
    let vga: VGADevice
    let power: PIIX4PM
    private let generation = VMGenerationID()
    private let isaBridge: PIIX3
    let fwCfg: FwCfg
    let systemPorts: SystemPorts
    let uarts: [UART16550]
    let dma: DMA8237
    /// Nil on a PC without floppy drives.
    let floppyController: FDC82077?
    let keyboardController: KBC8042
    let keys: KeyInjector
    let firmware: FirmwareROM
    private let kernelLoader: (any KernelLoader)?
    /// Everything that is attached, reset, saved and restored, in this order.
    private(set) var devices: [any BoardDevice] = []
    /// The machine was started once: `PCConfig.bootOnce` is over.
    private var hasBooted = false

    // MARK: For the machine

    /// The guest powered off (ACPI S5). Called in the middle of an instruction: take note and act at the block's end.
    var powerOff: () -> Void = {}
    /// A device asked for a system reset (8042, port 92h, CF9): likewise to be acted on later with `reset()` and a CPU reset.
    var resetRequested: () -> Void = {}
    /// isa-debug-exit: the status the process should end with.
    var debugExit: (UInt32) -> Void = { _ in }
    /// The firmware's log, a character at a time.
    var firmwareLog: (UInt8) -> Void = { _ in }

    /// Where and how the processor begins after `reset`; nil: at the reset vector.
    private(set) var bootEntry: BootEntry?

    /// - Parameters:
    ///   - clock: guest nanoseconds since power-on, monotonic.
    ///   - tscNow: the time-stamp counter; nil: `clock` scaled to `config.tscHertz`.
    /// - Throws: `MachineError` when memory or a file that the machine needs cannot be had.
    convenience init(
        config: PCConfig, clock: @escaping () -> UInt64, tscNow: (() -> UInt64)? = nil
    ) throws(MachineError) {
        let firmware = try FirmwareLoader.loadSystemBIOS(path: config.firmwarePath)
        try self.init(config: config, firmware: firmware, clock: clock, tscNow: tscNow)
    }

    /// The same with firmware that is in memory already.
    init(
        config: PCConfig, firmware: FirmwareROM, clock: @escaping () -> UInt64, tscNow: (() -> UInt64)? = nil
    ) throws(MachineError) {
        guard config.memoryBytes >= 1 << 20 else {
            throw .badConfiguration("a PC needs at least 1 MiB of memory, not \(config.memoryBytes) bytes")
        }
        guard config.topology.count <= CPUTopology.maximumCount else {
            throw .badConfiguration(
                "a PC has at most \(CPUTopology.maximumCount) processors, not \(config.topology.count)")
        }
        guard config.serialPorts.count <= SerialPorts.places.count else {
            throw .badConfiguration("a PC has at most 4 serial ports, not \(config.serialPorts.count)")
        }
        self.config = config
        memory = try PhysicalMap(ramSizeBytes: config.memoryBytes)
        self.firmware = firmware
        scheduler = Scheduler(clock: clock)

        // Interrupt controllers.
        pic = PIC8259()
        let hertz = config.tscHertz
        let topology = config.topology
        for index in 0..<topology.count {
            localAPICs.append(
                LocalAPIC(
                    pic: pic, processorIndex: index, initialID: topology.apicID(of: index), scheduler: scheduler,
                    tscHertz: hertz, tscNow: tscNow ?? { ClockRates.ticks(at: clock(), hertz: hertz) }))
        }
        apicBus = APICBus(localAPICs)
        ioAPIC = IOAPIC(bus: apicBus, pic: pic)
        wires = InterruptWires(pic: pic, ioAPIC: ioAPIC)
        apicMapping = LocalAPICMapping(apicBus, in: memory)
        memory.map("I/O APIC", at: IOAPIC.base, length: IOAPIC.mappedBytes, .device(ioAPIC))

        // ISA devices.
        a20 = A20Gate(memory: memory)
        systemPorts = SystemPorts(a20: a20, fpuIRQ: wires.line(13))
        pit = PIT8254(scheduler: scheduler, irq: wires.line(0))
        rtc = CMOSRTC(
            scheduler: scheduler, irq: wires.line(8), epochSeconds: config.clockSeconds ?? Int64(time(nil)))
        hpet = HPET(scheduler: scheduler, wires: wires, pit: pit, rtc: rtc)
        memory.map("HPET", at: HPET.base, length: 0x1000, .device(hpet))
        uarts = SerialPorts.make(config.serialPorts, scheduler: scheduler, wires: wires)
        keyboardController = KBC8042(a20: a20, keyboardIRQ: wires.line(1), mouseIRQ: wires.line(12))
        keys = KeyInjector(keyboard: keyboardController.keyboard, scheduler: scheduler)
        dma = DMA8237(memory: memory)
        floppyController =
            config.floppies.isEmpty
            ? nil
            : FDC82077(
                drives: config.floppies.prefix(2).map { FloppyDrive(kind: .highDensity, disk: $0) },
                irq: wires.line(6), dma: FloppyDMAChannel(dma), scheduler: scheduler)
        fwCfg = FwCfg(memory: memory, scheduler: scheduler)
        memory.map(
            "VM generation ID", at: VMGenerationID.base, length: VMGenerationID.mappedBytes, .device(generation))

        // PCI: the bridge's configuration ports first, so that CF9 inside them goes to the reset register.
        ports.claim(0xCF8, count: 8, by: pci)
        let hostBridge = I440FX(memory: memory, firmware: firmware)
        let wires = wires
        isaBridge = PIIX3(isaLines: (0..<16).map { wires.line($0) })
        power = PIIX4PM(
            scheduler: scheduler, ports: ports, sci: wires.line(9), serialPortCount: config.serialPorts.count)
        let isaBridge = isaBridge
        pci.interruptRouter = { slot, pin, level in isaBridge.setInterrupt(slot: slot, pin: pin, level: level) }
        pci.plug(hostBridge, slot: 0)
        pci.plug(isaBridge, slot: 1)
        ide = IDEController(
            ports: ports, memory: memory, scheduler: scheduler, primaryIRQ: wires.line(14),
            secondaryIRQ: wires.line(15),
            media: config.drives.map { $0?.medium })
        vga = try VGADevice(ports: ports, memory: memory, scheduler: scheduler, rom: FirmwareLoader.loadVGABIOS())
        pci.plug(ide, slot: 1, function: 1)
        pci.plug(power, slot: 1, function: 3)
        pci.plug(vga, slot: 2)

        if let linux = config.linux {
            let ports = config.serialPorts.count
            kernelLoader =
                try LinuxSetupHeader.isPresent(in: linux.kernelPath)
                ? LinuxLoader(linux, memory: memory, serialPortCount: ports, topology: topology)
                : MultibootLoader(linux, memory: memory, serialPortCount: ports, topology: topology)
        } else {
            kernelLoader = nil
        }

        devices = [
            a20, keys, wires, pic, localAPIC, ioAPIC, systemPorts, pit, rtc, hpet, keyboardController, dma, fwCfg, pci,
            hostBridge, isaBridge, ide, power, vga, generation,
        ]
        for apic in localAPICs.dropFirst() { devices.append(apic) }
        devices += uarts
        if let floppyController { devices.append(floppyController) }
        for device in devices { device.attach(to: ports) }

        if let port = config.debugExitPort {
            ports.claim(port, count: 4, by: DebugExitPort { [weak self] status in self?.debugExit(status) })
        }
        isaBridge.resetRequested = { [weak self] in self?.resetRequested() }
        keyboardController.resetRequested = { [weak self] in self?.resetRequested() }
        systemPorts.resetRequested = { [weak self] in self?.resetRequested() }
        systemPorts.debugOutput = { [weak self] character in self?.firmwareLog(character) }
        power.powerOff = { [weak self] in self?.powerOff() }
        describeToFirmware()
    }

    /// Power-on and system reset: every device returns to its power-on state; memory and the clock keep their contents. A
    /// kernel that starts without firmware is put into memory, and `bootEntry` says where.
    /// - Throws: `badFile` when the host cannot read that kernel any more.
    func reset() throws(MachineError) {
        let order = hasBooted ? config.bootOrder : config.bootOnce ?? config.bootOrder
        CMOSContents.setBootOrder(in: rtc, order)
        fwCfg.set(.bootDevice, UInt16(order.utf8.first ?? 0))
        hasBooted = true
        for device in devices { device.reset() }
        guard let kernelLoader else { return }
        bootEntry = try kernelLoader.load()
        vga.setTextMode()
        PlatformSetup.run(pci: pci, ports: ports, isaBridge: isaBridge, power: power)
    }

    private func describeToFirmware() {
        let lowRAM = memory.lowRAMBytes
        let highRAM = memory.ramSizeBytes - lowRAM
        let drives = floppyController?.drives.map(\.kind.rawValue) ?? [0, 0]
        CMOSContents.install(
            in: rtc, lowRAMBytes: lowRAM, highRAMBytes: highRAM, cpuCount: config.topology.count,
            floppyTypes: (a: drives[0], b: drives[1]))
        CMOSContents.setDiskTranslations(in: rtc, ide.geometries.map { $0?.translation.rawValue })
        generation.describe(to: fwCfg)
        FirmwareDescription.install(in: fwCfg, config: config, lowRAMBytes: lowRAM, highRAMBytes: highRAM)
    }

    // MARK: From the host

    func pressPowerButton() { power.pressPowerButton() }

    /// The machine was turned back or copied: its guest hears of it, and its real-time clock shows the time of now.
    /// - Parameter seconds: how long ago it was saved.
    func goOnAsAnother(after seconds: Int64) {
        generation.renew()
        generation.describe(to: fwCfg)
        power.raiseGeneralEvent(VMGenerationID.generalEvent)
        rtc.advance(bySeconds: max(0, seconds))
    }

    /// Bytes for a serial port; ports that the machine does not have swallow them.
    func serialInput(port: Int, _ bytes: some Sequence<UInt8>) {
        if uarts.indices.contains(port) { uarts[port].receive(bytes) }
    }
}

/// Where the four serial ports of a PC are.
enum SerialPorts {
    static let places: [(base: UInt16, irq: Int)] = [(0x3F8, 4), (0x2F8, 3), (0x3E8, 4), (0x2E8, 3)]

    static func make(
        _ backends: [(any SerialBackend)?], scheduler: Scheduler, wires: InterruptWires
    ) -> [UART16550] {
        zip(places, backends).map { place, backend in
            UART16550(base: place.base, scheduler: scheduler, irq: wires.line(place.irq), backend: backend)
        }
    }
}
