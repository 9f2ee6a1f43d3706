import Foundation
import Testing

@testable import Images

/// Persistent bitmaps: who writes to the image, and who copies or resizes it, keeps them.
@Suite struct BitmapTests {
    private static let cluster = UInt64(65536)

    /// An image of 4 MiB with a recording bitmap `on` and a resting one `off`, both of 64 KiB per bit.
    private func image(_ scratch: Scratch, _ name: String = "i.qcow2") throws -> String {
        let path = scratch.path(name)
        try DiskImage.create(path, format: "qcow2", size: 4 << 20)
        let device = try open(path)
        try DiskImage.changeBitmap(device, named: "on", .add(granularity: Self.cluster, disabled: false))
        try DiskImage.changeBitmap(device, named: "off", .add(granularity: Self.cluster, disabled: true))
        try device.close()
        return path
    }

    private func bits(_ path: String, _ name: String) throws -> [Int] {
        let device = try open(path, readOnly: true)
        defer { try? device.close() }
        let content = try DiskImage.bitmapContent(device, named: name)
        return content.bits.indices.flatMap { byte in
            (0..<8).filter { content.bits[byte] >> UInt8($0) & 1 != 0 }.map { byte * 8 + $0 }
        }
    }

    private func expectClean(_ path: String) throws {
        let check = try run(["qemu-img", "check", path])
        #expect(check.status == 0, "\(check.output)")
    }

    @Test func writesZeroesAndDiscardsAreRecordedByEnabledBitmapsOnly() throws {
        let scratch = Scratch()
        let path = try image(scratch)
        let device = try open(path)
        try device.put([1, 2, 3], at: Self.cluster * 5 - 1)
        try device.writeZeroes(at: Self.cluster * 20, count: Self.cluster * 2, mayUnmap: true)
        try device.discard(at: Self.cluster * 30, count: Self.cluster)
        try device.close()
        #expect(try bits(path, "on") == [4, 5, 20, 21, 30])
        #expect(try bits(path, "off") == [])
        try expectClean(path)
        let info = try run(["qemu-img", "info", path]).output
        #expect(info.contains("name: on") && !info.contains("in-use"), "\(info)")
    }

    @Test func aWriterThatNeverClosesLeavesTheBitmapUntrusted() throws {
        let scratch = Scratch()
        let path = try image(scratch)
        let device = try open(path)
        try device.put([1], at: 0)
        try device.flush()
        let copy = scratch.path("copy.qcow2")
        try run(["cp", path, copy])
        try device.close()
        #expect(throws: ImageError.self) { try bits(copy, "on") }
        #expect(try bits(copy, "off") == [])
        let info = try run(["qemu-img", "info", copy]).output
        #expect(info.contains("in-use"), "\(info)")
    }

    @Test func bitsOfSeveralSessionsAddUpLikeQEMUs() throws {
        let scratch = Scratch()
        let ours = try image(scratch)
        let theirs = try image(scratch, "q.qcow2")
        for offset in [0, 70_000, 3_000_000] {
            let device = try open(ours)
            try device.put([7], at: UInt64(offset))
            try device.close()
            try run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 \(offset) 1", theirs])
        }
        #expect(try bits(ours, "on") == bits(theirs, "on"))
        #expect(try bits(ours, "on") == [0, 1, 45])
    }

    /// With room for two pages only, bits go to the file and come back in between.
    @Test func manyBitsNeedLittleMemory() throws {
        let scratch = Scratch()
        let path = scratch.path("s.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 64 << 20, options: ["cluster_size": "512"])
        var device = try open(path)
        try DiskImage.changeBitmap(device, named: "on", .add(granularity: 512, disabled: false))
        try device.close()
        device = try open(path)
        (device as? QCOW2Image)?.trackingBudget = 1024
        var random = SeededRandom(17)
        var expected: Set<Int> = []
        for _ in 0..<300 {
            let sector = Int.random(in: 0..<131_072, using: &random)
            expected.insert(sector)
            try device.put([1], at: UInt64(sector) * 512)
        }
        try device.close()
        #expect(try bits(path, "on") == expected.sorted())
        try expectClean(path)
    }

    @Test func aTableOutsideTheFileIsRefused() throws {
        let scratch = Scratch()
        let path = try image(scratch)
        let device = try open(path, readOnly: true)
        let place = try #require((device as? QCOW2Image)?.header.bitmaps?.directoryOffset)
        try device.close()
        let raw = try open(path, format: "raw")
        try raw.put([0x7f, 0xff, 0, 0], at: place)
        try raw.close()
        #expect(throws: ImageError.self) { try bits(path, "on") }
        // The disk can be written all the same; its bitmaps are no longer believed.
        let again = try open(path)
        try again.put([1], at: 0)
        try again.close()
        let last = try open(path, readOnly: true)
        #expect((last as? QCOW2Image)?.hasConsistentBitmaps == false)
        try last.close()
        #expect(try !run(["qemu-img", "info", path]).output.contains("name: on"))
    }

    @Test func anotherDiskSizeKeepsTheBits() throws {
        let scratch = Scratch()
        let path = try image(scratch)
        var device = try open(path)
        try device.put([1], at: 0)
        try device.put([1], at: 4 << 20 - 1)
        try device.close()
        device = try open(path)
        try device.resize(to: 300 << 20, preallocation: .off)
        try device.put([1], at: 299 << 20)
        try device.close()
        #expect(try bits(path, "on") == [0, 63, 299 * 16])
        try expectClean(path)
        device = try open(path)
        try device.resize(to: 1 << 20, preallocation: .off)
        try device.close()
        #expect(try bits(path, "on") == [0])
        try expectClean(path)
        #expect(try run(["qemu-img", "bitmap", "--clear", path, "on"]).status == 0)
    }

    @Test func convertCopiesBitmapsWithTheirState() throws {
        let scratch = Scratch()
        let path = try image(scratch)
        let device = try open(path)
        try device.put([1], at: Self.cluster * 9)
        try device.close()
        let source = try open(path, readOnly: true)
        var request = ConvertRequest(
            sources: [source], targetPath: scratch.path("t.qcow2"), targetFormat: "qcow2")
        request.options = ["cluster_size": "4096"]
        request.bitmaps = try DiskImage.bitmapsToCopy(source, skipBroken: false).usable
        try DiskImage.convert(request)
        #expect(try bits(request.targetPath, "on") == [9])
        #expect(try bits(request.targetPath, "off") == [])
        try expectClean(request.targetPath)
        let flags = try run(["qemu-img", "info", "--output=json", request.targetPath]).output
        #expect(flags.components(separatedBy: "\"auto\"").count == 2, "\(flags)")
    }

    @Test func snapshotsLeaveBitmapsAloneAndCannotBeAppliedUnderThem() throws {
        let scratch = Scratch()
        let path = try image(scratch)
        let device = try open(path)
        guard let image = device as? any SnapshotCapable else { return #expect(Bool(false)) }
        try image.createSnapshot(named: "s")
        try device.put([1], at: 0)
        #expect(throws: ImageError.self) { try image.applySnapshot("s") }
        try device.close()
        #expect(try bits(path, "on") == [0])
        try expectClean(path)
    }

    @Test func bitmapsOfDisksOfOtherSizesAreNotMerged() throws {
        let scratch = Scratch()
        let path = try image(scratch)
        let other = try image(scratch, "other.qcow2")
        let longer = try open(other)
        try longer.resize(to: 5 << 20, preallocation: .off)
        let content = try DiskImage.bitmapContent(longer, named: "on")
        try longer.close()
        let device = try open(path)
        #expect(throws: ImageError.self) { try DiskImage.changeBitmap(device, named: "off", .merge(content)) }
        try device.close()
        try expectClean(path)
    }
}
