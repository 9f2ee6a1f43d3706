import Glibc

/// QEMU's standard VGA, PCI 1234:1111 (docs/specs/standard-vga): a VGA with the Bochs VBE extension.
///
/// | BAR | size | what |
/// | --- | --- | --- |
/// | 0 | 16 MiB | frame buffer |
/// | 2 | 4 KiB | 000 EDID, 400–41F ports 3C0–3DF, 500–515 dispi registers, 600–607 extension (size, byte order) |
/// | 6 | ROM | VGA BIOS |
final class VGADevice: PCIDevice, PortDevice, MMIODevice, BoardDevice {
    static let memoryBytes = 16 * 1024 * 1024

    let scheduler: Scheduler
    private(set) var registers = VGARegisters()
    private(set) var vbe = VBEDispi(memoryBytes: memoryBytes)
    /// Saved and restored as memory, not with the registers.
    let video: GuestRAM
    private let window: VGAMemory
    private let memory: PhysicalMap
    let rom: UnsafeMutableRawBufferPointer
    private let edid: [UInt8]
    /// Character sets of the VGA BIOS.
    private(set) lazy var fonts = VGAFont.all(in: Array(rom))
    /// Region of each BAR in the physical map.
    private var mapped: [Int: PhysicalMap.RegionID] = [:]

    /// Display memory; planes are interleaved byte by byte.
    var pixels: UnsafeMutablePointer<UInt8> {
        // SAFETY: the mapping lives as long as the device and is `memoryBytes` long.
        video.base.assumingMemoryBound(to: UInt8.self)
    }

    /// The VGA BIOS as the ROM BAR shows it.
    var romBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rom) }

    /// - Parameter rom: the VGA BIOS image; empty for none.
    init(ports: PortBus, memory: PhysicalMap, scheduler: Scheduler, rom image: [UInt8]) throws(MachineError) {
        self.memory = memory
        self.scheduler = scheduler
        video = try GuestRAM(sizeBytes: UInt64(Self.memoryBytes))
        window = VGAMemory(
            bytes: video.base.assumingMemoryBound(to: UInt8.self), sizeBytes: Self.memoryBytes)
        edid = EDID(width: 1280, height: 800, name: "labctl display").bytes
        // A ROM BAR is a power of two and at least a page.
        var romBytes = image.isEmpty ? 0 : 4096
        while romBytes < image.count { romBytes *= 2 }
        rom = .allocate(byteCount: romBytes, alignment: 4096)
        rom.initializeMemory(as: UInt8.self, repeating: 0xFF)
        rom.copyBytes(from: image)
        super.init(name: "VGA", vendor: 0x1234, device: 0x1111, classCode: 0x030000, revision: 2)
        addBAR(0, .memory, sizeBytes: UInt32(Self.memoryBytes))
        addBAR(2, .memory, sizeBytes: 4096)
        if romBytes > 0 { addBAR(6, .rom, sizeBytes: UInt32(romBytes)) }
        set16(0x2C, 0x1AF4)
        set16(0x2E, 0x1100)
        ports.claim(0x3B0, count: 0x30, by: self)
        ports.claim(0x1CE, count: 3, by: self)
        memory.map("VGA window", at: 0xA0000, length: 0x20000, .device(window))
        reset()
    }

    deinit { rom.deallocate() }

    func reset() {
        resetConfig()
        // The frame buffer may be prefetched.
        set8(0x10, 0x08)
        registers = VGARegisters()
        registers.miscellaneous = 0x01
        vbe = VBEDispi(memoryBytes: Self.memoryBytes)
        window.reset()
        updateWindow()
    }

    // MARK: PCI

    override func barChanged(_ index: Int, from oldAddress: UInt32?, to address: UInt32?) {
        if let region = mapped.removeValue(forKey: index) { memory.unmap(region) }
        guard let address else { return }
        let backing: PhysicalMap.Backing
        let length: Int
        switch index {
        case 0: (backing, length) = (.memory(video.base, writable: true), Self.memoryBytes)
        case 2: (backing, length) = (.device(self), 4096)
        default:
            guard let base = rom.baseAddress else { return }
            (backing, length) = (.memory(base, writable: false), rom.count)
        }
        mapped[index] = memory.map("VGA BAR \(index)", at: UInt64(address), length: UInt64(length), backing)
    }

    // MARK: Ports

    func portRead(_ port: UInt16, size: Int) -> UInt32 {
        switch port {
        case 0x1CE: UInt32(vbe.index)
        case 0x1CF, 0x1D0: UInt32(vbe.read(vbe.index))
        default: PortBus.splitRead(port, size: size, readPort)
        }
    }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        switch port {
        case 0x1CE: vbe.index = UInt16(truncatingIfNeeded: value)
        case 0x1CF, 0x1D0: writeVBE(vbe.index, UInt16(truncatingIfNeeded: value))
        default: PortBus.splitWrite(port, size: size, value: value, writePort)
        }
    }

    private func answers(_ port: UInt16) -> Bool {
        switch port {
        case 0x3B0...0x3BF: !registers.isColour
        case 0x3D0...0x3DF: registers.isColour
        default: true
        }
    }

    private func readPort(_ port: UInt16) -> UInt8 {
        guard answers(port) else { return 0xFF }
        switch port {
        case 0x3C2: return VGATiming(registers, scheduler.nowNanoseconds).inputStatus0
        case 0x3BA, 0x3DA:
            registers.attributeExpectsData = false
            return VGATiming(registers, scheduler.nowNanoseconds).inputStatus1
        case 0x3C9: return registers.dac.read()
        default: return registers.read(port)
        }
    }

    private func writePort(_ port: UInt16, _ value: UInt8) {
        guard answers(port) else { return }
        registers.write(port, value)
        if port == 0x3C2 || port == 0x3C5 || port == 0x3CF { updateWindow() }
    }

    private func updateWindow() {
        window.update(
            sequencer: registers.sequencer, graphics: registers.graphics, miscellaneous: registers.miscellaneous,
            bank: vbe.bank)
    }

    // MARK: VBE

    private func writeVBE(_ register: UInt16, _ value: UInt16) {
        let switched = vbe.write(register, value)
        if register == 4 { registers.dac.has8Bits = vbe.has8BitDAC }
        if switched, vbe.isEnabled {
            scheduler.longWork()
            if !vbe.keepsMemory { memset(video.base, 0, vbe.lineBytes * vbe.height) }
            registers.programForVBE(vbe)
        }
        updateWindow()
    }

    // MARK: BAR 2

    func mmioRead(_ offset: UInt64, size: Int) -> UInt64 {
        switch offset {
        case 0..<0x400: return bytewise(size) { i in offset + i < 256 ? edid[safe: Int(offset + i)] : 0 }
        case 0x400..<0x420:
            return UInt64(PortBus.splitRead(0x3C0 + UInt16(offset - 0x400), size: min(size, 4), readPort))
        case 0x500..<0x516:
            let low = UInt64(vbe.read(UInt16(offset - 0x500) / 2))
            return size <= 2 ? low : low | UInt64(vbe.read(UInt16(offset - 0x500) / 2 + 1)) << 16
        case 0x600: return 8
        case 0x604: return 0x1E1E_1E1E
        default: return ~0
        }
    }

    func mmioWrite(_ offset: UInt64, size: Int, value: UInt64) {
        switch offset {
        case 0x400..<0x420:
            let port = 0x3C0 + UInt16(offset - 0x400)
            PortBus.splitWrite(port, size: min(size, 4), value: UInt32(truncatingIfNeeded: value), writePort)
        case 0x500..<0x516: writeVBE(UInt16(offset - 0x500) / 2, UInt16(truncatingIfNeeded: value))
        default: break
        }
    }

    private func bytewise(_ size: Int, _ read: (UInt64) -> UInt8) -> UInt64 {
        (0..<UInt64(size)).reduce(0) { $0 | UInt64(read($1)) << (8 * $1) }
    }
}

extension [UInt8] {
    /// Zero past the end.
    fileprivate subscript(safe index: Int) -> UInt8 { index < count ? self[index] : 0 }
}

extension VGARegisters {
    /// The standard registers as the extension's mode leaves them: a linear window and matching counts.
    mutating func programForVBE(_ vbe: VBEDispi) {
        let lines = vbe.height - 1
        graphics[6] = graphics[6] & ~0x0C | 0x05
        crtc[0x17] |= 0x03
        crtc[0x13] = UInt8(truncatingIfNeeded: vbe.lineBytes >> 3)
        crtc[0x01] = UInt8(truncatingIfNeeded: vbe.width / 8 - 1)
        crtc[0x12] = UInt8(truncatingIfNeeded: lines)
        crtc[0x07] = crtc[0x07] & ~0x42 | UInt8(lines >> 7 & 0x02) | UInt8(lines >> 3 & 0x40)
        crtc[0x18] = 0xFF
        crtc[0x07] |= 0x10
        crtc[0x09] = crtc[0x09] & ~0x9F | 0x40
        if vbe.isPlanar {
            sequencer[1] &= ~8
            graphics[5] &= ~0x60
        } else {
            sequencer[4] |= 8
            graphics[5] = graphics[5] & ~0x60 | 0x40
        }
        sequencer[2] |= 0x0F
    }
}

extension VGADevice {
    var stateID: String { "vga" }

    func exchange(_ c: StateCoder) {
        exchangeConfig(c)
        c.group("registers") { registers.exchange(c) }
        c.group("vbe") { vbe.exchange(c) }
        c.group("window") { window.exchange(c) }
    }

    func stateRestored() {
        configRestored()
        updateWindow()
    }
}
