import Foundation
import Testing

@testable import Images

/// `check -r all` on damaged images, beside qemu-img's on copies: what could be read before reads the same afterwards,
/// qemu-img finds nothing left, a second check is clean; and where that cannot be had, the file stays as it is.
@Suite struct QCOW2RepairTests {
    static let isQEMUHere = (try? run(["qemu-img", "--version"]).status) == 0
    static let diskBytes = 3 << 20

    static let kinds: [(options: String, hasSnapshots: Bool)] = [
        ("compat=1.1", true), ("compat=0.10", true), ("cluster_size=4096", true), ("refcount_bits=1", false),
        ("refcount_bits=64,cluster_size=512", true), ("extended_l2=on", false), ("lazy_refcounts=on", false),
        ("cluster_size=512", true),
    ]

    /// A real image: written by QEMU, with compressed, zero and discarded clusters, with snapshots.
    static func make(_ path: String, _ kind: (options: String, hasSnapshots: Bool)) throws {
        #expect(try run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", kind.options, path, "3M"]).status == 0)
        var commands: [String] = []
        var random = SeededRandom(UInt64(kind.options.utf8.count))
        for number in 1...10 {
            let offset = Int.random(in: 0..<5000, using: &random) * 512
            let count = [512, 4096, 65536, 196_608].randomElement(using: &random) ?? 512
            commands += ["-c", "write -P \(number) \(offset) \(count)"]
        }
        commands += ["-c", "write -z 1M 128k", "-c", "discard 2M 64k"]
        try run(["qemu-io", "-f", "qcow2"] + commands + [path])
        if kind.hasSnapshots {
            try run(["qemu-img", "snapshot", "-c", "one", path])
            try run([
                "qemu-io", "-f", "qcow2", "-c", "write -P 99 100k 300k", "-c", "write -c -P 98 640k 64k", path,
            ])
            try run(["qemu-img", "snapshot", "-c", "two", path])
            try run(["qemu-io", "-f", "qcow2", "-c", "write -P 77 1000k 300k", path])
        }
    }

    /// Where an image's metadata lies: offset, bytes, whether its entries point.
    private static func metadata(_ bytes: [UInt8]) throws -> [(offset: Int, count: Int)] {
        let header = try QCOW2Header(parsing: MemoryStorage(content: bytes))
        let cluster = 1 << header.clusterBits
        var places = [(48, 8), (56, 4), (72, 8)].filter { $0.0 < 72 || header.version >= 3 }
        let l1 = Int(header.l1Offset)
        places += [(l1, Int(header.l1Size) * 8), (Int(header.refcountTableOffset), 64)]
        for index in 0..<cluster / 8 {
            let block = Int(bytes.be64(Int(header.refcountTableOffset) + index * 8))
            if block != 0 { places.append((block, min(cluster, 256))) }
        }
        for index in 0..<Int(header.l1Size) {
            let table = Int(bytes.be64(l1 + index * 8) & QCOW2Layout.offsetMask)
            if table != 0 { places += [(table, min(cluster, 1024)), (table, min(cluster, 1024))] }
        }
        if header.snapshotCount > 0 { places.append((Int(header.snapshotsOffset), 160)) }
        return places.map { (offset: $0.0, count: $0.1) }
    }

    private static func damage(_ bytes: inout [UInt8], _ random: inout SeededRandom) throws -> String {
        let places = try metadata(bytes)
        let cluster = 1 << Int(bytes.be32(20))
        var log = ""
        for _ in 0..<([1, 1, 1, 2, 3].randomElement(using: &random) ?? 1) {
            guard let place = places.randomElement(using: &random) else { continue }
            let entry = place.offset + Int.random(in: 0..<max(1, place.count / 8), using: &random) * 8
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                let count = min([8, 8, 16, 512].randomElement(using: &random) ?? 8, place.offset + place.count - entry)
                for at in entry..<min(entry + count, bytes.count) { bytes[at] = 0 }
                log += "zero \(entry)+\(count) "
            case 1:
                let at = place.offset + Int.random(in: 0..<place.count, using: &random)
                bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                log += "flip \(at) "
            case 2:
                let at = place.offset + Int.random(in: 0..<place.count, using: &random)
                bytes[at] = UInt8.random(in: 0...255, using: &random)
                log += "byte \(at) "
            default:
                var value = UInt64(Int.random(in: 0..<bytes.count / cluster + 2, using: &random) * cluster)
                if entry >= 104, Bool.random(using: &random) { value |= QCOW2Layout.copied }
                var field: [UInt8] = []
                field.putBE(value)
                bytes.overwrite(entry, with: field)
                log += "point \(entry) to \(value & QCOW2Layout.offsetMask) "
            }
        }
        return log
    }

    /// The disk by 512-byte sectors as we read it; nil for what cannot be read. nil where the image does not open.
    private func sectors(_ path: String) -> [[UInt8]?]? {
        guard let device = try? DiskImage.open(path, options: OpenOptions(format: "qcow2", lock: .none)) else {
            return nil
        }
        defer { try? device.close() }
        if let whole = try? device.bytes(at: 0, count: Int(device.size)) {
            return stride(from: 0, to: whole.count, by: 512).map { Array(whole[$0..<$0 + 512]) }
        }
        return stride(from: 0, to: Int(device.size), by: 512).map { try? device.bytes(at: UInt64($0), count: 512) }
    }

    private func fullRead(_ path: String, _ scratch: Scratch) throws -> [UInt8]? {
        let raw = scratch.path("read.raw")
        guard try run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw]).status == 0 else { return nil }
        return [UInt8](try Data(contentsOf: URL(fileURLWithPath: raw)))
    }

    /// Seeds tried: more with LABCTL_LONG_TESTS=n.
    private static let seeds = 0..<6 * CrashTests.effort

    @Test(.enabled(if: isQEMUHere), arguments: kinds.indices)
    func nothingThatCouldBeReadIsLost(kind: Int) throws {
        let scratch = Scratch()
        let base = scratch.path("base.qcow2"), ours = scratch.path("ours.qcow2"), theirs = scratch.path("theirs.qcow2")
        try Self.make(base, Self.kinds[kind])
        let good = [UInt8](try Data(contentsOf: URL(fileURLWithPath: base)))
        for seed in Self.seeds {
            var random = SeededRandom(UInt64(1000 * kind + seed))
            var bytes = good
            let what = "\(Self.kinds[kind].options), seed \(seed): \(try Self.damage(&bytes, &random))"
            for path in [ours, theirs] { try Data(bytes).write(to: URL(fileURLWithPath: path)) }
            let readBefore = sectors(ours), theirBefore = try fullRead(ours, scratch)
            let result = repair(ours)
            let isMended = result.map { $0.corruptions + $0.leaks + $0.checkErrors == 0 } ?? false
            if isMended {
                let check = try run(["qemu-img", "check", "-f", "qcow2", ours])
                #expect(check.status == 0, "\(what): qemu-img finds \(check.output.suffix(300))")
                let again = try DiskImage.open(ours, options: OpenOptions(format: "qcow2", forCheck: true))
                let second = try DiskImage.check(again, repair: .none, verifyData: false)
                #expect(second.corruptions + second.leaks == 0, "\(what): \(second.findings.prefix(3))")
                try again.close()
            } else {
                let now = [UInt8](try Data(contentsOf: URL(fileURLWithPath: ours)))
                #expect(firstDifference(now, bytes) == nil, "\(what): changed though not mended")
            }
            if let readBefore {
                let now = sectors(ours)
                for (index, sector) in readBefore.enumerated() where sector != nil {
                    guard now?[index] != sector else { continue }
                    Issue.record("\(what): sector \(index) reads differently")
                    return
                }
            }
            if let theirBefore {
                #expect(try fullRead(ours, scratch) == theirBefore, "\(what): qemu-img reads another disk")
            }
            // What qemu-img mends without loss we mend too.
            if !isMended, let theirBefore,
                try run(["qemu-img", "check", "-r", "all", "-f", "qcow2", theirs]).status == 0,
                try run(["qemu-img", "check", "-f", "qcow2", theirs]).status == 0,
                try fullRead(theirs, scratch) == theirBefore
            {
                Issue.record("\(what): qemu-img mends it, we say \(result?.findings.suffix(3) ?? [])")
            }
        }
    }

    private func repair(_ path: String) -> CheckResult? {
        let options = OpenOptions(format: "qcow2", readOnly: false, forCheck: true)
        guard let device = try? DiskImage.open(path, options: options) else { return nil }
        defer { try? device.close() }
        return try? DiskImage.check(device, repair: .all, verifyData: false)
    }

    // MARK: Single faults

    /// What each damages, in the sample of `QCOW2OverlapTests` with one snapshot; the disk is the same before and after.
    static let faults: [(name: String, offset: Int, bytes: [UInt8])] = [
        ("refcount table entry zero", 65536, [UInt8](repeating: 0, count: 8)),
        ("refcount table entry unaligned", 65536, [0, 0, 0, 0, 0, 2, 2, 0]),
        ("refcount block beyond the file", 65536, [0, 0, 0, 0x10, 0, 0, 0, 0]),
        ("refcount block that is also data", 65536, [0, 0, 0, 0, 0, 5, 0, 0]),
        ("refcount block that is the header", 65536, [0, 0, 0, 0, 0, 0, 0, 1]),
        ("refcount block lost", 131_072, [UInt8](repeating: 0, count: 65536)),
        ("refcount table of no clusters", 56, [0, 0, 0, 0]),
        ("refcount table unaligned", 48, [0, 0, 0, 0, 0, 1, 0, 2]),
        ("refcount table on the L1 table", 48, [0, 0, 0, 0, 0, 3, 0, 0]),
        ("cluster used twice", QCOW2OverlapTests.l2Cluster * 65536 + 8, [0x80, 0, 0, 0, 0, 4, 0, 0]),
        ("data on the L1 table", QCOW2OverlapTests.l2Cluster * 65536 + 16, [0x80, 0, 0, 0, 0, 3, 0, 0]),
        ("data on the refcount table", QCOW2OverlapTests.l2Cluster * 65536 + 16, [0x80, 0, 0, 0, 0, 1, 0, 0]),
        ("data on its own L2 table", QCOW2OverlapTests.l2Cluster * 65536 + 16, [0x80, 0, 0, 0, 0, 0x14, 0, 0]),
        ("zero cluster unaligned", QCOW2OverlapTests.l2Cluster * 65536 + 800, [0x80, 0, 0, 0, 0, 4, 2, 1]),
        ("reserved bits", QCOW2OverlapTests.l2Cluster * 65536 + 8, [0x90, 0, 0, 0, 0, 5, 0, 4]),
        ("data beyond the file", QCOW2OverlapTests.l2Cluster * 65536 + 8, [0x80, 0, 0, 0, 0, 0x30, 0, 0]),
        ("corrupt bit", 79, [2]),
    ]

    @Test(arguments: faults.indices) func aFaultIsMendedAndTheDiskStaysTheSame(index: Int) throws {
        let scratch = Scratch()
        let fault = Self.faults[index]
        let path = try QCOW2OverlapTests.sample(scratch)
        try QCOW2OverlapTests.overwrite(path, fault.bytes, at: fault.offset)
        let before = try read(path)
        let looked = try DiskImage.open(path, options: OpenOptions(forCheck: true))
        if fault.name != "corrupt bit" {
            #expect(try DiskImage.check(looked, repair: .none, verifyData: false).corruptions > 0)
        }
        try looked.close()
        let result = try #require(repair(path))
        #expect(result.corruptions + result.leaks == 0, "\(fault.name): \(result.findings.suffix(3))")
        #expect(firstDifference(try read(path), before) == nil, "\(fault.name)")
        if Self.isQEMUHere {
            let check = try run(["qemu-img", "check", path])
            #expect(check.status == 0, "\(fault.name): \(check.output.suffix(300))")
        }
        // And it takes writes again, which change nothing else.
        let device = try open(path)
        try device.put([UInt8](repeating: 0x5a, count: 200_000), at: 2 << 20)
        try device.close()
        #expect(firstDifference(try read(path), before) == nil, "\(fault.name), after a write")
    }

    private func read(_ path: String) throws -> [UInt8] {
        let device = try open(path, readOnly: true)
        defer { try? device.close() }
        return try device.bytes(at: 0, count: 1 << 20)
    }

    @Test func whereOneFaultCannotBeMendedNothingIsChanged() throws {
        let scratch = Scratch()
        let path = try QCOW2OverlapTests.sample(scratch)
        // An L2 entry that points between clusters, and a lost refcount.
        try QCOW2OverlapTests.overwrite(
            path, [0x80, 0, 0, 0, 0, 5, 2, 0], at: QCOW2OverlapTests.l2Cluster * 65536 + 8)
        try QCOW2OverlapTests.overwrite(path, [0, 0], at: 131_072)
        let before = try Data(contentsOf: URL(fileURLWithPath: path))
        for mode in [RepairMode.leaks, .all] {
            let device = try DiskImage.open(path, options: OpenOptions(readOnly: false, forCheck: true))
            let result = try DiskImage.check(device, repair: mode, verifyData: false)
            try device.close()
            #expect(result.corruptions > 0 && result.corruptionsFixed == 0 && result.leaksFixed == 0)
            #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
        }
    }

    /// The entry of a snapshot with `extra` bytes of extra data, in a table of its own behind the image.
    private func withExtraData(_ scratch: Scratch, _ extra: Int) throws -> String {
        let path = try QCOW2OverlapTests.sample(scratch)
        let device = try open(path)
        let image = try #require(device as? QCOW2Image)
        try image.createSnapshot(named: "kept")
        let snapshot = image.snapshots[0]
        try device.close()
        // The old table takes a cluster: the new one, of one or two, goes behind everything.
        let file = try FileStorage.open(path, readOnly: true).byteCount.rounded(toMultipleOf: 65536)
        var entry: [UInt8] = []
        entry.putBE(snapshot.l1Offset)
        entry.putBE(snapshot.l1Size)
        entry.putBE(UInt16(1))
        entry.putBE(UInt16(4))
        entry += [UInt8](repeating: 0, count: 20)
        entry.putBE(UInt32(extra))
        var data = [UInt8](repeating: 0, count: extra)
        var size: [UInt8] = []
        size.putBE(UInt64(1 << 30))
        for (index, byte) in size.enumerated() where 8 + index < extra { data[8 + index] = byte }
        entry += data + Array("1kept".utf8)
        try QCOW2OverlapTests.overwrite(path, entry + [UInt8](repeating: 0, count: 8), at: Int(file))
        var place: [UInt8] = []
        place.putBE(UInt32(1))
        place.putBE(file)
        try QCOW2OverlapTests.overwrite(path, place, at: 60)
        return path
    }

    @Test(arguments: [0, 8, 1025, 70_000]) func snapshotEntriesGetTheRightAmountOfExtraData(extra: Int) throws {
        let scratch = Scratch()
        let path = try withExtraData(scratch, extra)
        let result = try #require(repair(path))
        #expect(result.corruptions + result.leaks == 0 && result.corruptionsFixed > 0, "\(result.findings)")
        let device = try open(path, readOnly: true)
        try DiskImage.loadSnapshot("kept", of: device)
        #expect(firstDifference(try device.bytes(at: 0, count: 1 << 20), QCOW2OverlapTests.pattern) == nil)
        try device.close()
        if Self.isQEMUHere {
            let check = try run(["qemu-img", "check", path])
            #expect(check.status == 0, "\(check.output.suffix(300))")
            #expect(try run(["qemu-img", "snapshot", "-l", path]).output.contains("kept"))
        }
    }

    /// The sample, with a snapshot of a disk that has changed since; returns the path and the place of the snapshot's entry.
    private func withSnapshot(_ scratch: Scratch) throws -> (path: String, entry: Int) {
        let path = try QCOW2OverlapTests.sample(scratch)
        let device = try open(path)
        let image = try #require(device as? QCOW2Image)
        try image.createSnapshot(named: "kept")
        try device.put([UInt8](repeating: 9, count: 70_000), at: 100_000)
        let entry = Int(image.header.snapshotsOffset)
        try device.close()
        return (path, entry)
    }

    @Test func aWildRefcountBlockDoesNotMakeTheFileLong() throws {
        let scratch = Scratch()
        let path = try QCOW2OverlapTests.sample(scratch)
        let length = try Data(contentsOf: URL(fileURLWithPath: path)).count
        // 1 GiB: as far as a preallocated image might reach.
        try QCOW2OverlapTests.overwrite(path, [0, 0, 0, 0, 0x40, 0, 0, 0], at: 65536)
        let result = try #require(repair(path))
        #expect(result.corruptions + result.leaks == 0 && result.corruptionsFixed > 0, "\(result.findings.suffix(3))")
        let now = try FileStorage.open(path, readOnly: true)
        #expect(now.byteCount < UInt64(length + 4 * 65536))
        now.close()
        #expect(firstDifference(try read(path), QCOW2OverlapTests.pattern) == nil)
    }

    @Test func aSnapshotWhoseTableIsNotInTheFileIsNeitherReadNorApplied() throws {
        let scratch = Scratch()
        let (path, entry) = try withSnapshot(scratch)
        let before = try read(path)
        for place: [UInt8] in [[0, 0, 0x20, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0x10, 0, 0, 0]] {
            try QCOW2OverlapTests.overwrite(path, place, at: entry)
            let device = try open(path)
            let image = try #require(device as? QCOW2Image)
            #expect(throws: ImageError.self) { try image.applySnapshot("kept") }
            #expect(throws: ImageError.self) { try image.deleteSnapshot("kept") }
            try device.close()
            let reader = try open(path, readOnly: true)
            #expect(throws: ImageError.self) { try DiskImage.loadSnapshot("kept", of: reader) }
            try reader.close()
            #expect(firstDifference(try read(path), before) == nil)
        }
    }

    @Test func aSnapshotTableThatCannotBeReadDoesNotKeepTheContentsFromBeingRead() throws {
        let scratch = Scratch()
        let (path, _) = try withSnapshot(scratch)
        let before = try read(path)
        for place: [UInt8] in [[0, 0, 0, 0, 0, 1, 2, 0], [0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0x20, 0, 0, 0, 0, 0]] {
            try QCOW2OverlapTests.overwrite(path, place, at: 64)
            let damaged = try Data(contentsOf: URL(fileURLWithPath: path))
            #expect(throws: ImageError.self) { try open(path) }
            #expect(firstDifference(try read(path), before) == nil)
            // What the snapshot holds must not be taken for free.
            let result = try #require(repair(path))
            #expect(result.corruptions > 0 && result.leaksFixed == 0 && result.corruptionsFixed == 0)
            #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == damaged)
        }
    }

    @Test func tooManySnapshotsDoNotKeepTheContentsFromBeingRead() throws {
        let scratch = Scratch()
        let path = try withExtraData(scratch, 16)
        // Entries of no L1 table, read from zeros behind the first one.
        let file = try FileStorage.open(path, readOnly: false, lock: .none)
        try file.resize(to: file.byteCount + 65536 * 40 + 65536)
        try file.write([0, 1, 0, 1], at: 60)
        file.close()
        #expect(throws: ImageError.self) { try open(path) }
        #expect(firstDifference(try read(path), QCOW2OverlapTests.pattern) == nil)
    }
}
