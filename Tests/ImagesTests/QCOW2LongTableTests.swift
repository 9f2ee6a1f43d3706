import Testing

@testable import Images

/// Tables that must lie in one piece and are longer than what one refcount block counts.
@Suite struct QCOW2LongTableTests {
    @Test(arguments: ["16", "64"]) func tablesOfMoreClustersThanABlockCountsFindRoom(refcountBits: String) throws {
        let scratch = Scratch()
        let path = scratch.path("small-clusters.qcow2")
        let size: UInt64 = 1 << 30
        try DiskImage.create(
            path, format: "qcow2", size: size, options: ["cluster_size": "512", "refcount_bits": refcountBits])
        let content = [UInt8](repeating: 0x5a, count: 4096)
        var device = try open(path)
        try device.put(content, at: size - 4096)
        let image = try #require(device as? QCOW2Image)
        #expect(image.layout.clusters(UInt64(image.l1.count) * 8) > UInt64(image.layout.refblockEntries))
        try image.createSnapshot(named: "one")
        try image.resize(to: 2 * size, preallocation: .off)
        try image.createSnapshot(named: "two")
        try image.deleteSnapshot("one")
        try device.close()
        let file = try FileStorage.open(path, readOnly: true)
        #expect(file.byteCount < 16 << 20)
        file.close()
        device = try open(path, readOnly: true)
        #expect(try device.bytes(at: size - 4096, count: 4096) == content)
        try device.close()
        let check = try run(["qemu-img", "check", path])
        #expect(check.status == 0, "\(check.output)")
    }
}
