import Foundation
import Testing

@testable import Images

/// Growing images of Bochs, from the layout: as bximage makes them, with extents filled in an order of their own.
@Suite struct BochsLayoutTests {
    private static func make(
        _ disk: [UInt8], version: UInt32, extent: Int, order: [Int]
    ) -> [UInt8] {
        let bitmapBytes = max(1, extent / 512 / 8)
        let entries = (disk.count + extent - 1) / extent
        var head = Array("Bochs Virtual HD Image".utf8) + [UInt8](repeating: 0, count: 10)
        head += Array("Redolog".utf8) + [UInt8](repeating: 0, count: 9)
        head += Array("Growing".utf8) + [UInt8](repeating: 0, count: 9)
        for value in [version, 512, UInt32(entries), UInt32(bitmapBytes), UInt32(extent)] { head.putLE(value) }
        if version == 0x20000 { head.putLE(UInt32(0x1234_5678)) }
        head.putLE(UInt64(disk.count))
        head += [UInt8](repeating: 0, count: 512 - head.count)
        var catalog = [UInt32](repeating: .max, count: entries)
        var body: [UInt8] = []
        for (place, index) in order.enumerated() {
            catalog[index] = UInt32(place)
            var bitmap = [UInt8](repeating: 0, count: (bitmapBytes + 511) & ~511)
            var data = [UInt8](repeating: 0, count: extent)
            for sector in 0..<extent / 512 {
                let start = index * extent + sector * 512
                guard start < disk.count, disk[start..<start + 512].contains(where: { $0 != 0 }) else { continue }
                bitmap[sector / 8] |= 1 << UInt8(sector % 8)
                data.overwrite(sector * 512, with: Array(disk[start..<start + 512]))
            }
            body += bitmap + data
        }
        for entry in catalog { head.putLE(entry) }
        return head + body
    }

    @Test(arguments: [(0x10000, 8192), (0x20000, 4096), (0x20000, 65536), (0x20000, 1 << 20)] as [(UInt32, Int)])
    func readsExtentsInAnyOrderAsQEMUDoes(version: UInt32, extent: Int) throws {
        let scratch = Scratch()
        var random = SeededRandom(111)
        var disk = [UInt8](repeating: 0, count: 4 << 20)
        for start in [512, 70_000, 1_500_160, (4 << 20) - 30_000] {
            disk.replaceSubrange(start..<start + 20_000, with: random.bytes(20_000))
        }
        let used = (0..<disk.count / extent).filter { index in
            disk[index * extent..<(index + 1) * extent].contains { $0 != 0 }
        }
        let file = Self.make(disk, version: version, extent: extent, order: used.shuffled(using: &random))
        try Data(file).write(to: URL(fileURLWithPath: scratch.path("x.img")))
        #expect(try DiskImage.probe(scratch.path("x.img")) == "bochs")
        let model = DiskModel(bytes: disk)
        try model.check(try open(scratch.path("x.img"), readOnly: true))
        let converted = try run([
            "qemu-img", "convert", "-f", "bochs", "-O", "raw", scratch.path("x.img"), scratch.path("out.raw"),
        ])
        #expect(converted.status == 0, "\(converted.output)")
        try model.check(try open(scratch.path("out.raw"), format: "raw", readOnly: true))
    }
}
