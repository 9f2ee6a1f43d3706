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
