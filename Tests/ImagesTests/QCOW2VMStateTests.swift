import Testing

@testable import Images

@Suite("A VM's state beside a snapshot's disk")
struct QCOW2VMStateTests {
    static let options = [
        [:], ["compat": "0.10"], ["cluster_size": "512"], ["cluster_size": "2097152"], ["extended_l2": "on"],
        ["cluster_size": "4096", "refcount_bits": "64"],
    ]

    /// A state of random pieces with holes, written in no order, and kept under a name.
    private func save(_ name: String, to image: any VMStateCapable, _ random: inout SeededRandom) throws -> [UInt8] {
        var state = [UInt8](repeating: 0, count: 200_000 + random.below(100_000))
        try image.beginVMState(maximumBytes: UInt64(state.count))
        for _ in 0..<12 {
            let from = random.below(state.count)
            let piece = random.bytes(min(1 + random.below(30_000), state.count - from))
            state.replaceSubrange(from..<from + piece.count, with: piece)
            try piece.withUnsafeBytes { try image.writeVMState(from: $0, at: UInt64(from)) }
        }
        try image.createSnapshot(
            named: name, vmState: VMStateInfo(byteCount: UInt64(state.count), clockNanoseconds: 3_723_000_000_000))
        return state
    }

    private func read(_ image: any VMStateCapable, _ name: String) throws -> [UInt8] {
        let state = try image.openVMState(ofSnapshot: name)
        var bytes = [UInt8](repeating: 0xEE, count: Int(state.byteCount))
        try bytes.withUnsafeMutableBytes { try state.read(into: $0, at: 0) }
        return bytes
    }

    @Test("states come back whatever happens to the disk, and qemu-img finds nothing amiss", arguments: options)
    func statesComeBack(options: [String: String]) throws {
        let scratch = Scratch()
        let path = scratch.path("i.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 3 << 20, options: options)
        var random = SeededRandom(31)
        var device = try open(path)
        var model = DiskModel(bytes: [UInt8](repeating: 0, count: 3 << 20))
        var states: [String: [UInt8]] = [:]
        var disks: [String: [UInt8]] = [:]
        for round in 0..<3 {
            for _ in 0..<10 { try model.step(device, &random, longest: 50_000) }
            let image = try #require(device as? any VMStateCapable)
            states["s\(round)"] = try save("s\(round)", to: image, &random)
            disks["s\(round)"] = model.bytes
            for _ in 0..<10 { try model.step(device, &random, longest: 50_000) }
            for (name, state) in states { #expect(firstDifference(try read(image, name), state) == nil, "\(name)") }
            if round == 1 {
                try image.applySnapshot("s0")
                model.bytes = disks["s0"] ?? []
            }
            #expect(firstDifference(try device.bytes(at: 0, count: 3 << 20), model.bytes) == nil)
            try device.close()
            let check = try run(["qemu-img", "check", path])
            #expect(check.status == 0 && !check.output.contains("leaked"), "\(check.output)")
            device = try open(path)
        }
        let list = try run(["qemu-img", "snapshot", "-U", "-l", path]).output
        #expect(list.contains("01:02:03.000"), "\(list)")
        #expect(list.contains("KiB"), "\(list)")
        #expect(try DiskImage.check(device, repair: .none, verifyData: false).findings.isEmpty)
        let image = try #require(device as? any VMStateCapable)
        for name in ["s1", "s0", "s2"] { try image.deleteSnapshot(name) }
        #expect(firstDifference(try device.bytes(at: 0, count: 3 << 20), model.bytes) == nil)
        try device.close()
        let check = try run(["qemu-img", "check", path])
        #expect(check.status == 0 && !check.output.contains("leaked"), "\(check.output)")
    }

    @Test func aStateThatIsGivenUpLeavesNothing() throws {
        let scratch = Scratch()
        let path = scratch.path("i.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 1 << 20)
        let device = try open(path)
        let image = try #require(device as? any VMStateCapable)
        let bytes = [UInt8](repeating: 7, count: 300_000)
        try image.beginVMState(maximumBytes: 300_000)
        try bytes.withUnsafeBytes { try image.writeVMState(from: $0, at: 0) }
        try image.discardVMState()
        try image.createSnapshot(named: "plain")
        #expect(throws: ImageError.self) { try image.openVMState(ofSnapshot: "plain") }
        #expect(throws: ImageError.self) { try image.openVMState(ofSnapshot: "none") }
        #expect(throws: ImageError.self) {
            try bytes.withUnsafeBytes { try image.writeVMState(from: $0, at: 1 << 40) }
        }
        try device.close()
        #expect(try run(["qemu-img", "snapshot", "-l", path]).output.contains("0 B"))
        let check = try run(["qemu-img", "check", path])
        #expect(check.status == 0 && !check.output.contains("leaked"), "\(check.output)")
    }

    @Test("what a longer backing file holds is no part of a state")
    func aBackingFileStaysOut() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("b.raw"), format: "raw", size: 1 << 30)
        let base = try open(scratch.path("b.raw"), format: "raw")
        try base.put([UInt8](repeating: 9, count: 1 << 20), at: 512 << 20)
        try base.close()
        try DiskImage.createOverlay(scratch.path("o.qcow2"), backing: scratch.path("b.raw"), backingFormat: "raw")
        let device = try open(scratch.path("o.qcow2"))
        try device.resize(to: 1 << 20, preallocation: .off)
        let image = try #require(device as? any VMStateCapable)
        try image.beginVMState(maximumBytes: 1 << 20)
        try [UInt8(1)].withUnsafeBytes { try image.writeVMState(from: $0, at: 100_000) }
        try image.createSnapshot(named: "s", vmState: VMStateInfo(byteCount: 1 << 20, clockNanoseconds: 0))
        let state = try read(image, "s")
        #expect(state.enumerated().allSatisfy { $1 == ($0 == 100_000 ? 1 : 0) })
        try device.close()
    }

    @Test("a power cut while a state is written or kept damages nothing and leaves the old one")
    func powerCut() throws {
        let driver = try #require(FormatRegistry.format(named: "qcow2"))
        func open(_ disk: SimulatedDisk) throws -> any BlockDevice {
            try driver.open(storage: disk.storage("d"), options: OpenOptions(readOnly: false))
        }
        let disk = SimulatedDisk()
        try driver.create(
            in: disk.storage("d"),
            request: CreateRequest(path: "d", size: 1 << 20, options: ["cluster_size": "4096"]))
        let device = try open(disk)
        try device.put([UInt8](repeating: 3, count: 1 << 20), at: 0)
        let image = try #require(device as? any VMStateCapable)
        var random = SeededRandom(8)
        let old = try save("old", to: image, &random)
        let start = disk.files
        disk.isRecording = true
        let new = try save("new", to: image, &random)
        var cut = PowerCut(start: start, events: disk.events)
        for event in 0...disk.events.count {
            cut.advance(to: event)
            guard event % 5 == 0 || event == disk.events.count else { continue }
            let survivor = try open(SimulatedDisk(files: cut.complete()))
            let result = try DiskImage.check(survivor, repair: .none, verifyData: false)
            #expect(result.corruptions == 0, "event \(event): \(result.findings.prefix(2))")
            let again = try #require(survivor as? any VMStateCapable)
            #expect(firstDifference(try read(again, "old"), old) == nil, "event \(event)")
            if survivor.summary.snapshots.count > 1 {
                #expect(firstDifference(try read(again, "new"), new) == nil, "event \(event)")
            }
        }
        #expect(device.summary.snapshots.count == 2)
    }
}
