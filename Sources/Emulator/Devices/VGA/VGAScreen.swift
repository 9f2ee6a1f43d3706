extension VGADevice {
    /// What the monitor shows now. Call on the CPU thread or while the machine is paused.
    /// - Parameter showsBlinking: whether the cursor and blinking characters are drawn.
    func snapshot(showsBlinking: Bool = true) -> ScreenImage {
        if vbe.isEnabled {
            return VBERenderer(
                vbe: vbe, registers: registers, memory: pixels, memoryBytes: Self.memoryBytes
            ).render()
        }
        return VGARenderer(
            registers, memory: pixels, memoryBytes: Self.memoryBytes, showsBlinking: showsBlinking
        ).render()
    }

    /// The characters of a text mode, one string per row without trailing blanks; empty in a graphics mode.
    func textContents() -> [String] {
        guard !vbe.isEnabled, !registers.isGraphics, registers.cellsPerLine > 0 else { return [] }
        let scans = registers.scanLinesPerRow * (registers.isDoubleScanned ? 2 : 1)
        return (0..<registers.displayedLines / scans).map { row in
            var text = ""
            for column in 0..<registers.displayedCharacters {
                let cell = registers.startAddress + row * registers.cellsPerLine + column
                text.unicodeScalars.append(CodePage437.scalar(pixels[cell << 2 & (Self.memoryBytes - 1)]))
            }
            while text.hasSuffix(" ") { text.removeLast() }
            return text
        }
    }
}

/// IBM PC character set to Unicode.
enum CodePage437 {
    private static let low = Array(" ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼".unicodeScalars)
    private static let high = Array(
        ("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐"
            + "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{A0}").unicodeScalars)

    static func scalar(_ byte: UInt8) -> Unicode.Scalar {
        switch byte {
        case 0..<0x20: low[Int(byte)]
        case 0x7F: "⌂"
        case 0x80...: high[Int(byte) - 0x80]
        default: Unicode.Scalar(byte)
        }
    }
}
