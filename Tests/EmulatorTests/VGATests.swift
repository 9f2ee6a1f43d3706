import Testing

@testable import Emulator

/// The VGA, programmed as its BIOS and Linux's bochs driver do.
@Suite struct VGATests {
    final class Clock { var now: UInt64 = 0 }
    let ports = PortBus()
    let memory: PhysicalMap
    let clock = Clock()
    let vga: VGADevice

    init() throws {
        memory = try PhysicalMap(ramSizeBytes: 4 << 20)
        let clock = clock
        vga = try VGADevice(
            ports: ports, memory: memory, scheduler: Scheduler { clock.now },
            rom: (0..<5000).map { UInt8(truncatingIfNeeded: $0) })
    }

    func out(_ port: UInt16, _ value: UInt8) { ports.write(port, size: 1, value: UInt32(value)) }
    func inb(_ port: UInt16) -> UInt8 { UInt8(ports.read(port, size: 1)) }
    func index(_ port: UInt16, _ register: UInt8, _ value: UInt8) {
        ports.write(port, size: 2, value: UInt32(value) << 8 | UInt32(register))
    }
    func dispi(_ register: UInt16, _ value: UInt16) {
        ports.write(0x1CE, size: 2, value: UInt32(register))
        ports.write(0x1CF, size: 2, value: UInt32(value))
    }
    func dispi(_ register: UInt16) -> UInt16 {
        ports.write(0x1CE, size: 2, value: UInt32(register))
        return UInt16(ports.read(0x1CF, size: 2))
    }
    func poke(_ address: UInt64, _ bytes: [UInt8]) {
        for (i, byte) in bytes.enumerated() { memory.write(address + UInt64(i), size: 1, value: UInt64(byte)) }
    }
    func peek(_ address: UInt64) -> UInt8 { UInt8(memory.read(address, size: 1)) }

    /// One register set of the standard modes (IBM VGA Technical Reference, mode tables).
    struct Mode {
        let misc: UInt8
        let sequencer: [UInt8]
        let crtc: [UInt8]
        let graphics: [UInt8]
        let attributeMode: UInt8
        var panning: UInt8 = 0
    }

    static let text = Mode(
        misc: 0x67, sequencer: [3, 0x00, 0x03, 0x00, 0x02],
        crtc: [
            0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0, 0, 0, 0, 0x9C, 0x8E, 0x8F, 0x28,
            0x1F, 0x96, 0xB9, 0xA3, 0xFF,
        ], graphics: [0, 0, 0, 0, 0, 0x10, 0x0E, 0x0F, 0xFF], attributeMode: 0x0C, panning: 8)
    static let mode13 = Mode(
        misc: 0x63, sequencer: [3, 0x01, 0x0F, 0x00, 0x0E],
        crtc: [
            0x5F, 0x4F, 0x50, 0x82, 0x54, 0x80, 0xBF, 0x1F, 0x00, 0x41, 0, 0, 0, 0, 0, 0, 0x9C, 0x8E, 0x8F, 0x28, 0x40,
            0x96, 0xB9, 0xA3, 0xFF,
        ], graphics: [0, 0, 0, 0, 0, 0x40, 0x05, 0x0F, 0xFF], attributeMode: 0x41)
    static let mode12 = Mode(
        misc: 0xE3, sequencer: [3, 0x01, 0x0F, 0x00, 0x06],
        crtc: [
            0x5F, 0x4F, 0x50, 0x82, 0x54, 0x80, 0x0B, 0x3E, 0x00, 0x40, 0, 0, 0, 0, 0, 0, 0xEA, 0x8C, 0xDF, 0x28, 0x00,
            0xE7, 0x04, 0xE3, 0xFF,
        ], graphics: [0, 0, 0, 0, 0, 0, 0x05, 0x0F, 0xFF], attributeMode: 0x01)
    static let cga4 = Mode(
        misc: 0x63, sequencer: [3, 0x09, 0x03, 0x00, 0x02],
        crtc: [
            0x2D, 0x27, 0x28, 0x90, 0x2B, 0x80, 0xBF, 0x1F, 0x00, 0xC1, 0, 0, 0, 0, 0, 0, 0x9C, 0x8E, 0x8F, 0x14, 0x00,
            0x96, 0xB9, 0xA2, 0xFF,
        ], graphics: [0, 0, 0, 0, 0, 0x30, 0x0F, 0x0F, 0xFF], attributeMode: 0x01)

    func set(_ mode: Mode) {
        out(0x3C2, mode.misc)
        for (i, value) in mode.sequencer.enumerated() { index(0x3C4, UInt8(i), value) }
        index(0x3D4, 0x11, 0)
        for (i, value) in mode.crtc.enumerated() { index(0x3D4, UInt8(i), value) }
        for (i, value) in mode.graphics.enumerated() { index(0x3CE, UInt8(i), value) }
        _ = inb(0x3DA)
        let rest: [UInt8] = [mode.attributeMode, 0, 0x0F, mode.panning, 0]
        for (i, value) in ([UInt8](0..<16) + rest).enumerated() {
            out(0x3C0, UInt8(i))
            out(0x3C0, value)
        }
        out(0x3C0, 0x20)
        // Colour n: red 4n, green 63 - n, blue n, in six bits.
        out(0x3C8, 0)
        for n in 0..<256 {
            out(0x3C9, UInt8(truncatingIfNeeded: n * 4) & 63)
            out(0x3C9, UInt8(63 - n & 63))
            out(0x3C9, UInt8(n & 63))
        }
    }

    func colour(_ n: Int) -> [UInt8] {
        [n * 4 & 63, 63 - n & 63, n & 63].map { UInt8($0 << 2 | $0 >> 4) }
    }

    func colours(_ numbers: [Int]) -> [[UInt8]] { numbers.map { colour($0) } }
    func row(_ screen: ScreenImage, _ y: Int, count: Int) -> [[UInt8]] { (0..<count).map { screen[$0, y] } }

    func loadFont() {
        index(0x3C4, 2, 4)
        index(0x3C4, 4, 6)
        index(0x3CE, 5, 0)
        index(0x3CE, 6, 4)
        // Glyph n: its code in every line.
        for glyph in 0..<256 { poke(0xA0000 + UInt64(glyph * 32), Array(repeating: UInt8(glyph), count: 16)) }
        index(0x3C4, 2, 3)
        index(0x3C4, 4, 2)
        index(0x3CE, 5, 0x10)
        index(0x3CE, 6, 0x0E)
    }

    @Test func textModeShowsCharactersWithNineDots() {
        set(Self.text)
        loadFont()
        poke(0xB8000, [0x81, 0x1E, 0xC3, 0x4A])
        #expect(peek(0xB8000) == 0x81 && peek(0xB8001) == 0x1E)
        let screen = vga.snapshot()
        #expect((screen.width, screen.height) == (720, 400))
        let lit = (0..<9).filter { screen[$0, 5] == colour(14) }
        #expect(lit == [0, 7])
        #expect(screen[1, 5] == colour(1))
        // Line drawing characters repeat their last dot in the ninth.
        #expect(screen[17, 5] == colour(10))
        #expect(screen[12, 5] == colour(4))
    }

    @Test func cursorIsDrawnWhereTheControllerSays() {
        set(Self.text)
        loadFont()
        poke(0xB8000, Array(repeating: [0x00, 0x07], count: 2000).flatMap { $0 })
        index(0x3D4, 0x0E, 0)
        index(0x3D4, 0x0F, 82)
        let screen = vga.snapshot()
        #expect(screen[18, 16 + 13] == colour(7))
        #expect(screen[18, 16 + 12] == colour(0))
        #expect(screen[27, 16 + 13] == colour(0))
        #expect(vga.snapshot(showsBlinking: false)[18, 16 + 13] == colour(0))
        index(0x3D4, 0x0A, 0x2D)
        #expect(vga.snapshot()[18, 16 + 13] == colour(0))
    }

    @Test func textContentsFollowTheStartAddress() {
        set(Self.text)
        for (i, character) in "Hello, world".utf8.enumerated() { poke(0xB8000 + UInt64(160 + i * 2), [character, 7]) }
        poke(0xB8000 + 320, [0xC9, 7, 0xCD, 7])
        #expect(Array(vga.textContents()[0...2]) == ["", "Hello, world", "╔═"])
        #expect(vga.textContents().count == 25)
        index(0x3D4, 0x0D, 80)
        #expect(vga.textContents()[0] == "Hello, world")
    }

    @Test func mode13hShowsDoubledPixels() {
        set(Self.mode13)
        poke(0xA0000, [1, 2, 3, 4, 5])
        poke(0xA0000 + 320 * 199 + 319, [99])
        let screen = vga.snapshot()
        #expect((screen.width, screen.height) == (640, 400))
        #expect(row(screen, 0, count: 6) == colours([1, 1, 2, 2, 3, 3]))
        #expect(screen[0, 1] == colour(1) && screen[0, 2] == colour(0))
        #expect(screen[639, 399] == colour(99))
        #expect(peek(0xA0004) == 5)
    }

    @Test func modeXReachesOnePlaneAtATime() {
        set(Self.mode13)
        index(0x3C4, 4, 6)
        index(0x3D4, 0x14, 0)
        index(0x3D4, 0x17, 0xE3)
        index(0x3C4, 2, 2)
        poke(0xA0000, [7, 8])
        index(0x3C4, 2, 8)
        poke(0xA0000, [9])
        let screen = vga.snapshot()
        #expect(row(screen, 0, count: 12) == colours([0, 0, 7, 7, 0, 0, 9, 9, 0, 0, 8, 8]))
        index(0x3CE, 4, 1)
        #expect(peek(0xA0001) == 8)
        index(0x3CE, 4, 3)
        #expect(peek(0xA0000) == 9)
    }

    @Test func planarWriteModes() {
        set(Self.mode12)
        // Write mode 0 with set/reset on all planes and a bit mask.
        index(0x3CE, 1, 0x0F)
        index(0x3CE, 0, 0x05)
        index(0x3CE, 8, 0xF0)
        _ = peek(0xA0000)
        poke(0xA0000, [0xFF])
        var screen = vga.snapshot()
        #expect(row(screen, 0, count: 8) == colours([5, 5, 5, 5, 0, 0, 0, 0]))
        // Write mode 2: the colour comes from the CPU.
        index(0x3CE, 1, 0)
        index(0x3CE, 5, 2)
        index(0x3CE, 8, 0x0C)
        _ = peek(0xA0000)
        poke(0xA0000, [0x0A])
        screen = vga.snapshot()
        #expect(row(screen, 0, count: 8) == colours([5, 5, 5, 5, 10, 10, 0, 0]))
        // Write mode 1 copies the latches.
        index(0x3CE, 5, 1)
        _ = peek(0xA0000)
        poke(0xA0050, [0])
        screen = vga.snapshot()
        #expect(row(screen, 1, count: 8) == colours([5, 5, 5, 5, 10, 10, 0, 0]))
        // Write mode 3: CPU byte is the mask, set/reset the colour.
        index(0x3CE, 5, 3)
        index(0x3CE, 8, 0xFF)
        index(0x3CE, 0, 0x0C)
        _ = peek(0xA0000)
        poke(0xA0000, [0x81])
        screen = vga.snapshot()
        #expect(row(screen, 0, count: 8) == colours([12, 5, 5, 5, 10, 10, 0, 12]))
        // XOR with the latches, rotated.
        index(0x3CE, 5, 0)
        index(0x3CE, 3, 0x18 | 4)
        index(0x3C4, 2, 1)
        _ = peek(0xA0000)
        poke(0xA0000, [0x0F])
        screen = vga.snapshot()
        #expect(row(screen, 0, count: 8) == colours([13, 4, 4, 4, 10, 10, 0, 12]))
        // Read mode 1 finds a colour.
        index(0x3CE, 5, 8)
        index(0x3CE, 2, 0x0A)
        index(0x3CE, 7, 0x0F)
        #expect(peek(0xA0000) == 0x0C)
        #expect((screen.width, screen.height) == (640, 480))
    }

    @Test func cgaModeInterleavesBanks() {
        set(Self.cga4)
        poke(0xB8000, [0b00_01_10_11])
        poke(0xBA000, [0b11_10_01_00])
        let screen = vga.snapshot()
        #expect((screen.width, screen.height) == (640, 400))
        #expect(row(screen, 0, count: 8) == colours([0, 0, 1, 1, 2, 2, 3, 3]))
        #expect(row(screen, 2, count: 8) == colours([3, 3, 2, 2, 1, 1, 0, 0]))
    }

    @Test func splitScreenStartsAgainAtZero() {
        set(Self.mode12)
        index(0x3C4, 2, 0x0F)
        poke(0xA0000, [0xFF])
        index(0x3D4, 0x0C, 0x40)
        index(0x3D4, 0x18, 99)
        index(0x3D4, 0x07, 0x2E)
        index(0x3D4, 0x09, 0x00)
        let screen = vga.snapshot()
        #expect(screen[0, 0] == colour(0))
        #expect(screen[0, 99] == colour(0))
        #expect(screen[0, 100] == colour(15))
    }

    @Test func screenOffIsBlack() {
        set(Self.mode13)
        poke(0xA0000, [1])
        index(0x3C4, 1, 0x21)
        #expect(vga.snapshot()[0, 0] == [0, 0, 0])
        index(0x3C4, 1, 0x01)
        _ = inb(0x3DA)
        out(0x3C0, 0)
        #expect(vga.snapshot()[0, 0] == [0, 0, 0])
    }

    @Test func attributeFlipFlopAndCRTCProtection() {
        set(Self.text)
        _ = inb(0x3DA)
        out(0x3C0, 0x05)
        out(0x3C0, 0x2A)
        out(0x3C0, 0x25)
        #expect(inb(0x3C1) == 0x2A)
        index(0x3D4, 0x11, 0x8E)
        index(0x3D4, 0x00, 0x11)
        out(0x3D4, 0x00)
        #expect(inb(0x3D5) == 0x5F)
        // Monochrome addresses are silent in colour modes.
        #expect(inb(0x3B5) == 0xFF)
    }

    @Test func retraceBitsFollowTheClock() {
        set(Self.text)
        var samples: [UInt8] = []
        for _ in 0..<2000 {
            clock.now += 14_300_000 / 1000
            samples.append(inb(0x3DA))
        }
        let retrace = samples.filter { $0 & 8 != 0 }.count
        let blank = samples.filter { $0 & 1 != 0 }.count
        #expect((1...40).contains(retrace))
        #expect(blank > retrace && blank < 1200)
        // 70 Hz.
        let edges = zip(samples, samples.dropFirst()).filter { $0 & 8 == 0 && $1 & 8 != 0 }.count
        #expect(edges == 2)
    }

    @Test(arguments: [8, 15, 16, 24, 32])
    func vbeModesShowTheLinearFrameBuffer(bits: Int) {
        set(Self.text)
        vga.configWrite(0x10, size: 4, value: 0xE000_0000)
        vga.configWrite(0x04, size: 2, value: 2)
        #expect(dispi(0) == 0xB0C5)
        #expect(dispi(10) == 256)
        dispi(4, 0)
        dispi(1, 800)
        dispi(2, 600)
        dispi(3, UInt16(bits))
        dispi(4, 0x41)
        let bytes = (bits + 7) / 8
        let place = 0xE000_0000 + UInt64((599 * 800 + 799) * bytes)
        let red: UInt64 = [8: 17, 15: 0x7C00, 16: 0xF800, 24: 0xFF0000, 32: 0xFF0000][bits]!
        for i in 0..<bytes { memory.write(place + UInt64(i), size: 1, value: red >> UInt64(8 * i) & 255) }
        let screen = vga.snapshot()
        #expect((screen.width, screen.height) == (800, 600))
        #expect(screen[799, 599] == (bits == 8 ? colour(17) : [255, 0, 0]))
        #expect(screen[0, 0] == (bits == 8 ? colour(0) : [0, 0, 0]))
        // The same bytes through the banked window.
        let offset = (599 * 800 + 799) * bytes
        dispi(5, UInt16(offset >> 16))
        #expect(UInt64(peek(0xA0000 + UInt64(offset & 0xFFFF))) == red & 255)
    }

    @Test func vbePlanarModeAndPanning() {
        set(Self.mode12)
        dispi(1, 800)
        dispi(2, 600)
        dispi(3, 4)
        dispi(4, 1)
        index(0x3C4, 4, 6)
        index(0x3C4, 2, 0x09)
        poke(0xA0000, [0x80])
        #expect(vga.snapshot()[0, 0] == colour(9))
        dispi(6, 1600)
        #expect(dispi(6) == 1600)
        dispi(8, 800)
        #expect(vga.snapshot()[0, 0] == colour(0))
    }

    @Test func vbeRefusesPicturesLargerThanMemory() {
        dispi(1, 0xFFFF)
        dispi(2, 0xFFFF)
        dispi(3, 32)
        dispi(4, 1)
        dispi(6, 0xFFFF)
        dispi(8, 0xFFFF)
        dispi(9, 0xFFFF)
        let screen = vga.snapshot()
        #expect(screen.width == 2560 && screen.height == 1600)
        dispi(3, 77)
        #expect(dispi(3) == 8)
        dispi(4, 3)
        #expect(dispi(1) == 2560 && dispi(2) == 1600 && dispi(3) == 32)
    }

    @Test func registersBehindBAR2AreTheSameOnes() {
        vga.configWrite(0x18, size: 4, value: 0xF000_0000)
        vga.configWrite(0x04, size: 2, value: 2)
        memory.write(0xF000_0502, size: 2, value: 1024)
        #expect(dispi(1) == 1024)
        #expect(memory.read(0xF000_0500, size: 2) == 0xB0C5)
        memory.write(0xF000_0404, size: 2, value: 0x0302)
        #expect(vga.registers.sequencer[2] == 3)
        let edid = (0..<128).map { UInt8(memory.read(0xF000_0000 + UInt64($0), size: 1)) }
        #expect(Array(edid[0..<8]) == [0, 255, 255, 255, 255, 255, 255, 0])
        #expect(edid.reduce(0, &+) == 0)
    }

    @Test func romBarShowsTheImage() {
        vga.configWrite(0x30, size: 4, value: ~0)
        #expect(vga.configRead(0x30, size: 4) == 0xFFFF_E001)
        vga.configWrite(0x30, size: 4, value: 0xF100_0001)
        vga.configWrite(0x04, size: 2, value: 2)
        #expect(memory.read(0xF100_0102, size: 2) == 0x0302)
        memory.write(0xF100_0102, size: 2, value: 0)
        #expect(memory.read(0xF100_0102, size: 2) == 0x0302)
        vga.configWrite(0x04, size: 2, value: 0)
        // Where nothing is, there are zeros.
        #expect(memory.read(0xF100_0102, size: 2) == 0)
    }

    @Test func anyRegisterContentsGiveSomePicture() {
        var seed: UInt64 = 0x9E37_79B9_7F4A_7C15
        func random() -> UInt64 {
            seed ^= seed << 13
            seed ^= seed >> 7
            seed ^= seed << 17
            return seed
        }
        for round in 0..<300 {
            for _ in 0..<200 {
                let value = random()
                switch value % 4 {
                case 0: out(0x3B0 + UInt16(value >> 8 & 0x2F), UInt8(truncatingIfNeeded: value >> 16))
                case 1: dispi(UInt16(value >> 8 & 15), UInt16(truncatingIfNeeded: value >> 16))
                case 2: memory.write(0xA0000 + (value >> 8 & 0x1FFFC), size: 4, value: value >> 32)
                default: _ = memory.read(0xA0000 + (value >> 8 & 0x1FFFC), size: 4)
                }
            }
            clock.now += random() & 0xFF_FFFF
            _ = inb(0x3DA)
            if round % 10 == 0 { #expect(vga.snapshot().width > 0) }
            _ = vga.textContents()
        }
    }
}
