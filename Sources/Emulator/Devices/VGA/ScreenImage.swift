/// A picture of a guest's screen.
public struct ScreenImage: Sendable, Equatable {
    public let width: Int
    public let height: Int
    /// Four bytes per pixel, red first, alpha always FFh; rows from the top, no padding.
    public internal(set) var rgba: [UInt8]

    /// A black picture.
    init(width: Int, height: Int) {
        self.width = width
        self.height = height
        rgba = [UInt8](repeating: 0, count: width * height * 4)
        for alpha in stride(from: 3, to: rgba.count, by: 4) { rgba[alpha] = 0xFF }
    }

    /// Red, green, blue of a pixel.
    public subscript(x: Int, y: Int) -> [UInt8] {
        let at = (y * width + x) * 4
        return Array(rgba[at..<at + 3])
    }

    /// Three bytes per pixel, red first; rows from the top, no padding.
    public var rgb: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: width * height * 3) { buffer, count in
            for pixel in 0..<width * height {
                for component in 0..<3 { buffer[pixel * 3 + component] = rgba[pixel * 4 + component] }
            }
            count = width * height * 3
        }
    }

    /// Calls `body` with the pixels as little-endian words: red in the low byte, FFh in the high one.
    mutating func withPixels(_ body: (UnsafeMutableBufferPointer<UInt32>) -> Void) {
        rgba.withUnsafeMutableBytes { body($0.bindMemory(to: UInt32.self)) }
    }

    /// Calls `body` with the pixels as such words, to be read.
    func withWords<Result>(_ body: (UnsafeBufferPointer<UInt32>) -> Result) -> Result {
        rgba.withUnsafeBytes { body($0.bindMemory(to: UInt32.self)) }
    }
}
