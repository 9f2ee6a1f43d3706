/// Intel 82441FX PCI and memory controller, 8086:1237 at 0:0.0 (datasheet 290549, section 3.2).
///
/// | offset | what |
/// | --- | --- |
/// | 59 | PAM0: bits 5–4 for F0000–FFFFF |
/// | 5A–5F | PAM1–6: bits 1–0 and 5–4 for 16 KiB each from C0000 to EFFFF |
/// | 72 | SMRAM: 6 open, 5 closed, 4 locked, 3 enabled, 2–0 base (2: A0000) |
///
/// In a PAM field bit 0 sends reads to DRAM and bit 1 sends writes there; otherwise they go to PCI, where the BIOS ROM answers
/// in its last 128 KiB and nobody in the rest. The whole ROM also ends at 4 GiB, where the processor starts.
final class I440FX: PCIDevice, BoardDevice {
    private static let shadowBase: UInt64 = 0xC_0000
    private static let shadowEnd: UInt64 = 0x10_0000
    private static let legacyROMBytes = 0x2_0000
    private static let smramRegister = 0x72

    private struct Segment {
        let region: PhysicalMap.RegionID
        let base: UInt64
        let register: Int
        let shift: UInt8
    }

    private let memory: PhysicalMap
    private let firmware: FirmwareROM
    private var segments: [Segment] = []
    private var smramRegion: PhysicalMap.RegionID?

    init(memory: PhysicalMap, firmware: FirmwareROM) {
        self.memory = memory
        self.firmware = firmware
        super.init(name: "i440FX host bridge", vendor: 0x8086, device: 0x1237, classCode: 0x060000, revision: 2)
        for register in 0x50..<0x72 { writeMask[register] = 0xFF }
        for register in 0x59...0x5F { writeMask[register] = 0x33 }
        writeMask[Self.smramRegister] = 0x7F
        memory.map(
            "BIOS", at: PhysicalMap.highRAMBase - UInt64(firmware.sizeBytes), length: UInt64(firmware.sizeBytes),
            .memory(firmware.base, writable: false))
        for index in 0..<13 {
            // Twelve segments of 16 KiB, then the 64 KiB of the system BIOS.
            let base = Self.shadowBase + UInt64(index) * 0x4000
            let length: UInt64 = index == 12 ? 0x1_0000 : 0x4000
            let region = memory.map("PAM \(index)", at: base, length: length, pciSide(base))
            let register = index == 12 ? 0x59 : 0x5A + index / 2
            segments.append(
                Segment(region: region, base: base, register: register, shift: index == 12 || index & 1 == 1 ? 4 : 0))
        }
        reset()
    }

    func reset() {
        resetConfig()
        for register in 0x50..<0x72 { set8(register, 0) }
        set8(Self.smramRegister, 0x02)
        applyPAM()
        applySMRAM()
    }

    override func configWrite(_ offset: Int, size: Int, value: UInt32) {
        let before = config[Self.smramRegister]
        super.configWrite(offset, size: size, value: value)
        // D_LCK freezes the register, itself included, and clears D_OPEN.
        if before & 0x10 != 0 {
            set8(Self.smramRegister, before)
        } else if config[Self.smramRegister] & 0x10 != 0 {
            set8(Self.smramRegister, config[Self.smramRegister] & ~0x40)
        }
        if offset <= 0x5F, offset + size > 0x59 { applyPAM() }
        if config[Self.smramRegister] != before { applySMRAM() }
    }

    /// What PCI answers in a segment: the end of the ROM, or nobody.
    private func romPointer(_ base: UInt64) -> UnsafeMutableRawPointer? {
        let covered = min(firmware.sizeBytes, Self.legacyROMBytes)
        guard base >= Self.shadowEnd - UInt64(covered) else { return nil }
        return firmware.base + (firmware.sizeBytes - Int(Self.shadowEnd - base))
    }

    private func pciSide(_ base: UInt64) -> PhysicalMap.Backing { .split(read: romPointer(base), write: nil) }

    private var applied = [UInt8](repeating: 0, count: 13)

    private func applyPAM() {
        for (index, segment) in segments.enumerated() {
            let field = config[segment.register] >> segment.shift & 3
            guard field != applied[index] else { continue }
            applied[index] = field
            let dram = memory.ramPointer(segment.base)
            memory.replace(
                segment.region,
                with: .split(
                    read: field & 1 != 0 ? dram : romPointer(segment.base), write: field & 2 != 0 ? dram : nil))
        }
    }

    /// D_OPEN shows the DRAM behind the VGA window to everybody, so that firmware can fill it.
    private func applySMRAM() {
        let isOpen = config[Self.smramRegister] & 0x48 == 0x48
        if isOpen, smramRegion == nil, let dram = memory.ramPointer(0xA_0000) {
            smramRegion = memory.map("SMRAM", at: 0xA_0000, length: 0x2_0000, .memory(dram, writable: true))
        } else if !isOpen, let region = smramRegion {
            memory.unmap(region)
            smramRegion = nil
        }
    }
}

extension I440FX {
    var stateID: String { "i440fx" }

    func exchange(_ c: StateCoder) { exchangeConfig(c) }

    func stateRestored() {
        configRestored()
        applyPAM()
        applySMRAM()
    }
}
