/// Draws the screen of a VBE mode from the linear frame buffer.
struct VBERenderer {
    let vbe: VBEDispi
    let registers: VGARegisters
    let memory: UnsafeMutablePointer<UInt8>
    let memoryBytes: Int

    func render() -> ScreenImage {
        var image = ScreenImage(width: vbe.width, height: vbe.height)
        // Attribute controller bit 5 clear blanks these modes too.
        if registers.attributeIndex & 0x20 == 0 { return image }
        let colours = (0..<256).map { registers.dac.colour(UInt8($0)) }
        let planePalette = (0..<16).map { registers.dac.colour(registers.attribute[$0]) }
        let width = vbe.width
        let used = vbe.isPlanar ? width / 8 * 4 : width * vbe.bytesPerPixel
        image.withPixels { pixels in
            for y in 0..<vbe.height {
                let start = vbe.startByte + y * vbe.lineBytes
                guard start + used <= memoryBytes else { break }
                // SAFETY: the line lies inside the display memory.
                let line = UnsafeRawPointer(memory + start)
                for x in 0..<width {
                    pixels[y * width + x] = colour(line, x, colours, planePalette)
                }
            }
        }
        return image
    }

    @inline(__always)
    private func colour(_ line: UnsafeRawPointer, _ x: Int, _ colours: [UInt32], _ planes: [UInt32]) -> UInt32 {
        // SAFETY: the caller checked that `width` pixels fit.
        switch vbe.bitsPerPixel {
        case 4:
            let cell = line.loadUnaligned(fromByteOffset: x / 8 * 4, as: UInt32.self) >> UInt32(7 - x & 7)
            return planes[Int(cell & 1 | cell >> 7 & 2 | cell >> 14 & 4 | cell >> 21 & 8)]
        case 8: return colours[Int(line.load(fromByteOffset: x, as: UInt8.self))]
        case 15:
            let raw = UInt32(line.loadUnaligned(fromByteOffset: x * 2, as: UInt16.self))
            return pack(five(raw >> 10), five(raw >> 5), five(raw))
        case 16:
            let raw = UInt32(line.loadUnaligned(fromByteOffset: x * 2, as: UInt16.self))
            let green = raw >> 5 & 63
            return pack(five(raw >> 11), green << 2 | green >> 4, five(raw))
        case 24:
            let blue = UInt32(line.load(fromByteOffset: x * 3, as: UInt8.self))
            let green = UInt32(line.load(fromByteOffset: x * 3 + 1, as: UInt8.self))
            return pack(UInt32(line.load(fromByteOffset: x * 3 + 2, as: UInt8.self)), green, blue)
        default:
            let raw = line.loadUnaligned(fromByteOffset: x * 4, as: UInt32.self)
            return pack(raw >> 16 & 255, raw >> 8 & 255, raw & 255)
        }
    }

    @inline(__always)
    private func pack(_ red: UInt32, _ green: UInt32, _ blue: UInt32) -> UInt32 {
        0xFF00_0000 | blue << 16 | green << 8 | red
    }

    @inline(__always)
    private func five(_ value: UInt32) -> UInt32 { (value & 31) << 3 | (value & 31) >> 2 }
}
