import Testing

@testable import Images

@Suite struct SnapshotNameTests {
    @Test func namesThatQEMUCouldNotAskForAgainAreRefused() throws {
        let scratch = Scratch()
        let path = scratch.path("i.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 1 << 20)
        let device = try open(path)
        let image = try #require(device as? QCOW2Image)
        let longest = String(repeating: "n", count: 255)
        #expect(throws: ImageError.self) { try image.createSnapshot(named: longest + "n") }
        try image.createSnapshot(named: longest)
        try device.close()
        #expect(try run(["qemu-img", "snapshot", "-d", longest, path]).status == 0)
        let check = try run(["qemu-img", "check", path])
        #expect(check.status == 0 && !check.output.contains("leaked"), "\(check.output)")
    }
}
