import Testing

@testable import Emulator

@Suite struct VGAScreenPNGTests {
    /// Decodes one fixed-Huffman block.
    func inflate(_ stream: [UInt8]) -> [UInt8] {
        var position = 16
        func bit() -> Int {
            defer { position += 1 }
            return Int(stream[position / 8] >> UInt8(position % 8) & 1)
        }
        func bits(_ count: Int) -> Int { (0..<count).reduce(0) { $0 | bit() << $1 } }
        func code(_ count: Int) -> Int { (0..<count).reduce(0) { value, _ in value << 1 | bit() } }
        #expect(bits(3) == 3)
        var output: [UInt8] = []
        while true {
            var value = code(7)
            var symbol = value + 256
            if value > 23 {
                value = value << 1 | bit()
                symbol = value < 0xC0 ? value - 0x30 : value - 0xC0 + 280
                if value >= 0xC8 { symbol = (value << 1 | bit()) - 0x190 + 144 }
            }
            if symbol == 256 { return output }
            guard symbol > 256 else {
                output.append(UInt8(symbol))
                continue
            }
            let row = symbol - 257
            let extra = row < 8 || row == 28 ? 0 : (row - 4) / 4
            let base = row < 8 ? row + 3 : row == 28 ? 258 : 3 + (4 + row % 4) << extra
            let length = base + bits(extra)
            let distance = code(5) + 1
            for _ in 0..<length { output.append(output[output.count - distance]) }
        }
    }

    @Test func fileHoldsThePicture() {
        var image = ScreenImage(width: 40, height: 30)
        image.withPixels { pixels in
            for y in 0..<30 {
                for x in 0..<40 where x > 20 || y > 11 {
                    pixels[y * 40 + x] = 0xFF00_0000 | UInt32(x * 77777 + y * 131)
                }
            }
        }
        let file = image.png()
        #expect(Array(file[0..<8]) == [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A])
        #expect(Array(file[16..<24]) == [0, 0, 0, 40, 0, 0, 0, 30])
        let size = Int(file[35]) << 8 | Int(file[36])
        let stream = Array(file[41..<41 + size])
        let rows = inflate(stream)
        #expect(rows.count == 30 * 121)
        #expect(Array(stream.suffix(4)) == PNGChecksum.be32(PNGChecksum.adler32(rows)))
        var above = [UInt8](repeating: 0, count: 120)
        for y in 0..<30 {
            #expect(rows[y * 121] == 2)
            for i in 0..<120 { above[i] &+= rows[y * 121 + 1 + i] }
            let shown = (0..<40).flatMap { image[$0, y] }
            #expect(above == shown)
        }
    }

    @Test func checksumsMatchKnownValues() {
        let digits = Array("123456789".utf8)
        #expect(PNGChecksum.crc32(digits) == 0xCBF4_3926)
        #expect(PNGChecksum.adler32(digits) == 0x091E_01DE)
    }

    @Test func flatScreenIsSmall() {
        #expect(ScreenImage(width: 720, height: 400).png().count < 8000)
    }
}
