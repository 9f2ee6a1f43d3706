import Foundation
import Testing

@testable import Images

/// COW headers that nobody writes any more, made field by field.
private enum OldCOW: String, CaseIterable {
    case version1Big, version1Little, version2UML, version2QEMU64, version2QEMU32, version3, version3Broken

    func make(sectors: Int, backing: String, here: [Int: [UInt8]]) -> [UInt8] {
        var head: [UInt8] = []
        func big(_ value: some FixedWidthInteger) { head.putBE(value) }
        func name(_ room: Int) {
            head += Array(backing.utf8) + [UInt8](repeating: 0, count: room - backing.utf8.count)
        }
        let size = UInt64(sectors * 512)
        var roundsUp = true
        var alignment = 512
        head = Array("OOOM".utf8)
        switch self {
        case .version1Big, .version1Little:
            roundsUp = false
            if self == .version1Little { head.reverse() }
            func number<T: FixedWidthInteger>(_ value: T) {
                if self == .version1Little { head.putLE(value) } else { head.putBE(value) }
            }
            number(UInt32(1))
            name(256)
            number(UInt32(0))
            number(size)
            number(UInt32(512))
        case .version2UML:
            roundsUp = false
            big(UInt32(2))
            name(4096)
            big(UInt32(0))
            big(size)
            big(UInt32(512))
        case .version2QEMU64, .version2QEMU32:
            big(UInt32(2))
            name(1024)
            big(UInt32(0))
            if self == .version2QEMU64 { big(UInt32(0)) }
            big(size)
            big(UInt32(512))
            if self == .version2QEMU64 { big(UInt32(0)) }
        case .version3, .version3Broken:
            alignment = 4096
            big(UInt32(3))
            if self == .version3 { big(UInt32(0)) } else { big(UInt64(0)) }
            big(size)
            big(UInt32(512))
            big(UInt32(4096))
            big(UInt32(0))
            name(4096)
        }
        var bitmapPlace = head.count
        if alignment == 4096 { bitmapPlace = (bitmapPlace + 4095) & ~4095 }
        var bitmap = [UInt8](repeating: 0, count: roundsUp ? (sectors + 7) / 8 : sectors / 8)
        for sector in here.keys where sector / 8 < bitmap.count { bitmap[sector / 8] |= 1 << UInt8(sector % 8) }
        let data = (bitmapPlace + bitmap.count + alignment - 1) / alignment * alignment
        var file = head + [UInt8](repeating: 0, count: data + sectors * 512 - head.count)
        file.overwrite(bitmapPlace, with: bitmap)
        for (sector, bytes) in here { file.overwrite(data + sector * 512, with: bytes) }
        return file
    }
}

@Suite struct OldCOWTests {
    @Test(arguments: OldCOW.allCases.map(\.rawValue)) func everyLayoutIsReadAndWritten(layout: String) throws {
        let scratch = Scratch()
        let kind = try #require(OldCOW(rawValue: layout))
        var random = SeededRandom(101)
        let sectors = 2003
        var disk = random.bytes(sectors * 512)
        try Data(disk).write(to: URL(fileURLWithPath: scratch.path("base.raw")))
        var here: [Int: [UInt8]] = [:]
        for sector in [0, 1, 8, 700, 1999] { here[sector] = random.bytes(512) }
        let file = kind.make(sectors: sectors, backing: "base.raw", here: here)
        try Data(file).write(to: URL(fileURLWithPath: scratch.path("x.cow")))
        for (sector, bytes) in here { disk.overwrite(sector * 512, with: bytes) }
        #expect(try DiskImage.probe(scratch.path("x.cow")) == "cow")
        let device = try open(scratch.path("x.cow"))
        #expect(device.backingReference?.file == "base.raw")
        try DiskModel(bytes: disk).check(device)
        let fresh = random.bytes(1000)
        try device.put(fresh, at: 40_000)
        disk.overwrite(40_000, with: fresh)
        try device.close()
        let again = try open(scratch.path("x.cow"), readOnly: true)
        try DiskModel(bytes: disk).check(again)
        try again.close()
    }
}
