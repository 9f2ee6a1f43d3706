/// Where the beam is at a moment: input status registers 0 and 1 (3C2h and 3DAh).
struct VGATiming {
    private static let frameNanosecondsWithoutMode: UInt64 = 16_666_667
    /// Inside the lines or columns that are not shown.
    let isBlanked: Bool
    let isVerticalRetrace: Bool

    init(_ registers: VGARegisters, _ now: UInt64) {
        // Clock select: 25.175 MHz, else 28.322 MHz; half for 40 columns.
        let clockHertz: UInt64 = registers.miscellaneous & 0x0C == 0 ? 25_175_000 : 28_322_000
        let dots = UInt64(registers.totalCharacters * registers.dotsPerCharacter * (registers.isHalfClock ? 2 : 1))
        let lines = UInt64(registers.totalLines)
        let lineNanoseconds = dots * 1_000_000_000 / clockHertz
        guard registers.totalLines > registers.displayedLines, lineNanoseconds > 0 else {
            // Not programmed yet, or by VBE only: a plain 60 Hz monitor.
            let moment = now % Self.frameNanosecondsWithoutMode
            isVerticalRetrace = moment > Self.frameNanosecondsWithoutMode * 95 / 100
            isBlanked = isVerticalRetrace
            return
        }
        let inFrame = now % (lineNanoseconds * lines)
        let line = Int(inFrame / lineNanoseconds)
        let column = Int(inFrame % lineNanoseconds * UInt64(registers.totalCharacters) / lineNanoseconds)
        isBlanked = line >= registers.displayedLines || column >= registers.displayedCharacters
        let start = registers.retraceStartLine
        var length = (registers.retraceEndBits - start) & 15
        if length == 0 { length = 16 }
        isVerticalRetrace = line >= start && line < start + length
    }

    /// Bit 7 vertical retrace; bit 4 monitor sense: a colour monitor is attached.
    var inputStatus0: UInt8 { (isVerticalRetrace ? 0x80 : 0) | 0x10 }
    /// Bit 3 vertical retrace, bit 0 display disabled.
    var inputStatus1: UInt8 { (isVerticalRetrace ? 0x08 : 0) | (isBlanked || isVerticalRetrace ? 0x01 : 0) }
}
