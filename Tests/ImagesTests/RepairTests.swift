import Testing

@testable import Images

@Suite struct RepairTests {
    /// An image with data, some of whose refcounts are then overwritten.
    private func damaged(_ scratch: Scratch, refcounts: [(cluster: Int, value: UInt16)]) throws -> String {
        let path = scratch.path("d.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 4 << 20)
        let device = try open(path)
        try device.put([UInt8](repeating: 3, count: 500_000), at: 100_000)
        try device.close()
        let file = try FileStorage.open(path, readOnly: false, lock: .none)
        for change in refcounts {
            var bytes: [UInt8] = []
            bytes.putBE(change.value)
            try file.write(bytes, at: UInt64(2 * 65536 + change.cluster * 2))
        }
        // A leak counts where there is a cluster to leak: the file reaches past the highest refcount.
        try file.resize(to: 128 * 65536)
        file.close()
        return path
    }

    private func check(_ path: String, _ repair: RepairMode) throws -> CheckResult {
        let device = try DiskImage.open(path, options: OpenOptions(readOnly: repair == .none, forCheck: true))
        defer { try? device.close() }
        return try DiskImage.check(device, repair: repair, verifyData: false)
    }

    @Test func leaksAreFoundAndRepaired() throws {
        let scratch = Scratch()
        let path = try damaged(scratch, refcounts: [(100, 1), (101, 1)])
        #expect(try check(path, .none).leaks == 2)
        #expect(try run(["qemu-img", "check", path]).status == 3)
        #expect(try check(path, .leaks).leaksFixed == 2)
        #expect(try run(["qemu-img", "check", path]).status == 0)
    }

    @Test func wrongRefcountsAreRepairedAndTheDataKept() throws {
        let scratch = Scratch()
        let path = try damaged(scratch, refcounts: [(5, 0), (6, 2), (100, 1)])
        let before = try check(path, .none)
        #expect(before.corruptions >= 1 && before.leaks >= 1)
        let fixed = try check(path, .all)
        #expect(fixed.corruptions == 0 && fixed.corruptionsFixed >= 1)
        let after = try run(["qemu-img", "check", path])
        #expect(after.status == 0, "\(after.output)")
        let device = try open(path, readOnly: true)
        #expect(try device.bytes(at: 100_000, count: 500_000).allSatisfy { $0 == 3 })
    }

    @Test func aDirtyImageIsRepairedWhenItIsOpenedForWriting() throws {
        let scratch = Scratch()
        let path = try damaged(scratch, refcounts: [(5, 0)])
        let file = try FileStorage.open(path, readOnly: false, lock: .none)
        try file.write([1], at: 79)
        file.close()
        try open(path).close()
        let after = try run(["qemu-img", "check", path])
        #expect(after.status == 0, "\(after.output)")
    }

    @Test func damagedCompressedDataIsFoundByVerifying() throws {
        let scratch = Scratch()
        _ = try FormatPropertyTests.sampleDisk(scratch)
        var request = ConvertRequest(
            sources: [try open(scratch.path("in.raw"), format: "raw", readOnly: true)],
            targetPath: scratch.path("c.qcow2"),
            targetFormat: "qcow2")
        request.isCompressed = true
        request.options = ["compression_type": "zstd"]
        try DiskImage.convert(request)
        let file = try FileStorage.open(scratch.path("c.qcow2"), readOnly: false, lock: .none)
        let end = file.byteCount
        var random = SeededRandom(1)
        try file.write(random.bytes(20_000), at: end - 65536)
        file.close()
        let device = try open(scratch.path("c.qcow2"), readOnly: true)
        #expect(try DiskImage.check(device, repair: .none, verifyData: false).corruptions == 0)
        #expect(try DiskImage.check(device, repair: .none, verifyData: true).corruptions > 0)
    }
}

@Suite struct BochsTests {
    /// A growing image made by hand: extent 1 of 2 is there, two of its sectors are set.
    @Test func readsAGrowingImage() throws {
        var bytes = [UInt8](repeating: 0, count: 512)
        bytes.overwrite(0, with: Array("Bochs Virtual HD Image".utf8))
        bytes.overwrite(32, with: Array("Redolog".utf8))
        bytes.overwrite(48, with: Array("Growing".utf8))
        var fields: [UInt8] = []
        fields.putLE(UInt32(0x20000))
        fields.putLE(UInt32(512))
        fields.putLE(UInt32(2))
        fields.putLE(UInt32(1))
        fields.putLE(UInt32(4096))
        fields.putLE(UInt32(0))
        fields.putLE(UInt64(8192))
        bytes.overwrite(64, with: fields)
        bytes.putLE(UInt32.max)
        bytes.putLE(UInt32(0))
        bytes += [0b0000_0101] + [UInt8](repeating: 0, count: 511)
        for sector in 0..<8 { bytes += [UInt8](repeating: UInt8(sector + 1), count: 512) }
        let device = try BochsFormat().open(storage: MemoryStorage(content: bytes), options: OpenOptions())
        let content = try device.bytes(at: 0, count: 8192)
        #expect(content[0..<4096].allSatisfy { $0 == 0 })
        #expect(content[4096] == 1 && content[4608] == 0 && content[5120] == 3 && content[5632] == 0)
    }
}
