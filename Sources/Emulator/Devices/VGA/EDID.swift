/// VESA E-EDID release A revision 2 (EDID 1.4): the 128 bytes in which a monitor describes itself.
///
/// | offset | size | field |
/// | --- | --- | --- |
/// | 0 | 8 | header 00 FF×6 00 |
/// | 8 | 2+2+4 | maker (three letters), product, serial number |
/// | 16 | 2 | week, year − 1990 |
/// | 18 | 2 | version, revision |
/// | 20 | 5 | input, size in cm, gamma, features |
/// | 25 | 10 | colour characteristics |
/// | 35 | 3 | established timings |
/// | 38 | 16 | eight standard timings |
/// | 54 | 72 | four descriptors of 18 bytes; the first is the preferred timing |
/// | 126 | 1+1 | extension blocks, checksum |
struct EDID {
    let bytes: [UInt8]

    /// Sizes offered besides the preferred one: width, height at 60 Hz with an aspect that the table can express.
    private static let standardTimings: [(width: Int, aspect: UInt8)] = [
        (1920, 0), (1680, 0), (1600, 1), (1440, 0), (1280, 2), (1280, 0), (1152, 1), (1024, 1),
    ]

    /// - Parameters:
    ///   - width: pixels of the preferred mode, even.
    ///   - name: at most 13 characters of ASCII are shown.
    init(width: Int, height: Int, name: String) {
        var data = [UInt8](repeating: 0, count: 128)
        for i in 1...6 { data[i] = 0xFF }
        // Maker "LAB": five bits per letter.
        let letters = "LAB".utf8.map { UInt16($0) - 64 }
        let maker = letters.reduce(0) { $0 << 5 | $1 }
        data[8] = UInt8(maker >> 8)
        data[9] = UInt8(maker & 0xFF)
        data[10] = 0x34
        data[11] = 0x12
        data[16] = 42
        data[17] = 34
        data[18] = 1
        data[19] = 4
        // Digital, 8 bits per colour; 100 dots per inch; gamma 2.2; sRGB, preferred timing is native.
        data[20] = 0xA5
        data[21] = UInt8(truncatingIfNeeded: width * 254 / 10000)
        data[22] = UInt8(truncatingIfNeeded: height * 254 / 10000)
        data[23] = 120
        data[24] = 0x06
        // Chromaticities of sRGB.
        data.replaceSubrange(25..<35, with: [0xEE, 0x91, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54])
        // 640×480, 800×600 and 1024×768 at 60 Hz.
        data[35] = 0x21
        data[36] = 0x08
        for (i, timing) in Self.standardTimings.enumerated() {
            data[38 + i * 2] = UInt8(timing.width / 8 - 31)
            data[39 + i * 2] = timing.aspect << 6
        }
        data.replaceSubrange(54..<72, with: Self.detailedTiming(width, height))
        // Range limits: 50–125 Hz, 30–160 kHz, 400 MHz at most.
        data.replaceSubrange(
            72..<90, with: [0, 0, 0, 0xFD, 0, 50, 125, 30, 160, 40, 0x01, 10, 32, 32, 32, 32, 32, 32])
        let text = Array(name.utf8.prefix(13))
        let end: [UInt8] = text.count < 13 ? [10] : []
        let padded = text + end + Array(repeating: 32, count: 13 - text.count - end.count)
        data.replaceSubrange(90..<108, with: [0, 0, 0, 0xFC, 0] + padded)
        data[111] = 0x10
        data[127] = 0 &- data[0..<127].reduce(0, &+)
        bytes = data
    }

    /// A 60 Hz timing with round blanking intervals.
    private static func detailedTiming(_ width: Int, _ height: Int) -> [UInt8] {
        let hblank = width * 35 / 100 & ~1
        let hfront = width / 4 / 10 * 10 / 4
        let hsync = width / 25
        let vblank = height * 35 / 1000
        let (vfront, vsync) = (3, 6)
        let clock = (width + hblank) * (height + vblank) * 60 / 10_000
        func low(_ value: Int) -> UInt8 { UInt8(truncatingIfNeeded: value) }
        func highs(_ a: Int, _ b: Int) -> UInt8 { low((a >> 8 & 15) << 4 | b >> 8 & 15) }
        let (mmWidth, mmHeight) = (width * 254 / 1000, height * 254 / 1000)
        return [
            low(clock), low(clock >> 8), low(width), low(hblank), highs(width, hblank),
            low(height), low(vblank), highs(height, vblank), low(hfront), low(hsync),
            low((vfront & 15) << 4 | vsync & 15),
            low((hfront >> 8 & 3) << 6 | (hsync >> 8 & 3) << 4 | (vfront >> 4 & 3) << 2 | vsync >> 4 & 3),
            low(mmWidth), low(mmHeight), highs(mmWidth, mmHeight), 0, 0, 0x18,
        ]
    }
}
