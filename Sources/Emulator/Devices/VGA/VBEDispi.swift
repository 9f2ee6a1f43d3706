/// The Bochs VBE extension ("dispi", version B0C5h): index port 1CEh, 16-bit data port 1CFh, or memory BAR 2 at 500h.
///
/// | index | register |
/// | --- | --- |
/// | 0 | ID: B0C0h–B0C5h |
/// | 1, 2, 3 | width, height, bits per pixel (4, 8, 15, 16, 24, 32) |
/// | 4 | enable: bit 0 on, 1 answer capabilities, 5 8-bit DAC, 6 linear frame buffer, 7 keep memory |
/// | 5 | 64 KiB bank behind A0000h |
/// | 6, 7 | virtual width, virtual height (read only) |
/// | 8, 9 | x and y offset of the screen in the virtual one |
/// | A | display memory in units of 64 KiB |
struct VBEDispi {
    static let identifier: UInt16 = 0xB0C5
    static let maximumWidth = 2560
    static let maximumHeight = 1600
    static let registerCount = 11

    private let memoryBytes: Int
    var index: UInt16 = 0
    private var identity = VBEDispi.identifier
    private(set) var width = 0
    private(set) var height = 0
    private(set) var bitsPerPixel = 0
    private(set) var enable: UInt16 = 0
    private(set) var bank = 0
    private(set) var virtualWidth = 0
    private(set) var xOffset = 0
    private(set) var yOffset = 0

    init(memoryBytes: Int) { self.memoryBytes = memoryBytes }

    var isEnabled: Bool { enable & 1 != 0 }
    var keepsMemory: Bool { enable & 0x80 != 0 }
    var has8BitDAC: Bool { enable & 0x20 != 0 }
    var isPlanar: Bool { bitsPerPixel == 4 }
    var bytesPerPixel: Int { (bitsPerPixel + 7) / 8 }
    /// Bytes from one line to the next; for four bits per pixel all planes together.
    var lineBytes: Int { isPlanar ? virtualWidth / 8 * 4 : virtualWidth * bytesPerPixel }
    var virtualHeight: Int { lineBytes == 0 ? 0 : min(memoryBytes / lineBytes, 0xFFFF) }
    /// Offset of the first pixel shown.
    var startByte: Int { yOffset * lineBytes + (isPlanar ? xOffset / 8 * 4 : xOffset * bytesPerPixel) }

    mutating func exchange(_ c: StateCoder) {
        c.field("index", &index)
        c.field("identity", &identity)
        let word = 0...0xFFFF
        c.field("width", &width, in: word)
        c.field("height", &height, in: word)
        c.field("bitsPerPixel", &bitsPerPixel, in: word)
        c.field("enable", &enable)
        c.field("bank", &bank, in: 0...(memoryBytes >> 16) - 1)
        c.field("virtualWidth", &virtualWidth, in: word)
        c.field("xOffset", &xOffset, in: word)
        c.field("yOffset", &yOffset, in: word)
        if c.isRestoring { fit() }
    }

    func read(_ register: UInt16) -> UInt16 {
        let asksCapabilities = enable & 2 != 0
        switch register {
        case 0: return identity
        case 1: return UInt16(asksCapabilities ? Self.maximumWidth : width)
        case 2: return UInt16(asksCapabilities ? Self.maximumHeight : height)
        case 3: return UInt16(asksCapabilities ? 32 : bitsPerPixel)
        case 4: return enable
        case 5: return UInt16(bank)
        case 6: return UInt16(virtualWidth)
        case 7: return UInt16(virtualHeight)
        case 8: return UInt16(xOffset)
        case 9: return UInt16(yOffset)
        case 10: return UInt16(memoryBytes >> 16)
        default: return 0
        }
    }

    /// - Returns: true when the mode was switched on or off.
    mutating func write(_ register: UInt16, _ value: UInt16) -> Bool {
        switch register {
        case 0: if value & 0xFFF0 == 0xB0C0, value <= Self.identifier { identity = value }
        case 1: width = Int(value)
        case 2: height = Int(value)
        case 3: bitsPerPixel = value == 0 ? 8 : Int(value)
        case 4:
            let wasEnabled = isEnabled
            enable = value
            if isEnabled, !wasEnabled {
                virtualWidth = 0
                xOffset = 0
                yOffset = 0
            }
            if !isEnabled { bank = 0 }
            fit()
            return isEnabled != wasEnabled
        case 5: bank = Int(value) & ((memoryBytes >> (isPlanar ? 18 : 16)) - 1)
        case 6: virtualWidth = Int(value)
        case 8: xOffset = Int(value)
        case 9: yOffset = Int(value)
        default: break
        }
        if isEnabled { fit() }
        return false
    }

    /// Whatever a guest wrote becomes a picture that lies inside the memory.
    private mutating func fit() {
        guard isEnabled else { return }
        if ![4, 8, 15, 16, 24, 32].contains(bitsPerPixel) { bitsPerPixel = 8 }
        width = min(max(width & ~7, 8), Self.maximumWidth)
        virtualWidth = min(max(virtualWidth & ~7, width), 0x7FF8)
        height = min(max(height, 1), Self.maximumHeight)
        if memoryBytes / lineBytes < height { virtualWidth = width }
        height = min(height, memoryBytes / lineBytes)
        xOffset = min(xOffset, virtualWidth - width)
        yOffset = min(yOffset, memoryBytes / lineBytes - height)
    }
}
