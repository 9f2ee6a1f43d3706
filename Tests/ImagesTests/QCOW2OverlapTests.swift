import Testing

@testable import Images

/// A damaged qcow2 is not damaged further: what would write onto metadata or onto clusters in use is refused, and the image
/// is marked as corrupt.
@Suite struct QCOW2OverlapTests {
    static let cluster = 65536
    /// Where the sample's L2 table lies, behind the data.
    static let l2Cluster = 20

    /// 1 GiB with a pattern in the first MiB: header, refcount table, refcount block, L1, data, L2.
    static func sample(_ scratch: Scratch, _ options: [String: String] = [:]) throws -> String {
        let path = scratch.path("d.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 1 << 30, options: options)
        let device = try open(path)
        try device.put(pattern, at: 0)
        try device.close()
        return path
    }

    static let pattern: [UInt8] = {
        var random = SeededRandom(7)
        return random.bytes(1 << 20)
    }()

    static func overwrite(_ path: String, _ bytes: [UInt8], at offset: Int) throws {
        let file = try FileStorage.open(path, readOnly: false, lock: .none)
        try file.write(bytes, at: UInt64(offset))
        file.close()
    }

    static func bytes(_ path: String, _ offset: Int, _ count: Int) throws -> [UInt8] {
        let file = try FileStorage.open(path, readOnly: true, lock: .none)
        defer { file.close() }
        return try file.readBytes(at: UInt64(offset), count: count)
    }

    /// What the test below does to the image.
    static let changes: [(name: String, change: @Sendable (any BlockDevice) throws -> Void)] = [
        ("write", { try $0.put([1], at: 32 << 20) }),
        ("write of a cluster", { try $0.put([UInt8](repeating: 1, count: 2 * cluster), at: 32 << 20) }),
        ("snapshot", { try ($0 as? QCOW2Image)?.createSnapshot(named: "s") }),
        ("grow", { try $0.resize(to: 8 << 40, preallocation: .off) }),
        ("shrink", { try $0.resize(to: 32 << 20, preallocation: .off) }),
        ("emptying", { try ($0 as? QCOW2Image)?.makeEmpty() }),
        (
            "bitmap",
            { try ($0 as? QCOW2Image)?.changeBitmap(named: "b", .add(granularity: nil, disabled: false)) }
        ),
        (
            "compressed write",
            { device in
                try [UInt8](repeating: 1, count: 100).withUnsafeBytes { try device.writeCompressed($0, at: 32 << 20) }
            }
        ),
    ]

    /// Refcounts that a power cut has left as zeros.
    static let lostRefcounts: [(name: String, offset: Int, count: Int)] = [
        ("table", 65536, 8), ("whole block", 131072, 65536), ("sixteen bytes of a block", 131072, 16),
        ("block's own count", 131072 + 4, 2), ("count of data", 131072 + 2 * 8, 2), ("count of L1", 131072 + 6, 2),
    ]

    @Test(arguments: lostRefcounts.indices, changes.indices)
    func lostRefcountsMakeNoChangeLandOnWhatIsUsed(damage: Int, change: Int) throws {
        let scratch = Scratch()
        let path = try Self.sample(scratch)
        let (_, offset, count) = Self.lostRefcounts[damage]
        try Self.overwrite(path, [UInt8](repeating: 0, count: count), at: offset)
        let before = try Self.bytes(path, 0, 22 * Self.cluster)
        let device = try open(path)
        #expect(throws: ImageError.self) {
            try Self.changes[change].change(device)
            try device.flush()
        }
        // A second try is refused as well, and reading goes on.
        #expect(throws: ImageError.self) { try device.put([1], at: 48 << 20) }
        #expect(firstDifference(try device.bytes(at: 0, count: 1 << 20), Self.pattern) == nil)
        try? device.close()
        var after = try Self.bytes(path, 0, 22 * Self.cluster)
        #expect(after[79] & 2 == 2, "the image is marked as corrupt")
        after[79] &= ~2
        #expect(firstDifference(after, before) == nil)
        #expect(throws: ImageError.self) { try open(path) }
        try open(path, readOnly: true).close()
    }

    /// An L2 entry of the sample, changed to name `host` as a cluster of its own.
    private func nameAsData(_ path: String, _ host: Int, entry: Int, flags: UInt64 = QCOW2Layout.copied) throws {
        var bytes: [UInt8] = []
        bytes.putBE(UInt64(host) | flags)
        try Self.overwrite(path, bytes, at: Self.l2Cluster * Self.cluster + entry * 8)
    }

    /// Structures of the sample and the cluster that each of them lies in.
    static let structures = [
        ("refcount table", 1), ("refcount block", 2), ("L1 table", 3), ("L2 table", l2Cluster),
    ]

    @Test(arguments: structures.indices, [0, 1, 65535])
    func guestDataThatLiesOnMetadataIsNotWrittenInPlace(structure: Int, inside: Int) throws {
        let scratch = Scratch()
        let path = try Self.sample(scratch)
        let host = Self.structures[structure].1 * Self.cluster
        try nameAsData(path, host, entry: 3)
        let before = try Self.bytes(path, 0, 22 * Self.cluster)
        let device = try open(path)
        let error = #expect(throws: ImageError.self) {
            try device.put([0xee], at: UInt64(3 * Self.cluster + inside))
        }
        #expect(error?.kind == .corrupt && error?.offset == UInt64(host), "\(error?.message ?? "")")
        #expect(throws: ImageError.self) { try device.put([0xee], at: 0) }
        try device.close()
        var after = try Self.bytes(path, 0, 22 * Self.cluster)
        #expect(after[79] & 2 == 2)
        after[79] &= ~2
        #expect(firstDifference(after, before) == nil)
    }

    @Test(arguments: structures.indices) func discardingDataThatLiesOnMetadataLeavesIt(structure: Int) throws {
        let scratch = Scratch()
        let path = try Self.sample(scratch)
        let host = Self.structures[structure].1 * Self.cluster
        try nameAsData(path, host, entry: 3)
        let before = try Self.bytes(path, host, Self.cluster)
        let device = try open(path)
        try device.discard(at: UInt64(3 * Self.cluster), count: UInt64(Self.cluster))
        try device.flush()
        try? device.close()
        var after = try Self.bytes(path, host, Self.cluster)
        // The table of the discarded cluster is another one afterwards, in its place.
        if host == Self.l2Cluster * Self.cluster { after.replaceSubrange(24..<32, with: before[24..<32]) }
        #expect(firstDifference(after, before) == nil)
        #expect(try Self.bytes(path, 79, 1)[0] & 2 == 2)
    }

    @Test(arguments: [1, 2, 3]) func anL1EntryThatNamesMetadataIsNotWrittenThrough(cluster: Int) throws {
        let scratch = Scratch()
        let path = try Self.sample(scratch)
        var entry: [UInt8] = []
        entry.putBE(UInt64(cluster * Self.cluster) | QCOW2Layout.copied)
        try Self.overwrite(path, entry, at: 3 * Self.cluster + 8)
        let before = try Self.bytes(path, 0, 22 * Self.cluster)
        let device = try open(path)
        #expect(throws: ImageError.self) { try device.put([1], at: 600 << 20) }
        #expect(throws: ImageError.self) { try device.put([1], at: 0) }
        try? device.close()
        var after = try Self.bytes(path, 0, 22 * Self.cluster)
        after[79] &= ~2
        #expect(firstDifference(after, before) == nil)
    }

    @Test func whatASnapshotHoldsIsNotWrittenThroughAStrayFlag() throws {
        let scratch = Scratch()
        let path = try Self.sample(scratch)
        let first = try open(path)
        try (first as? QCOW2Image)?.createSnapshot(named: "kept")
        let l2Offset = try #require((first as? QCOW2Image)?.l1.first) & QCOW2Layout.offsetMask
        try first.close()
        // The first cluster is said to be ours alone.
        try Self.overwrite(path, [0x80], at: Int(l2Offset))
        let device = try open(path)
        #expect(throws: ImageError.self) { try device.put([1], at: 0) }
        try device.close()
        let reader = try open(path, readOnly: true)
        try DiskImage.loadSnapshot("kept", of: reader)
        #expect(firstDifference(try reader.bytes(at: 0, count: 1 << 20), Self.pattern) == nil)
        try reader.close()
    }

    @Test func aClusterThatIsUsedTwiceIsNotWritten() throws {
        let scratch = Scratch()
        let path = try Self.sample(scratch)
        try nameAsData(path, 6 * Self.cluster, entry: 5)
        let device = try open(path)
        #expect(throws: ImageError.self) { try device.put([1], at: UInt64(5 * Self.cluster)) }
        #expect(throws: ImageError.self) { try device.discard(at: UInt64(5 * Self.cluster), count: 65536) }
        let kept = try device.bytes(at: UInt64(2 * Self.cluster), count: Self.cluster)
        #expect(firstDifference(kept, Array(Self.pattern[2 * Self.cluster..<3 * Self.cluster])) == nil)
        try device.close()
    }

    /// What each mode lets pass, as QEMU has it.
    @Test(arguments: [(OverlapCheck.none, l2Cluster), (.none, 2), (.constant, l2Cluster), (.constant, 2)])
    func lessThoroughModesLookAtLess(mode: OverlapCheck, cluster: Int) throws {
        let scratch = Scratch()
        let path = try Self.sample(scratch)
        try nameAsData(path, cluster * Self.cluster, entry: 3)
        var options = OpenOptions(readOnly: false)
        options.overlapCheck = mode
        let device = try DiskImage.open(path, options: options)
        try device.put([0xee], at: UInt64(3 * Self.cluster + 60000))
        try device.close()
    }

    @Test func anImageOfVersion2IsGuardedWithoutAMark() throws {
        let scratch = Scratch()
        let path = try Self.sample(scratch, ["compat": "0.10"])
        try Self.overwrite(path, [UInt8](repeating: 0, count: 8), at: 65536)
        let before = try Self.bytes(path, 0, 22 * Self.cluster)
        let device = try open(path)
        #expect(throws: ImageError.self) { try device.put([1], at: 32 << 20) }
        try device.close()
        #expect(firstDifference(try Self.bytes(path, 0, 22 * Self.cluster), before) == nil)
    }
}
