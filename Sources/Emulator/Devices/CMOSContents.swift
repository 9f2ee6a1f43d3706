/// What firmware expects to find in CMOS RAM besides the clock.
///
/// | index | content |
/// | --- | --- |
/// | 0F | shutdown status |
/// | 10 | floppy types: A in bits 7–4, B in 3–0 (4 is 1.44M) |
/// | 14 | equipment: 0 floppy, 1 FPU, 2 mouse, 5–4 display, 7–6 floppies − 1 |
/// | 15–16, 17–18 | base memory KiB; extended memory KiB above 1 MiB, at most 63 MiB |
/// | 30–31 | the same as 17–18 |
/// | 34–35 | memory above 16 MiB in units of 64 KiB |
/// | 38, 3D | boot order: 3D bits 3–0 first, 7–4 second, 38 bits 7–4 third; 38 bit 0 skips the floppy signature check |
/// | 39 | how the BIOS maps cylinders: two bits per disk, hda lowest |
/// | 5B–5D | memory above 4 GiB in units of 64 KiB |
/// | 5F | processors − 1 |
enum CMOSContents {
    /// - Parameter floppyTypes: CMOS types of drives A and B; 0 is absent.
    static func install(
        in rtc: CMOSRTC, lowRAMBytes: UInt64, highRAMBytes: UInt64, cpuCount: Int = 1,
        floppyTypes: (a: UInt8, b: UInt8) = (0, 0)
    ) {
        func set16(_ index: Int, _ value: UInt64) {
            rtc.setByte(index, UInt8(truncatingIfNeeded: value))
            rtc.setByte(index + 1, UInt8(truncatingIfNeeded: value >> 8))
        }
        let mebibyte: UInt64 = 1 << 20
        set16(0x15, min(640, lowRAMBytes / 1024))
        let extended = lowRAMBytes > mebibyte ? min((lowRAMBytes - mebibyte) / 1024, 65_535) : 0
        set16(0x17, extended)
        set16(0x30, extended)
        set16(0x34, lowRAMBytes > 16 * mebibyte ? min((lowRAMBytes - 16 * mebibyte) >> 16, 65_535) : 0)
        for byte in 0..<3 { rtc.setByte(0x5B + byte, UInt8(truncatingIfNeeded: highRAMBytes >> UInt64(16 + 8 * byte))) }
        rtc.setByte(0x5F, UInt8(cpuCount - 1))

        rtc.setByte(0x10, floppyTypes.a << 4 | floppyTypes.b)
        let floppies = (floppyTypes.a == 0 ? 0 : 1) + (floppyTypes.b == 0 ? 0 : 1)
        let floppyBits: UInt8 = floppies == 0 ? 0 : 0x01 | UInt8(floppies - 1) << 6
        rtc.setByte(0x14, 0x06 | floppyBits)
    }

    /// - Parameter order: QEMU's letters; unknown ones are ignored.
    static func setBootOrder(in rtc: CMOSRTC, _ order: String) {
        let codes = order.compactMap { ["a": 1, "c": 2, "d": 3, "n": 4][$0] as UInt8? }
        func code(_ place: Int) -> UInt8 { place < codes.count ? codes[place] : 0 }
        rtc.setByte(0x3D, code(0) | code(1) << 4)
        rtc.setByte(0x38, code(2) << 4)
    }

    /// - Parameter translations: by IDE slot, 0 none, 1 LBA, 2 large; nil: no disk there.
    static func setDiskTranslations(in rtc: CMOSRTC, _ translations: [UInt8?]) {
        var value: UInt8 = 0
        for (slot, translation) in translations.prefix(4).enumerated() {
            value |= (translation ?? 0) << UInt8(2 * slot)
        }
        rtc.setByte(0x39, value)
    }
}
