import Testing

@testable import Images

/// Cuts the write stream of a writer at every event: whatever is on disk then must open, and at worst have leaked.
@Suite struct CrashTests {
    @Test(arguments: [[:], ["cluster_size": "512"], ["extended_l2": "on"], ["compat": "0.10", "cluster_size": "4096"]])
    func everyPrefixOfTheWriteStreamOpens(options: [String: String]) throws {
        let storage = MemoryStorage()
        var request = CreateRequest(path: "m", size: 1 << 20, options: options)
        request.size = 1 << 20
        try QCOW2Format().create(in: storage, request: request)
        let start = storage.bytes
        storage.isRecording = true
        let device = try QCOW2Format().open(storage: storage, options: OpenOptions(readOnly: false))
        var model = DiskModel(bytes: [UInt8](repeating: 0, count: 1 << 20))
        var random = SeededRandom(3)
        for _ in 0..<30 { try model.step(device, &random, longest: 90_000) }
        try device.close()
        let events = storage.recorded
        let stride = max(1, events.count / 250)
        for count in Swift.stride(from: 0, through: events.count, by: stride) {
            let cut = MemoryStorage.replay(events[..<count], onto: start)
            let survivor = try QCOW2Format().open(storage: cut, options: OpenOptions(readOnly: false))
            let result = try QCOW2Format().check(survivor, repair: .none, verifyData: true)
            #expect(result.corruptions == 0, "after \(count) of \(events.count): \(result.findings.prefix(3))")
        }
    }

    /// Between two syncs the disk may keep any subset of the writes, in any order.
    @Test func lostAndReorderedWritesBetweenSyncsOnlyLeak() throws {
        let storage = MemoryStorage()
        try QCOW2Format().create(
            in: storage, request: CreateRequest(path: "m", size: 1 << 20, options: ["cluster_size": "4096"]))
        let start = storage.bytes
        storage.isRecording = true
        let device = try QCOW2Format().open(storage: storage, options: OpenOptions(readOnly: false))
        var model = DiskModel(bytes: [UInt8](repeating: 0, count: 1 << 20))
        var random = SeededRandom(4)
        for _ in 0..<40 { try model.step(device, &random, longest: 60_000) }
        try device.close()
        let events = storage.recorded
        let syncs = events.indices.filter { if case .sync = events[$0] { true } else { false } }
        for _ in 0..<150 {
            guard let cutIndex = syncs.indices.randomElement(using: &random) else { break }
            let base = cutIndex == 0 ? 0 : syncs[cutIndex - 1] + 1
            var tail = Array(events[base..<syncs[cutIndex]])
            tail = tail.filter { event in
                // The file's length is journalled by the host's file system; writes may be lost.
                if case .resize = event { return true }
                return Bool.random(using: &random)
            }
            let kept = Array(events[..<base]) + tail
            let cut = MemoryStorage.replay(kept[...], onto: start)
            let survivor = try QCOW2Format().open(storage: cut, options: OpenOptions(readOnly: false))
            let result = try QCOW2Format().check(survivor, repair: .none, verifyData: false)
            #expect(result.corruptions == 0, "\(result.findings.prefix(3))")
        }
    }
}
