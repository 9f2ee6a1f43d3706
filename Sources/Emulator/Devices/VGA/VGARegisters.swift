/// The VGA's register files (IBM VGA Technical Reference), reached by index and data ports.
///
/// | port | read | write |
/// | --- | --- | --- |
/// | 3C0 | attribute index | attribute index and data in turn (flip-flop) |
/// | 3C1 | attribute data | – |
/// | 3C2 | input status 0 | miscellaneous output |
/// | 3C4, 3C5 | sequencer index, data | the same |
/// | 3C6 | DAC pixel mask | the same |
/// | 3C7 | DAC state | DAC read index |
/// | 3C8, 3C9 | DAC write index, data | the same; three data accesses per colour |
/// | 3CA, 3CC | feature control, miscellaneous output | – |
/// | 3CE, 3CF | graphics controller index, data | the same |
/// | 3x4, 3x5 | CRT controller index, data | the same |
/// | 3xA | input status 1; resets the flip-flop | feature control |
///
/// x is D for colour and B for monochrome, as bit 0 of miscellaneous output says; the other answers nothing.
struct VGARegisters {
    static let sequencerCount = 8
    static let graphicsCount = 16
    static let attributeCount = 32

    var miscellaneous: UInt8 = 0
    var featureControl: UInt8 = 0
    var sequencerIndex: UInt8 = 0
    var sequencer = [UInt8](repeating: 0, count: sequencerCount)
    var graphicsIndex: UInt8 = 0
    var graphics = [UInt8](repeating: 0, count: graphicsCount)
    /// Bit 5 set: the screen is shown and the palette belongs to the display.
    var attributeIndex: UInt8 = 0
    var attribute = [UInt8](repeating: 0, count: attributeCount)
    /// The next write to 3C0 is data.
    var attributeExpectsData = false
    var crtcIndex: UInt8 = 0
    var crtc = [UInt8](repeating: 0, count: 256)
    var dac = VGADAC()

    private static let sequencerMasks: [UInt8] = [0x03, 0x3D, 0x0F, 0x3F, 0x0E, 0x00, 0x00, 0xFF]
    private static let graphicsMasks: [UInt8] =
        [0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF] + Array(repeating: 0, count: 7)
    private static let attributeMasks: [UInt8] =
        Array(repeating: 0x3F, count: 16) + [0xEF, 0xFF, 0x3F, 0x0F, 0x0F] + Array(repeating: 0, count: 11)

    mutating func exchange(_ c: StateCoder) {
        c.field("miscellaneous", &miscellaneous)
        c.field("featureControl", &featureControl)
        c.field("sequencerIndex", &sequencerIndex, in: 0...7)
        c.field("sequencer", &sequencer)
        c.field("graphicsIndex", &graphicsIndex, in: 0...15)
        c.field("graphics", &graphics)
        c.field("attributeIndex", &attributeIndex)
        c.field("attribute", &attribute)
        c.field("attributeExpectsData", &attributeExpectsData)
        c.field("crtcIndex", &crtcIndex)
        c.field("crtc", &crtc)
        c.group("dac") { dac.exchange(c) }
    }

    var isColour: Bool { miscellaneous & 1 != 0 }

    /// Registers behind every port but the two input statuses.
    func read(_ port: UInt16) -> UInt8 {
        switch port {
        case 0x3C0: attributeExpectsData ? 0 : attributeIndex
        case 0x3C1: attribute[Int(attributeIndex & 0x1F)]
        case 0x3C4: sequencerIndex
        case 0x3C5: sequencer[Int(sequencerIndex & 7)]
        case 0x3C6: dac.pixelMask
        case 0x3C7: dac.state
        case 0x3C8: dac.writeIndex
        case 0x3CA: featureControl
        case 0x3CC: miscellaneous
        case 0x3CE: graphicsIndex
        case 0x3CF: graphics[Int(graphicsIndex & 15)]
        case 0x3B4, 0x3D4: crtcIndex
        case 0x3B5, 0x3D5: crtc[Int(crtcIndex)]
        default: 0xFF
        }
    }

    mutating func write(_ port: UInt16, _ value: UInt8) {
        switch port {
        case 0x3C0:
            if attributeExpectsData { writeAttribute(value) } else { attributeIndex = value & 0x3F }
            attributeExpectsData.toggle()
        case 0x3C2: miscellaneous = value & ~0x10
        case 0x3C4: sequencerIndex = value & 7
        case 0x3C5:
            let index = Int(sequencerIndex)
            sequencer[index] = value & Self.sequencerMasks[index]
        case 0x3C6: dac.pixelMask = value
        case 0x3C7: dac.startReading(value)
        case 0x3C8: dac.startWriting(value)
        case 0x3C9: dac.write(value)
        case 0x3CE: graphicsIndex = value & 15
        case 0x3CF:
            let index = Int(graphicsIndex)
            graphics[index] = value & Self.graphicsMasks[index]
        case 0x3B4, 0x3D4: crtcIndex = value
        case 0x3B5, 0x3D5: writeCRTC(value)
        case 0x3BA, 0x3DA: featureControl = value & 0x10
        default: break
        }
    }

    private mutating func writeAttribute(_ value: UInt8) {
        let index = Int(attributeIndex & 0x1F)
        attribute[index] = value & Self.attributeMasks[index]
    }

    private mutating func writeCRTC(_ value: UInt8) {
        let index = Int(crtcIndex)
        // Bit 7 of register 11h protects 0–7, except the line compare bit of 7.
        if crtc[0x11] & 0x80 != 0, index <= 7 {
            if index == 7 { crtc[7] = crtc[7] & ~0x10 | value & 0x10 }
            return
        }
        crtc[index] = value
    }

    // MARK: What the CRT controller counts

    /// Character clocks shown per line.
    var displayedCharacters: Int { Int(crtc[1]) + 1 }
    /// Scan lines shown per frame.
    var displayedLines: Int { (Int(crtc[0x12]) | overflow(bit: 1, to: 8) | overflow(bit: 6, to: 9)) + 1 }
    var totalCharacters: Int { Int(crtc[0]) + 5 }
    var totalLines: Int { (Int(crtc[6]) | overflow(bit: 0, to: 8) | overflow(bit: 5, to: 9)) + 2 }
    var retraceStartLine: Int { Int(crtc[0x10]) | overflow(bit: 2, to: 8) | overflow(bit: 7, to: 9) }
    /// The retrace ends when the low four bits of the line counter match these.
    var retraceEndBits: Int { Int(crtc[0x11] & 0x0F) }
    var lineCompare: Int { Int(crtc[0x18]) | overflow(bit: 4, to: 8) | Int(crtc[9] >> 6 & 1) << 9 }
    /// In cells of four bytes.
    var startAddress: Int { Int(crtc[0x0C]) << 8 | Int(crtc[0x0D]) }
    var cellsPerLine: Int { Int(crtc[0x13]) * 2 }
    var scanLinesPerRow: Int { Int(crtc[9] & 0x1F) + 1 }
    var isDoubleScanned: Bool { crtc[9] & 0x80 != 0 }
    var isGraphics: Bool { graphics[6] & 1 != 0 }
    /// Dots per character clock.
    var dotsPerCharacter: Int { isGraphics || sequencer[1] & 1 != 0 ? 8 : 9 }
    var isHalfClock: Bool { sequencer[1] & 8 != 0 }
    var isScreenOff: Bool { sequencer[1] & 0x20 != 0 || attributeIndex & 0x20 == 0 }

    private func overflow(bit: Int, to position: Int) -> Int { (Int(crtc[7]) >> bit & 1) << position }
}

/// The palette DAC (Inmos 171): 256 colours of three 6-bit components, 8-bit where VBE asked for it.
struct VGADAC {
    var pixelMask: UInt8 = 0xFF
    var has8Bits = false
    /// Red, green, blue of each colour, as written.
    private(set) var components = [UInt8](repeating: 0, count: 768)
    private var readIndex: UInt8 = 0
    private(set) var writeIndex: UInt8 = 0
    private var phase = 0
    private var latch: [UInt8] = [0, 0, 0]
    /// 3: reading, 0: writing.
    private(set) var state: UInt8 = 0

    mutating func exchange(_ c: StateCoder) {
        c.field("pixelMask", &pixelMask)
        c.field("has8Bits", &has8Bits)
        c.field("components", &components)
        c.field("readIndex", &readIndex)
        c.field("writeIndex", &writeIndex)
        c.field("phase", &phase, in: 0...2)
        c.field("latch", &latch)
        c.field("state", &state)
    }

    mutating func startReading(_ index: UInt8) {
        readIndex = index
        phase = 0
        state = 3
    }

    mutating func startWriting(_ index: UInt8) {
        writeIndex = index
        phase = 0
        state = 0
    }

    mutating func read() -> UInt8 {
        let value = components[Int(readIndex) * 3 + phase]
        phase += 1
        if phase == 3 {
            phase = 0
            readIndex &+= 1
        }
        return value
    }

    mutating func write(_ value: UInt8) {
        latch[phase] = has8Bits ? value : value & 0x3F
        phase += 1
        guard phase == 3 else { return }
        phase = 0
        for i in 0..<3 { components[Int(writeIndex) * 3 + i] = latch[i] }
        writeIndex &+= 1
    }

    /// A colour as the monitor shows it: R, G, B in the low three bytes, opaque.
    func colour(_ index: UInt8) -> UInt32 {
        let at = Int(index & pixelMask) * 3
        var value: UInt32 = 0xFF00_0000
        for i in 0..<3 {
            let raw = UInt32(components[at + i])
            let full = has8Bits ? raw : raw << 2 | raw >> 4
            value |= full << UInt32(8 * i)
        }
        return value
    }
}
