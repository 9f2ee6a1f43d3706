import Foundation
import Testing

@testable import Images

/// Extents of ESX, which only ESX writes: generators from the layouts.
private enum ESXExtent {
    static let bytes: [UInt8] = {
        var random = SeededRandom(91)
        var disk = [UInt8](repeating: 0, count: 40 << 20)
        disk.replaceSubrange(5000..<90_000, with: random.bytes(85_000))
        disk.replaceSubrange((33 << 20) + 77..<(33 << 20) + 60_077, with: random.bytes(60_000))
        return disk
    }()

    private static func put(_ file: inout [UInt8], _ at: Int, _ value: some FixedWidthInteger) {
        var field: [UInt8] = []
        field.putLE(value)
        file.overwrite(at, with: field)
    }

    /// "COWD" with grains of `grain` sectors; grains of zeros are left out.
    static func cowd(_ disk: [UInt8], grain: Int = 8) -> [UInt8] {
        let coverage = grain * 512 * 4096
        let tables = (disk.count + coverage - 1) / coverage
        var file = [UInt8](repeating: 0, count: 4 * 512 + (tables * 4 + 511) & ~511)
        file.overwrite(0, with: Array("COWD".utf8))
        for (index, value) in [1, 3, disk.count / 512, grain, 4, tables].enumerated() {
            put(&file, 4 + index * 4, UInt32(value))
        }
        for table in 0..<tables {
            let range = table * coverage..<min((table + 1) * coverage, disk.count)
            guard disk[range].contains(where: { $0 != 0 }) else { continue }
            let place = file.count
            put(&file, 4 * 512 + table * 4, UInt32(place / 512))
            file += [UInt8](repeating: 0, count: 4096 * 4)
            for (number, start) in stride(from: range.lowerBound, to: range.upperBound, by: grain * 512).enumerated() {
                let part = disk[start..<min(start + grain * 512, disk.count)]
                guard part.contains(where: { $0 != 0 }) else { continue }
                put(&file, place + number * 4, UInt32(file.count / 512))
                file += part
            }
        }
        put(&file, 28, UInt32(file.count / 512))
        return file
    }

    /// seSparse; `parentSectors` are left to the parent, other zeros are zero grains.
    static func seSparse(_ disk: [UInt8]) -> [UInt8] {
        let coverage = 4096 * 4096
        let tables = (disk.count + coverage - 1) / coverage
        let directory = 8, firstTable = 16, firstGrain = firstTable + tables * 64
        var file = [UInt8](repeating: 0, count: firstGrain * 512)
        for (at, value) in [
            (0, 0xcafe_babe), (8, 0x2_0000_0001), (16, disk.count / 512), (24, 8), (32, 64), (80, 1), (88, 1), (96, 2),
            (104, 2), (112, 4), (120, 4), (128, directory), (136, 8), (144, firstTable), (152, tables * 64),
            (160, firstGrain),
            (168, 0), (176, firstGrain), (184, 0), (192, firstGrain), (200, 1 << 20), (512, 0xcafe_cafe),
        ] { put(&file, at, UInt64(value)) }
        var grains = 0
        for table in 0..<tables {
            let range = table * coverage..<min((table + 1) * coverage, disk.count)
            guard disk[range].contains(where: { $0 != 0 }) else { continue }
            put(&file, directory * 512 + table * 8, UInt64(0x1000_0000) << 32 | UInt64(table))
            for (number, start) in stride(from: range.lowerBound, to: range.upperBound, by: 4096).enumerated() {
                let at = (firstTable + table * 64) * 512 + number * 8
                let part = disk[start..<start + 4096]
                if part.contains(where: { $0 != 0 }) {
                    put(&file, at, UInt64(3) << 60 | UInt64(grains & 0xfff) << 48 | UInt64(grains >> 12))
                    file += part
                    grains += 1
                } else if number % 3 == 0 {
                    put(&file, at, UInt64(1 + number % 2) << 60)
                }
            }
        }
        return file
    }

    /// A descriptor beside the extent, as ESX writes it.
    static func write(_ extent: [UInt8], _ type: String, sectors: Int, parent: String? = nil, in scratch: Scratch)
        throws
    {
        try Data(extent).write(to: URL(fileURLWithPath: scratch.path("x-extent.vmdk")))
        var text = "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
        text += parent.map { "parentCID=0badcafe\nparentFileNameHint=\"\($0)\"\n" } ?? "parentCID=ffffffff\n"
        text += "createType=\"\(type == "SESPARSE" ? "seSparse" : "vmfsSparse")\"\n"
        text += "RW \(sectors) \(type) \"x-extent.vmdk\"\n"
        try Data(text.utf8).write(to: URL(fileURLWithPath: scratch.path("x.vmdk")))
    }
}

@Suite struct ESXExtentTests {
    private static func extent(_ type: String) -> [UInt8] {
        type == "SESPARSE" ? ESXExtent.seSparse(ESXExtent.bytes) : ESXExtent.cowd(ESXExtent.bytes)
    }

    @Test(arguments: ["VMFSSPARSE", "SESPARSE"]) func readsAsQEMUDoes(type: String) throws {
        let scratch = Scratch()
        try ESXExtent.write(Self.extent(type), type, sectors: ESXExtent.bytes.count / 512, in: scratch)
        let device = try open(scratch.path("x.vmdk"), readOnly: true)
        let model = DiskModel(bytes: ESXExtent.bytes)
        try model.check(device)
        #expect(try DiskImage.check(device, repair: .none, verifyData: true).corruptions == 0)
        let converted = try run([
            "qemu-img", "convert", "-f", "vmdk", "-O", "raw", scratch.path("x.vmdk"), scratch.path("out.raw"),
        ])
        #expect(converted.status == 0, "\(converted.output)")
        try model.check(try open(scratch.path("out.raw"), format: "raw", readOnly: true))
    }

    @Test(arguments: [1, 16, 128]) func aBareSparseExtentIsADisk(grain: Int) throws {
        let disk = Array(ESXExtent.bytes[..<(6 << 20)])
        let storage = MemoryStorage(path: "x.vmdk", content: ESXExtent.cowd(disk, grain: grain), readOnly: true)
        #expect(try FormatRegistry.probe(storage).name == "vmdk")
        try DiskModel(bytes: disk).check(try VMDKFormat().open(storage: storage, options: OpenOptions()))
    }

    @Test func aBareSpaceEfficientExtentIsRecognised() throws {
        let file = ESXExtent.seSparse(ESXExtent.bytes)
        let storage = MemoryStorage(path: "x-sesparse.vmdk", content: file, readOnly: true)
        #expect(try FormatRegistry.probe(storage).name == "vmdk")
        let device = try VMDKFormat().open(storage: storage, options: OpenOptions())
        #expect(device.isReadOnly)
        try DiskModel(bytes: ESXExtent.bytes).check(device)
    }

    @Test(arguments: ["VMFSSPARSE", "SESPARSE"]) func absentGrainsAreTheParents(type: String) throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("parent.vmdk"), format: "vmdk", size: UInt64(ESXExtent.bytes.count))
        let parent = try open(scratch.path("parent.vmdk"))
        try parent.put([UInt8](repeating: 0x5a, count: 9 << 20), at: 20 << 20)
        try parent.close()
        // The parent's CID is written as the child expects it.
        let file = try FileStorage.open(scratch.path("parent.vmdk"), readOnly: false)
        let text = String(decoding: try file.readBytes(at: 512, count: 200), as: UTF8.self)
        let place = try #require(text.range(of: "\nCID=")).upperBound.utf16Offset(in: text)
        try file.write(Array("0badcafe".utf8), at: UInt64(512 + place))
        file.close()
        try ESXExtent.write(
            Self.extent(type), type, sectors: ESXExtent.bytes.count / 512, parent: "parent.vmdk", in: scratch)
        let device = try open(scratch.path("x.vmdk"), readOnly: true)
        // Only this table of grains is absent as a whole in both formats.
        #expect(try device.bytes(at: 20 << 20, count: 4096).allSatisfy { $0 == 0x5a })
        #expect(try device.bytes(at: 5000, count: 85_000) == Array(ESXExtent.bytes[5000..<90_000]))
    }

    @Test(
        arguments: [
            (0, [1]), (8, [9]), (16, [0, 0, 0, 0, 0, 0, 0, 0x7f]), (24, [16]), (32, [8]), (80, [0, 0, 0, 0, 0, 0x7f]),
            (128, [0, 0, 0, 0, 0, 0, 1]),
            (136, [0, 0]), (144, [0, 0, 0, 0, 0, 0, 1]), (192, [0, 0, 0, 0, 0, 0, 1]), (512, [0]), (536, [1]),
            (8 * 512 + 7, [0x20]), (8 * 512, [0xff, 0xff]), (16 * 512 + 8 + 7, [0x70]),
            (16 * 512 + 8, [0xff, 0xff, 0xff, 0xff]),
        ] as [(Int, [UInt8])]) func hostileSESparseFieldsAreRefused(offset: Int, bytes: [UInt8]) throws
    {
        var file = ESXExtent.seSparse(ESXExtent.bytes)
        file.overwrite(offset, with: bytes)
        let error = #expect(throws: ImageError.self) {
            let extent = try SESparseExtent(MemoryStorage(content: file, readOnly: true))
            _ = try extent.bytes(at: 0, count: 1 << 17)
        }
        #expect(error?.kind == .corrupt || error?.kind == .unsupported)
    }

    @Test(
        arguments: [
            (16, [0, 0, 0, 0]), (16, [3, 0, 0, 0]), (16, [0, 0, 0, 0x40]), (20, [0xff, 0xff, 0xff, 0x7f]),
            (12, [0xff, 0xff, 0xff, 0xff]), (2048, [0xff, 0xff, 0xff, 0x7f]), (2560 + 4, [0xff, 0xff, 0xff, 0x7f]),
        ] as [(Int, [UInt8])]) func hostileCOWDFieldsAreRefused(offset: Int, bytes: [UInt8]) throws
    {
        var file = ESXExtent.cowd(ESXExtent.bytes)
        file.overwrite(offset, with: bytes)
        let error = #expect(throws: ImageError.self) {
            let extent = try VMDKSparseExtent(MemoryStorage(content: file, readOnly: true), readOnly: true)
            _ = try extent.bytes(at: 0, count: 1 << 17)
        }
        #expect(error?.kind == .corrupt)
    }
}
