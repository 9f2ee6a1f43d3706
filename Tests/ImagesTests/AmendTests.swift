import Foundation
import Testing

@testable import Images

/// Options of existing images changed: what they hold stays, and qemu-img finds them in order.
@Suite struct AmendTests {
    private func sample(_ path: String, _ options: [String: String], snapshot: Bool) throws -> [UInt8] {
        try DiskImage.create(path, format: "qcow2", size: 2 << 20, options: options)
        let device = try open(path)
        var model = DiskModel(bytes: [UInt8](repeating: 0, count: 2 << 20))
        var random = SeededRandom(11)
        for step in 0..<30 {
            try model.step(device, &random, longest: 50_000)
            if snapshot, step == 15 { try (device as? any SnapshotCapable)?.createSnapshot(named: "s") }
        }
        try device.close()
        return model.bytes
    }

    @Test(arguments: [1, 2, 4, 8, 16, 32, 64], ["512", "4096"])
    func everyRefcountWidthAndBack(bits: Int, cluster: String) throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        let content = try sample(path, ["cluster_size": cluster], snapshot: false)
        for width in [bits, 16] {
            let device = try open(path)
            try DiskImage.amend(device, ["refcount_bits": String(width)])
            try device.close()
            let check = try run(["qemu-img", "check", path])
            #expect(check.status == 0, "\(width) bits: \(check.output)")
            #expect(try run(["qemu-img", "info", path]).output.contains("refcount bits: \(width)"))
            let again = try open(path)
            #expect(try again.bytes(at: 0, count: content.count) == content)
            try again.put([9], at: 77)
            try again.put([content[77]], at: 77)
            try again.close()
        }
    }

    @Test func aWidthThatIsTooNarrowIsRefusedAndNothingChanges() throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        _ = try sample(path, [:], snapshot: true)
        let before = try DiskImage.sha256(ofFile: path)
        let device = try open(path)
        let error = #expect(throws: ImageError.self) { try DiskImage.amend(device, ["refcount_bits": "1"]) }
        #expect(error?.message.contains("has a refcount of 2") == true, "\(error?.message ?? "")")
        try device.close()
        #expect(try DiskImage.sha256(ofFile: path) == before)
    }

    /// Version 2 lets an entry do without the sizes of VM state and disk, version 3 does not.
    @Test(arguments: [0, 8]) func snapshotsOfVersion2GetWhatVersion3Wants(extraBytes: Int) throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 2 << 20, options: ["compat": "0.10"])
        var device = try open(path)
        try device.put([UInt8](repeating: 5, count: 200_000), at: 0)
        try (device as? any SnapshotCapable)?.createSnapshot(named: "s")
        let place = Int(try #require(device as? QCOW2Image).header.snapshotsOffset)
        try device.put([UInt8](repeating: 6, count: 200_000), at: 0)
        try device.close()
        // Fixed part, extra data, id and name.
        let entry = try QCOW2OverlapTests.bytes(path, place, 40 + 24 + 2)
        var short = Array(entry[..<39])
        short.append(UInt8(extraBytes))
        short += entry[40..<40 + extraBytes]
        short += entry[64...]
        try QCOW2OverlapTests.overwrite(path, short, at: place)
        #expect(try run(["qemu-img", "check", path]).status == 0)
        device = try open(path)
        #expect(try DiskImage.check(device, repair: .none, verifyData: false).corruptions == 0)
        try DiskImage.amend(device, ["compat": "1.1"])
        #expect(try device.bytes(at: 0, count: 1) == [6])
        try device.close()
        device = try open(path, readOnly: true)
        #expect(try DiskImage.check(device, repair: .none, verifyData: false).corruptions == 0)
        try (device as? any SnapshotCapable)?.loadSnapshot("s")
        #expect(try device.bytes(at: 199_999, count: 2) == [5, 0])
        try device.close()
        let check = try run(["qemu-img", "check", path])
        #expect(check.status == 0 && check.output.contains("No errors"), "\(check.output)")
    }

    @Test func theSizeOfAnImageWithSnapshotsChangesWithItsVersion() throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 2 << 20, options: ["compat": "0.10"])
        let device = try open(path)
        try device.put([UInt8](repeating: 5, count: 200_000), at: 0)
        try (device as? any SnapshotCapable)?.createSnapshot(named: "s")
        #expect(throws: ImageError.self) { try DiskImage.amend(device, ["size": "4M"]) }
        try DiskImage.amend(device, ["size": "4M", "compat": "1.1"])
        #expect(device.size == 4 << 20)
        // Version 2 cannot say that the snapshot's disk was smaller.
        #expect(throws: ImageError.self) { try DiskImage.amend(device, ["size": "3M", "compat": "0.10"]) }
        #expect(try device.bytes(at: 199_999, count: 2) == [5, 0])
        try device.close()
        #expect(try run(["qemu-img", "check", path]).status == 0)
        let info = try run(["qemu-img", "info", path]).output
        #expect(info.contains("compat: 1.1"))
    }

    @Test func theCompatibilityLevelGoesDownAndUpWithSnapshots() throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 2 << 20)
        var device = try open(path)
        try device.put([UInt8](repeating: 5, count: 200_000), at: 0)
        try (device as? any SnapshotCapable)?.createSnapshot(named: "s")
        try device.writeZeroes(at: 0, count: 65536, mayUnmap: false)
        try DiskImage.amend(device, ["compat": "0.10"])
        try device.close()
        #expect(try run(["qemu-img", "check", path]).status == 0)
        #expect(try run(["qemu-img", "info", path]).output.contains("compat: 0.10"))
        device = try open(path)
        #expect(try device.bytes(at: 0, count: 65537) == [UInt8](repeating: 0, count: 65536) + [5])
        try DiskImage.amend(device, ["compat": "1.1", "refcount_bits": "32", "lazy_refcounts": "on"])
        try device.close()
        #expect(try run(["qemu-img", "check", path]).status == 0)
        let info = try run(["qemu-img", "info", path]).output
        #expect(info.contains("refcount bits: 32") && info.contains("lazy refcounts: true"), "\(info)")
    }

    /// Version 2 has no zero clusters: those of snapshots, and tables that several of them share, are replaced too.
    @Test(arguments: [false, true]) func zeroClustersOfSnapshotsBecomeWhatVersionTwoKnows(withBacking: Bool) throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        var request = CreateRequest(path: path, size: 2 << 20, options: ["cluster_size": "4096"])
        if withBacking {
            try DiskImage.create(scratch.path("base.qcow2"), format: "qcow2", size: 2 << 20)
            let base = try open(scratch.path("base.qcow2"))
            try base.put([UInt8](repeating: 7, count: 2 << 20), at: 0)
            try base.close()
            request.backing = BackingReference(file: "base.qcow2", format: "qcow2")
        }
        try DiskImage.create(request, format: "qcow2")
        let device = try open(path)
        let snapshots = try #require(device as? any SnapshotCapable)
        // Zeros without a cluster and with one; then tables that two snapshots and the disk share, then some that differ.
        try device.writeZeroes(at: 0, count: 40960, mayUnmap: true)
        try device.put([UInt8](repeating: 3, count: 65536), at: 65536)
        try device.writeZeroes(at: 65536, count: 8192, mayUnmap: false)
        var contents: [String: [UInt8]] = [:]
        for name in ["one", "two", "three"] {
            try snapshots.createSnapshot(named: name)
            contents[name] = try device.bytes(at: 0, count: 2 << 20)
            if name == "two" { try device.writeZeroes(at: 100_000, count: 20_000, mayUnmap: false) }
        }
        try device.put([1, 2, 3], at: 70_000)
        let active = try device.bytes(at: 0, count: 2 << 20)
        try DiskImage.amend(device, ["compat": "0.10"])
        #expect(try device.bytes(at: 0, count: 2 << 20) == active)
        try device.close()
        let check = try run(["qemu-img", "check", path])
        #expect(check.status == 0, "\(check.output)")
        for (name, content) in contents {
            let read = try run(["qemu-img", "convert", "-l", name, "-O", "raw", path, scratch.path("\(name).raw")])
            #expect(read.status == 0, "\(read.output)")
            let raw = try open(scratch.path("\(name).raw"), format: "raw", readOnly: true)
            #expect(firstDifference(try raw.bytes(at: 0, count: 2 << 20), content) == nil, "\(name)")
        }
        // Nothing is left of the flag that version 2 does not know.
        let again = try open(path)
        #expect(try DiskImage.check(again, repair: .none, verifyData: true).corruptions == 0)
        for name in contents.keys.sorted() { try (again as? any SnapshotCapable)?.applySnapshot(name) }
        try again.close()
    }

    @Test func snapshotsOfAnotherSizePreventTheWayBack() throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 2 << 20)
        let device = try open(path)
        try (device as? any SnapshotCapable)?.createSnapshot(named: "s")
        try device.resize(to: 3 << 20, preallocation: .off)
        let error = #expect(throws: ImageError.self) { try DiskImage.amend(device, ["compat": "0.10"]) }
        #expect(error?.message.contains("Internal snapshots prevent downgrade") == true, "\(error?.message ?? "")")
        try device.close()
    }

    /// Cut at any write, the image opens and at worst has leaked.
    @Test func aChangeOfTheRefcountWidthSurvivesACutAtEveryWrite() throws {
        let storage = MemoryStorage()
        try QCOW2Format().create(
            in: storage, request: CreateRequest(path: "m", size: 1 << 20, options: ["cluster_size": "512"]))
        var device = try QCOW2Format().open(storage: storage, options: OpenOptions(readOnly: false))
        var model = DiskModel(bytes: [UInt8](repeating: 0, count: 1 << 20))
        var random = SeededRandom(5)
        for _ in 0..<20 { try model.step(device, &random, longest: 40_000) }
        try device.flush()
        let start = storage.bytes
        device = try QCOW2Format().open(storage: storage, options: OpenOptions(readOnly: false))
        storage.isRecording = true
        try DiskImage.amend(device, ["refcount_bits": "64"])
        try device.close()
        let events = storage.recorded
        for count in Swift.stride(from: 0, through: events.count, by: max(1, events.count / 200)) {
            let cut = MemoryStorage.replay(events[..<count], onto: start)
            let survivor = try QCOW2Format().open(storage: cut, options: OpenOptions(readOnly: false))
            let result = try DiskImage.check(survivor, repair: .none, verifyData: false)
            #expect(result.corruptions == 0, "after \(count) of \(events.count): \(result.findings.prefix(3))")
            #expect(try survivor.bytes(at: 0, count: 1 << 20) == model.bytes)
        }
    }
}
