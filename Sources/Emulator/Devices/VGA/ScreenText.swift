/// What a person could read on a guest's screen.
public struct ScreenText: Sendable, Equatable {
    /// From the top, without trailing blanks; none where the screen shows no text that can be read.
    public let rows: [String]
    /// Whether the screen is in a graphics mode, so that characters were recognised by their shapes.
    public let isGraphics: Bool
}

/// What was on the screen at one moment, to be read on any thread: recognising characters takes its time.
public struct ScreenContents: Sendable {
    enum Source: Sendable {
        case text([String])
        case picture(ScreenImage, [VGAFont])
    }
    let source: Source

    /// The text; shapes are recognised here.
    public func text() -> ScreenText {
        switch source {
        case .text(let rows): return ScreenText(rows: rows, isGraphics: false)
        case .picture(let image, let fonts):
            for font in fonts {
                if let rows = GlyphReader(image, font: font).rows() { return ScreenText(rows: rows, isGraphics: true) }
            }
            return ScreenText(rows: [], isGraphics: true)
        }
    }
}

extension VGADevice {
    /// What can be read on the screen. Call on the CPU thread or while the machine is paused.
    func contents() -> ScreenContents {
        if !vbe.isEnabled, !registers.isGraphics { return ScreenContents(source: .text(textContents())) }
        return ScreenContents(source: .picture(snapshot(), fonts))
    }
}
