import Testing

@testable import Emulator

/// What can be read on the screen in graphics modes.
@Suite struct ScreenTextTests {
    /// A BIOS image with one character set, 8 by 16: made up, but for what it is found by.
    private static let rom: [UInt8] = {
        var random = SystemRandomLike(state: 42)
        var font = [UInt8](repeating: 0, count: 256 * 16)
        for code in 1..<256 where code != 0x20 && code != 0xFF {
            // The first dot is background, as in nearly all characters.
            for line in 2..<13 { font[code * 16 + line] = random.next() & 0x7F }
        }
        font.replaceSubrange(
            16..<32, with: [0, 0, 0x7E, 0x81, 0xA5, 0x81, 0x81, 0xBD, 0x99, 0x81, 0x81, 0x7E, 0, 0, 0, 0])
        font.replaceSubrange(0xDB * 16..<0xDC * 16, with: [UInt8](repeating: 0xFF, count: 16))
        return [UInt8](repeating: 0x55, count: 777) + font + [UInt8](repeating: 0xAA, count: 300)
    }()

    /// A few numbers that come again.
    private struct SystemRandomLike {
        var state: UInt32
        mutating func next() -> UInt8 {
            state = state &* 1_664_525 &+ 1_013_904_223
            return UInt8(truncatingIfNeeded: state >> 24)
        }
    }

    /// Draws text as a guest does.
    private func draw(_ rows: [String], x: Int = 0, y: Int = 0, change: (Int, Int) -> Bool = { _, _ in false })
        -> ScreenImage
    {
        var image = ScreenImage(width: 160, height: 96)
        image.withPixels { pixels in
            for (row, text) in rows.enumerated() {
                for (column, character) in text.utf8.enumerated() {
                    let isReversed = row == 1
                    for line in 0..<16 {
                        let bits = Self.rom[777 + Int(character) * 16 + line]
                        for dot in 0..<8 {
                            var isSet = bits >> UInt8(7 - dot) & 1 != 0
                            if change(column, line * 8 + dot) { isSet.toggle() }
                            let place = (y + row * 16 + line) * 160 + x + column * 8 + dot
                            pixels[place] = isSet != isReversed ? 0xFFAA_AAAA : 0xFF00_0000
                        }
                    }
                }
            }
        }
        return image
    }

    private func read(_ image: ScreenImage) throws -> [String]? {
        let font = try #require(VGAFont.all(in: Self.rom).first)
        #expect(font.height == 16)
        return GlyphReader(image, font: font).rows()
    }

    @Test func aBIOSWithoutCharactersHasNoFont() {
        #expect(VGAFont.all(in: []).isEmpty)
        #expect(VGAFont.all(in: [UInt8](repeating: 0, count: 40000)).isEmpty)
    }

    @Test func textInAGraphicsModeIsRead() throws {
        #expect(
            try read(draw(["login: root", "Reversed!", "", "a z"])) == ["login: root", "Reversed!", "", "a z", "", ""])
    }

    @Test func textBesideTheUsualGridIsFound() throws {
        let rows = try #require(try read(draw(["Boot menu", "Install"], x: 3, y: 5)))
        #expect(rows.prefix(2) == ["Boot menu", "Install"])
    }

    @Test func aFontThatIsNearlyTheSameIsRead() throws {
        // Three dots of each character differ.
        let image = draw(["Debian 12"]) { column, dot in [17, 42, 77].contains(dot) && column != 6 }
        #expect(try read(image)?.first == "Debian 12")
    }

    @Test func aPictureIsNoText() throws {
        var image = ScreenImage(width: 160, height: 96)
        var random = SystemRandomLike(state: 7)
        image.withPixels { pixels in
            for place in pixels.indices { pixels[place] = 0xFF00_0000 | UInt32(random.next()) << 8 }
        }
        #expect(try read(image) == nil)
        #expect(
            ScreenContents(source: .picture(image, VGAFont.all(in: Self.rom))).text()
                == ScreenText(rows: [], isGraphics: true))
    }
}
