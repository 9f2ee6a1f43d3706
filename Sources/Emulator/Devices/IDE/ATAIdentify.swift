/// IDENTIFY DEVICE and IDENTIFY PACKET DEVICE data (ATA/ATAPI-6, 8.15 and 8.16): 256 little-endian words.
struct IdentifyData {
    private(set) var bytes = [UInt8](repeating: 0, count: 512)

    subscript(_ word: Int) -> UInt16 {
        get { UInt16(bytes[word * 2]) | UInt16(bytes[word * 2 + 1]) << 8 }
        set {
            bytes[word * 2] = UInt8(truncatingIfNeeded: newValue)
            bytes[word * 2 + 1] = UInt8(truncatingIfNeeded: newValue >> 8)
        }
    }

    mutating func set32(_ word: Int, _ value: UInt32) {
        self[word] = UInt16(truncatingIfNeeded: value)
        self[word + 1] = UInt16(truncatingIfNeeded: value >> 16)
    }

    mutating func set48(_ word: Int, _ value: UInt64) {
        set32(word, UInt32(truncatingIfNeeded: value))
        set32(word + 2, UInt32(truncatingIfNeeded: value >> 32))
    }

    /// Text is padded with blanks and has the first character of each word in the high byte.
    mutating func setText(_ word: Int, words: Int, _ text: String) {
        let padded = SCSIInquiry.field(text, words * 2)
        for i in 0..<words { self[word + i] = UInt16(padded[i * 2]) << 8 | UInt16(padded[i * 2 + 1]) }
    }

    /// What disk and CD-ROM say alike about transfer modes.
    mutating func setModes(_ mode: IDETransferMode) {
        self[53] = 0x0007
        self[62] = mode.singleWord
        self[63] = mode.multiWord
        self[64] = 0x0003
        for (word, nanoseconds) in [(65, 120), (66, 120), (67, 120), (68, 120)] { self[word] = UInt16(nanoseconds) }
        self[88] = mode.ultra
        // Reset result: drive 0 present, 80-wire cable seen.
        self[93] = 0x6001
    }
}

extension ATADisk {
    static let model = "QEMU HARDDISK"
    static let firmware = "2.5+"

    func identifyWords() -> [UInt8] {
        var data = IdentifyData()
        let currentCylinders = min(Int(clamping: totalSectors) / (currentHeads * currentSectors), 16383)
        data[0] = 0x0040
        data[1] = UInt16(geometry.cylinders)
        data[3] = UInt16(geometry.heads)
        data[4] = UInt16(512 * geometry.sectorsPerTrack)
        data[5] = 512
        data[6] = UInt16(geometry.sectorsPerTrack)
        data.setText(10, words: 10, serial)
        data[20] = 3
        data[21] = 512
        data[22] = 4
        data.setText(23, words: 4, Self.firmware)
        data.setText(27, words: 20, Self.model)
        data[47] = 0x8000 | UInt16(Self.maximumMultiple)
        data[48] = 1
        data[49] = 0x0B00
        data[51] = 0x0200
        data[52] = 0x0200
        data.setModes(transferMode)
        data[54] = UInt16(currentCylinders)
        data[55] = UInt16(currentHeads)
        data[56] = UInt16(currentSectors)
        data.set32(57, UInt32(currentCylinders * currentHeads * currentSectors))
        data[59] = multiple == 0 ? 0 : 0x0100 | UInt16(multiple)
        data.set32(60, UInt32(min(totalSectors, 0x0FFF_FFFF)))
        data[80] = 0x00F0
        data[81] = 0x0016
        // Supported, then enabled: NOP, write cache, SMART; FLUSH CACHE (EXT), 48-bit addresses; FUA writes.
        data[82] = 0x4021
        data[83] = 0x7400
        data[84] = 0x4040
        data[85] = 0x4000 | (isWriteCacheOn ? 0x20 : 0) | (isSMARTOn ? 1 : 0)
        data[86] = 0x3400
        data[87] = 0x4040
        data.set48(100, totalSectors)
        if !backend.isReadOnly {
            data[105] = UInt16(Self.bufferBytes / 512)
            data[169] = 1
        }
        // Word 106: one logical sector per physical one.
        data[106] = 0x6000
        return data.bytes
    }
}
