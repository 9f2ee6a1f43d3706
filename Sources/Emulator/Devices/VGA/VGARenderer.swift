/// Draws what a monitor would show: walks the frame as the CRT controller does, line by line.
struct VGARenderer {
    private let registers: VGARegisters
    private let memory: UnsafeMutablePointer<UInt8>
    private let byteMask: Int
    private let palette: [UInt32]
    /// Blinking characters and the cursor are in their visible half.
    private let showsBlinking: Bool

    /// - Parameter memoryBytes: a power of two.
    init(
        _ registers: VGARegisters, memory: UnsafeMutablePointer<UInt8>, memoryBytes: Int, showsBlinking: Bool
    ) {
        self.registers = registers
        self.memory = memory
        byteMask = memoryBytes - 1
        self.showsBlinking = showsBlinking
        palette = (0..<16).map { index in
            // Attribute palette to DAC index: the colour select register supplies the upper bits.
            var value = registers.attribute[index]
            if registers.attribute[0x10] & 0x80 != 0 {
                value = value & 0x0F | registers.attribute[0x14] << 4 & 0x30
            }
            return registers.dac.colour(value & 0x3F | registers.attribute[0x14] << 4 & 0xC0)
        }
    }

    func render() -> ScreenImage {
        let scale = registers.isHalfClock ? 2 : 1
        let dots = registers.displayedCharacters * registers.dotsPerCharacter
        var image = ScreenImage(width: dots * scale, height: registers.displayedLines)
        if registers.isScreenOff { return image }
        let width = image.width
        var line = [UInt32](repeating: 0, count: dots + 16)
        image.withPixels { pixels in
            walkLines { y, address, rowScan, panning in
                if registers.isGraphics {
                    drawGraphics(&line, address: address, rowScan: rowScan, dots: dots, panning: panning)
                } else {
                    drawText(&line, address: address, rowScan: rowScan, panning: panning)
                }
                for x in 0..<width { pixels[y * width + x] = line[x / scale] }
            }
        }
        return image
    }

    /// Calls `body` with each line's number, first cell, scan line inside its character row and dot shift.
    private func walkLines(_ body: (Int, Int, Int, Int) -> Void) {
        var address = registers.startAddress
        var rowScan = Int(registers.crtc[8] & 0x1F)
        var panning = Int(registers.attribute[0x13] & 0x0F)
        var isRepeat = false
        for y in 0..<registers.displayedLines {
            body(y, address, rowScan, panning)
            if y == registers.lineCompare {
                // Split screen: the lower part starts at address 0, unshifted if the mode control says so.
                address = 0
                rowScan = 0
                isRepeat = false
                if registers.attribute[0x10] & 0x20 != 0 { panning = 0 }
                continue
            }
            if registers.isDoubleScanned {
                isRepeat.toggle()
                if isRepeat { continue }
            }
            rowScan += 1
            if rowScan >= registers.scanLinesPerRow {
                rowScan = 0
                address += registers.cellsPerLine
            }
        }
    }

    // MARK: Text

    private func drawText(_ line: inout [UInt32], address: Int, rowScan: Int, panning: Int) {
        let width = registers.dotsPerCharacter
        let mode = registers.attribute[0x10]
        // Panning in nine-dot modes counts 8 as "no shift", 0–7 as 1–8 dots.
        let shift = width == 9 ? (panning >= 8 ? 0 : panning + 1) : panning & 7
        let cursorCell = Int(registers.crtc[0x0E]) << 8 | Int(registers.crtc[0x0F])
        let cursorStart = registers.crtc[0x0A] & 0x1F
        let cursorEnd = registers.crtc[0x0B] & 0x1F
        let isCursorOn = registers.crtc[0x0A] & 0x20 == 0 && showsBlinking
        let hasCursor = isCursorOn && Int(cursorStart) <= rowScan && rowScan <= Int(cursorEnd)
        for column in 0...registers.displayedCharacters {
            let cell = address + column
            let at = cell << 2 & byteMask
            let character = Int(memory[at])
            let attribute = memory[at + 1]
            let font = (attribute & 8 != 0 ? fontA : fontB) + character * 32 + rowScan
            var bits = memory[(font << 2 | 2) & byteMask]
            var foreground = palette[Int(attribute & 0x0F)]
            var background = palette[Int(attribute >> 4)]
            if mode & 0x08 != 0 {
                background = palette[Int(attribute >> 4 & 7)]
                if attribute & 0x80 != 0, !showsBlinking { bits = 0 }
            }
            // Monochrome underline: foreground 1 at the line that the CRT controller names.
            if attribute & 7 == 1, rowScan == Int(registers.crtc[0x14] & 0x1F) { bits = 0xFF }
            if hasCursor, cell & 0xFFFF == cursorCell {
                bits = 0xFF
                if width == 9 { background = foreground }
            }
            let repeatsLast = mode & 0x04 != 0 && character & 0xE0 == 0xC0 && bits & 1 != 0
            if bits == 0 { foreground = background }
            for dot in 0..<width {
                let x = column * width + dot - shift
                guard x >= 0, x < line.count else { continue }
                let isSet = dot < 8 ? bits << UInt8(dot) & 0x80 != 0 : repeatsLast
                line[x] = isSet ? foreground : background
            }
        }
    }

    /// Character map select (sequencer 3) picks 8 KiB blocks of plane 2: attribute bit 3 set, and clear.
    private var fontA: Int {
        let select = Int(registers.sequencer[3])
        return fontBlock(select >> 2 & 3 | select >> 3 & 4)
    }
    private var fontB: Int {
        let select = Int(registers.sequencer[3])
        return fontBlock(select & 3 | select >> 2 & 4)
    }
    /// Blocks 0–3 lie 16 KiB apart, 4–7 in the gaps between them.
    private func fontBlock(_ number: Int) -> Int { (number & 3) * 0x4000 + (number >> 2) * 0x2000 }

    // MARK: Graphics

    private func drawGraphics(_ line: inout [UInt32], address: Int, rowScan: Int, dots: Int, panning: Int) {
        let shiftMode = registers.graphics[5] >> 5 & 3
        let shift = panning & 7
        let planes = registers.attribute[0x12] & 0x0F
        for column in 0...dots / 8 {
            let at = displayCell(address + column, rowScan: rowScan) << 2 & byteMask
            let origin = column * 8 - shift
            for dot in 0..<8 {
                let x = origin + dot
                guard x >= 0, x < line.count else { continue }
                switch shiftMode {
                case 0:
                    var index = 0
                    for plane in 0..<4 { index |= Int(memory[at + plane] >> UInt8(7 - dot) & 1) << plane }
                    line[x] = palette[index & Int(planes)]
                case 1:
                    // CGA: two bits per pixel, four pixels from planes 0 and 2, four from planes 1 and 3.
                    let pair = UInt8(6 - (dot & 3) * 2)
                    let low = memory[at + (dot >> 2)] >> pair & 3
                    let high = memory[at + 2 + (dot >> 2)] >> pair & 3
                    line[x] = palette[Int((low | high << 2) & planes)]
                default:
                    // 256 colours: a byte per pixel, each two dots wide.
                    line[x] = registers.dac.colour(memory[at + dot >> 1])
                }
            }
        }
    }

    /// CGA and Hercules banks: row scan bits replace address bits 13 and 14 where CRT control 17h says so. In word
    /// mode a cell stands for two addresses.
    private func displayCell(_ cell: Int, rowScan: Int) -> Int {
        let control = registers.crtc[0x17]
        let bit = control & 0x40 != 0 ? 13 : 12
        var result = cell
        if control & 1 == 0 { result = result & ~(1 << bit) | (rowScan & 1) << bit }
        if control & 2 == 0 { result = result & ~(1 << (bit + 1)) | (rowScan >> 1 & 1) << (bit + 1) }
        return result
    }
}
