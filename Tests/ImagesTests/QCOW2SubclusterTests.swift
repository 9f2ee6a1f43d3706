import Foundation
import Testing

@testable import Images

/// Parts of clusters with subclusters (extended L2): zeroes change flags where qemu-io's do.
@Suite struct QCOW2SubclusterTests {
    /// Offsets and lengths: within a subcluster, whole ones, odd ends, over two clusters, up to the end of the disk.
    static let ranges = [
        (100, 300), (0, 2048), (2048, 6144), (3000, 9000), (60_000, 20_000), (131_072, 65_536), (200_000, 70_000),
        (1_048_576, 4096), (1_050_000, 30_000), (1_995_000, 5_240),
    ]

    @Test(arguments: [false, true]) func partsOfClustersAreZeroedByFlagsAsQEMUDoes(withBacking: Bool) throws {
        let scratch = Scratch()
        let size = 2_000_240 / 512 * 512 + 512
        var model = DiskModel(bytes: [UInt8](repeating: 0, count: size))
        if withBacking {
            try DiskImage.create(scratch.path("base.raw"), format: "raw", size: UInt64(size))
            let base = try open(scratch.path("base.raw"), format: "raw")
            model.bytes = [UInt8](repeating: 0x11, count: size)
            try base.put(model.bytes, at: 0)
            try base.close()
        }
        let backing = withBacking ? ["-b", "base.raw", "-F", "raw"] : []
        for name in ["ours.qcow2", "theirs.qcow2"] {
            let made = try run(
                ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on"] + backing + [name, "\(size)"],
                in: scratch.folder)
            #expect(made.status == 0, "\(made.output)")
            let filled = try run(
                ["qemu-io", "-c", "write -P 0x22 0 100000", "-c", "write -P 0x33 1048576 65536", name],
                in: scratch.folder)
            #expect(filled.status == 0, "\(filled.output)")
        }
        model.bytes.replaceSubrange(0..<100_000, with: repeatElement(0x22, count: 100_000))
        model.bytes.replaceSubrange(1_048_576..<1_114_112, with: repeatElement(0x33, count: 65_536))
        let device = try open(scratch.path("ours.qcow2"))
        for (offset, count) in Self.ranges {
            let end = min(offset + count, size)
            try device.writeZeroes(at: UInt64(offset), count: UInt64(end - offset), mayUnmap: false)
            model.bytes.replaceSubrange(offset..<end, with: repeatElement(0, count: end - offset))
            #expect(
                firstDifference(try device.bytes(at: 0, count: size), model.bytes) == nil, "\(offset) \(count)")
            let theirs = try run(
                ["qemu-io", "-c", "write -z \(offset) \(end - offset)", "theirs.qcow2"], in: scratch.folder)
            #expect(theirs.status == 0, "\(theirs.output)")
        }
        try device.close()
        let check = try run(["qemu-img", "check", scratch.path("ours.qcow2")])
        #expect(check.status == 0, "\(check.output)")
        let maps = try ["ours.qcow2", "theirs.qcow2"].map { name in
            try run(["qemu-img", "map", "--output=json", name], in: scratch.folder).output
        }
        // The same runs of data and zeros, wherever their clusters lie.
        let plain = maps.map { $0.replacing(#/, "offset": [0-9]+/#, with: "") }
        // Without a backing file QEMU also marks zeros that were never written; we leave them alone.
        if withBacking { #expect(plain[0] == plain[1]) }
        #expect(plain[0].contains("\"zero\": true, \"data\": false"))
    }

    /// A compressed cluster has no flags, and a cluster that a snapshot shares keeps its data for it.
    @Test func compressedAndSharedClustersKeepTheRest() throws {
        let scratch = Scratch()
        var random = SeededRandom(4)
        var content = [UInt8](repeating: 9, count: 65_536) + random.bytes(65_536)
        try DiskImage.create(scratch.path("in.raw"), format: "raw", size: 131_072)
        let raw = try open(scratch.path("in.raw"), format: "raw")
        try raw.put(content, at: 0)
        var request = ConvertRequest(
            sources: [raw], targetPath: scratch.path("a.qcow2"), targetFormat: "qcow2")
        request.options = ["extended_l2": "on"]
        request.isCompressed = true
        try DiskImage.convert(request)
        try raw.close()
        let device = try open(scratch.path("a.qcow2"))
        let before = content
        try (device as? any SnapshotCapable)?.createSnapshot(named: "s")
        for start in [4096, 65_536 + 8192] {
            try device.writeZeroes(at: UInt64(start), count: 4096, mayUnmap: true)
            content.replaceSubrange(start..<start + 4096, with: repeatElement(0, count: 4096))
        }
        #expect(firstDifference(try device.bytes(at: 0, count: 131_072), content) == nil)
        #expect(try DiskImage.check(device, repair: .none, verifyData: true).corruptions == 0)
        try (device as? any SnapshotCapable)?.applySnapshot("s")
        #expect(firstDifference(try device.bytes(at: 0, count: 131_072), before) == nil)
        try device.close()
        #expect(try run(["qemu-img", "check", scratch.path("a.qcow2")]).status == 0)
    }
}
