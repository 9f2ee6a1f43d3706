/// The shape of a character cell, 8 dots wide: a byte per line from the top, the left dot in the high bit.
struct GlyphShape: Hashable, Sendable {
    /// Lines 0–7 and 8–15, the first line in the high byte.
    var upper: UInt64
    var lower: UInt64

    static let blank = GlyphShape(upper: 0, lower: 0)

    init(upper: UInt64, lower: UInt64) {
        self.upper = upper
        self.lower = lower
    }

    /// - Parameter lines: at most 16.
    init(_ lines: some Collection<UInt8>) {
        (upper, lower) = (0, 0)
        for (index, line) in lines.enumerated() { set(line, at: index) }
    }

    mutating func set(_ line: UInt8, at index: Int) {
        if index < 8 {
            upper |= UInt64(line) << UInt64(56 - 8 * index)
        } else {
            lower |= UInt64(line) << UInt64(120 - 8 * index)
        }
    }

    /// Dots on and off exchanged, in the first lines.
    func inverted(height: Int) -> GlyphShape {
        let full = GlyphShape([UInt8](repeating: 0xFF, count: height))
        return GlyphShape(upper: ~upper & full.upper, lower: ~lower & full.lower)
    }

    /// Dots that differ.
    func distance(to other: GlyphShape) -> Int {
        (upper ^ other.upper).nonzeroBitCount + (lower ^ other.lower).nonzeroBitCount
    }
}

/// One of the character sets of the VGA BIOS. Firmware, boot menus and Linux draw these shapes, or nearly these, in graphics
/// modes too: INT 10h AX=1130h hands out their addresses (IBM VGA Technical Reference, "BIOS").
struct VGAFont: Sendable {
    /// Lines of a character.
    let height: Int
    private let characters: [GlyphShape: Unicode.Scalar]
    /// Characters that a shape nearly right may stand for: ASCII.
    private let common: [(shape: GlyphShape, scalar: Unicode.Scalar)]

    /// Character 1, a face, by height: what the set is found by.
    private static let signatures: [(height: Int, face: [UInt8])] = [
        (16, [0, 0, 0x7E, 0x81, 0xA5, 0x81, 0x81, 0xBD, 0x99, 0x81, 0x81, 0x7E, 0, 0, 0, 0]),
        (14, [0, 0, 0x7E, 0x81, 0xA5, 0x81, 0x81, 0xBD, 0x99, 0x81, 0x7E, 0, 0, 0]),
        (8, [0x7E, 0x81, 0xA5, 0x81, 0xBD, 0x99, 0x81, 0x7E]),
    ]
    private static let characterCount = 256
    private static let fullBlock = 0xDB

    /// The sets that a BIOS image holds, the tallest first.
    static func all(in rom: [UInt8]) -> [VGAFont] {
        signatures.compactMap { row in
            guard let start = start(of: row.face, height: row.height, in: rom) else { return nil }
            return VGAFont(Array(rom[start..<start + characterCount * row.height]), height: row.height)
        }
    }

    /// Where a set begins: blank characters 0 and 20h and a full DBh tell it from chance.
    private static func start(of face: [UInt8], height: Int, in rom: [UInt8]) -> Int? {
        func glyph(_ start: Int, _ code: Int) -> ArraySlice<UInt8> {
            rom[(start + code * height)..<(start + (code + 1) * height)]
        }
        guard rom.count >= characterCount * height else { return nil }
        return (0...(rom.count - characterCount * height)).first { start in
            rom[start + height] == face[0] && rom[start + height + 3] == face[3]
                && glyph(start, 1).elementsEqual(face)
                && glyph(start, 0).allSatisfy { $0 == 0 } && glyph(start, 0x20).allSatisfy { $0 == 0 }
                && glyph(start, fullBlock).allSatisfy { $0 == 0xFF }
        }
    }

    private init(_ bytes: [UInt8], height: Int) {
        self.height = height
        var characters: [GlyphShape: Unicode.Scalar] = [:]
        var common: [(GlyphShape, Unicode.Scalar)] = []
        // Of equal shapes the ASCII one is meant.
        let order = Array(0x20...0x7E) + Array(0x80...0xFF) + Array(0..<0x20)
        for code in order {
            let shape = GlyphShape(bytes[code * height..<(code + 1) * height])
            let scalar = CodePage437.scalar(UInt8(code))
            if characters[shape] == nil { characters[shape] = scalar }
            if (0x21...0x7E).contains(code) { common.append((shape, scalar)) }
        }
        characters[.blank] = " "
        self.characters = characters
        self.common = common
    }

    /// The character of exactly this shape, as it is or with dots on and off exchanged.
    func character(_ shape: GlyphShape) -> Unicode.Scalar? {
        characters[shape] ?? characters[shape.inverted(height: height)]
    }

    /// The character that differs from a shape in the fewest dots.
    func nearest(to shape: GlyphShape) -> (scalar: Unicode.Scalar, distance: Int)? {
        let inverted = shape.inverted(height: height)
        return common.map { ($0.scalar, min($0.shape.distance(to: shape), $0.shape.distance(to: inverted))) }
            .min { $0.1 < $1.1 }
    }
}
