import Synchronization
import Testing

@testable import Images

/// `convert --salvage`: what can be read is kept, what cannot becomes zeros, and the caller hears of it.
@Suite struct SalvageTests {
    @Test func lostPartsAreNamedAndTheRestIsKept() throws {
        let scratch = Scratch()
        let path = scratch.path("damaged.qcow2"), cluster = 65536
        try DiskImage.create(path, format: "qcow2", size: 1 << 20)
        let device = try open(path)
        try device.put([UInt8](repeating: 0x33, count: 1 << 20), at: 0)
        let l2Offset = try #require((device as? QCOW2Image)?.l1.first) & QCOW2Layout.offsetMask
        try device.close()
        // Cluster 5 lies at a place where no cluster can lie: neither its data nor what it is can be told.
        let file = try FileStorage.open(path, readOnly: false)
        try file.write([0x80, 0, 0, 0, 0, 0x70, 2, 0], at: l2Offset + 5 * 8)
        file.close()
        let source = try open(path, readOnly: true)
        defer { try? source.close() }
        var request = ConvertRequest(sources: [source], targetPath: scratch.path("out.raw"), targetFormat: "raw")
        #expect(throws: ImageError.self) { try DiskImage.convert(request) }
        let lost = Mutex<[Range<UInt64>]>([])
        request.salvage = true
        request.didLose = { offset, count, _ in lost.withLock { $0.append(offset..<offset + count) } }
        try DiskImage.convert(request)
        #expect(lost.withLock { $0 } == [UInt64(5 * cluster)..<UInt64(6 * cluster)])
        var expected = [UInt8](repeating: 0x33, count: 1 << 20)
        expected.replaceSubrange(5 * cluster..<6 * cluster, with: repeatElement(0, count: cluster))
        let result = try open(request.targetPath, format: "raw", readOnly: true)
        #expect(firstDifference(try result.bytes(at: 0, count: 1 << 20), expected) == nil)
        try result.close()
    }
}
