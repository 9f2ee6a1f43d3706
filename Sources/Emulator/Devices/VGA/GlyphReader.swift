/// Reads text from a picture of the screen: cells of 8 dots by the height of a font, each the shape of a character in any two
/// colours.
struct GlyphReader {
    private let image: ScreenImage
    private let font: VGAFont

    /// Dots that may differ from a character's shape: other systems' fonts are near relatives of the BIOS's.
    private static let mostDifferent = 12
    /// Of a picture, text may be drawn over it.
    private static let mostColours = 4
    private static let cellWidth = 8

    /// A grid of cells laid over the picture.
    private struct Grid {
        var x: Int
        var y: Int
    }

    init(_ image: ScreenImage, font: VGAFont) {
        self.image = image
        self.font = font
    }

    /// The rows without trailing blanks; nil where what is on the screen is not text of this font.
    func rows() -> [String]? {
        let origin = Grid(x: 0, y: 0)
        if let rows = read(origin, allowsNear: true) { return rows }
        guard let grid = bestGrid(), let rows = read(grid, allowsNear: true) else { return nil }
        return rows
    }

    private func columns(_ grid: Grid) -> Int { (image.width - grid.x) / Self.cellWidth }
    private func lines(_ grid: Grid) -> Int { (image.height - grid.y) / font.height }

    /// Menus leave a margin around their text: the grid with the most cells that are characters.
    private func bestGrid() -> Grid? {
        var best: (grid: Grid, count: Int)?
        for y in 0..<font.height {
            for x in 0..<Self.cellWidth {
                let grid = Grid(x: x, y: y)
                var count = 0
                for row in 0..<lines(grid) {
                    for column in 0..<columns(grid) {
                        if case .character(let scalar) = cell(grid, column, row), scalar != " " { count += 1 }
                    }
                }
                if count > best?.count ?? 0 { best = (grid, count) }
            }
        }
        return best?.grid
    }

    private func read(_ grid: Grid, allowsNear: Bool) -> [String]? {
        var rows: [String] = []
        var (known, unknown) = (0, 0)
        for row in 0..<lines(grid) {
            var text = ""
            for column in 0..<columns(grid) {
                switch cell(grid, column, row) {
                case .uniform: text += " "
                case .character(let scalar):
                    known += 1
                    text.unicodeScalars.append(scalar)
                case .unknown(let shape):
                    if let shape, let near = font.nearest(to: shape), near.distance <= Self.mostDifferent {
                        known += 1
                        text.unicodeScalars.append(near.scalar)
                    } else {
                        unknown += 1
                        text += " "
                    }
                }
            }
            while text.hasSuffix(" ") { text.removeLast() }
            rows.append(text)
        }
        // A picture without text, or text on another grid, has more cells that are nothing.
        return known >= unknown ? rows : nil
    }

    private enum Cell {
        case uniform
        case character(Unicode.Scalar)
        /// No character; its shape where it has two colours.
        case unknown(GlyphShape?)
    }

    private func cell(_ grid: Grid, _ column: Int, _ row: Int) -> Cell {
        var colours: [UInt32] = []
        var shapes: [GlyphShape] = []
        let (left, top) = (grid.x + column * Self.cellWidth, grid.y + row * font.height)
        image.withWords { words in
            for line in 0..<font.height {
                let start = (top + line) * image.width + left
                for dot in 0..<Self.cellWidth {
                    let colour = words[start + dot]
                    guard let known = colours.firstIndex(of: colour) else {
                        guard colours.count < Self.mostColours else { continue }
                        colours.append(colour)
                        var shape = GlyphShape.blank
                        shape.set(0x80 >> UInt8(dot), at: line)
                        shapes.append(shape)
                        continue
                    }
                    shapes[known].set(0x80 >> UInt8(dot), at: line)
                }
            }
        }
        if colours.count == 1 { return .uniform }
        if colours.count == 2 {
            // The first dot is background, except in reversed characters, which the font knows too.
            return font.character(shapes[1]).map { .character($0) } ?? .unknown(shapes[1])
        }
        for shape in shapes { if let scalar = font.character(shape) { return .character(scalar) } }
        return .unknown(nil)
    }
}
