import Testing

@testable import Images

@Suite struct QCOW1LayoutTests {
    /// libqcow takes the low bits of an L1 entry for flags, as those of qcow2 are.
    @Test func tablesOfTheSecondLevelLieAtClusters() throws {
        let storage = MemoryStorage()
        try QCOW1Format().create(in: storage, request: CreateRequest(path: "x", size: 40 << 20))
        let device = try QCOW1Format().open(storage: storage, options: OpenOptions(readOnly: false))
        for offset in stride(from: UInt64(0), to: 40 << 20, by: 3 << 20) { try device.put([1, 2, 3], at: offset) }
        try device.flush()
        let l1 = Int(storage.bytes.be64(40))
        let entries = (0..<20).map { storage.bytes.be64(l1 + $0 * 8) }
        #expect(entries.contains { $0 != 0 })
        #expect(entries.allSatisfy { $0 % 4096 == 0 })
        try device.close()
    }
}
