/// Mode 3, the text screen of 80 × 25 that a VGA BIOS leaves (IBM VGA Technical Reference, "Video Modes"): for kernels that start
/// without firmware and expect it.
extension VGADevice {
    private enum Mode3 {
        static let miscellaneous: UInt8 = 0x67
        static let sequencer: [UInt8] = [0x03, 0x00, 0x03, 0x00, 0x02]
        static let crtc: [UInt8] = [
            0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0x00, 0x00, 0x00, 0x00, 0x9C, 0x8E,
            0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF,
        ]
        static let graphics: [UInt8] = [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0E, 0x00, 0xFF]
        static let attribute: [UInt8] = [
            0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x0C, 0x00,
            0x0F, 0x08, 0x00,
        ]
        static let columns = 80, rows = 25
    }

    private static let glyphLines = 16, glyphs = 256, glyphPitch = 32
    /// The first two glyphs of every VGA font: nothing, and a face.
    private static let fontStart: [UInt8] =
        [UInt8](repeating: 0, count: 16) + [
            0, 0, 0x7E, 0x81, 0xA5, 0x81, 0x81, 0xBD, 0x99, 0x81, 0x81, 0x7E, 0, 0, 0, 0,
        ]

    /// Programs the mode, loads the VGA BIOS's font, and clears the screen.
    func setTextMode() {
        func out(_ port: UInt16, _ value: UInt8) { portWrite(port, size: 1, value: UInt32(value)) }
        func fill(_ port: UInt16, _ values: [UInt8]) {
            for (index, value) in values.enumerated() {
                out(port, UInt8(index))
                out(port + 1, value)
            }
        }
        out(0x3C2, Mode3.miscellaneous)
        fill(0x3C4, Mode3.sequencer)
        // Registers 0 to 7 may be protected.
        out(0x3D4, 0x11)
        out(0x3D5, 0)
        fill(0x3D4, Mode3.crtc)
        fill(0x3CE, Mode3.graphics)
        // A read makes the next write to 3C0 an index.
        _ = portRead(0x3DA, size: 1)
        for (index, value) in Mode3.attribute.enumerated() {
            out(0x3C0, UInt8(index))
            out(0x3C0, value)
        }
        out(0x3C0, 0x20)
        loadPalette(out)
        for cell in 0..<Mode3.columns * Mode3.rows {
            pixels[cell * 4] = 0x20
            pixels[cell * 4 + 1] = 0x07
        }
        loadFont()
    }

    /// The 64 colours of an EGA: two bits each of red, green and blue, the weaker ones in bits 5 to 3.
    private func loadPalette(_ out: (UInt16, UInt8) -> Void) {
        out(0x3C8, 0)
        for colour in 0..<64 {
            for bit in [2, 1, 0] {
                let strong = colour >> bit & 1, weak = colour >> (bit + 3) & 1
                out(0x3C9, UInt8(strong * 0x2A + weak * 0x15))
            }
        }
    }

    /// The font is in plane 2, 32 bytes a character.
    private func loadFont() {
        guard let font = fontInROM else { return }
        for glyph in 0..<Self.glyphs {
            for line in 0..<Self.glyphLines {
                pixels[(glyph * Self.glyphPitch + line) * 4 + 2] = font[glyph * Self.glyphLines + line]
            }
        }
    }

    private var fontInROM: [UInt8]? {
        let image = romBytes
        let size = Self.glyphs * Self.glyphLines
        guard image.count >= size else { return nil }
        for start in 0...image.count - size where image[start + 18] == 0x7E {
            if Array(image[start..<start + Self.fontStart.count]) == Self.fontStart {
                return Array(image[start..<start + size])
            }
        }
        return nil
    }
}
