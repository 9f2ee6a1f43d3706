import Testing

@testable import Images

/// Disks that become longer or shorter, where more than their own clusters tells what they hold.
@Suite struct ResizeTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var options: [String: String]
        var preallocation: Preallocation
        /// Of the raw file below.
        var backingBytes: UInt64
        var testDescription: String { "\(options) \(preallocation) over \(backingBytes)" }
    }

    /// The old end lies within a cluster and within a subcluster.
    private static let oldBytes: UInt64 = 515_072
    private static let newBytes: UInt64 = 2 << 20

    static let cases: [Case] = {
        let variants: [[String: String]] = [[:], ["extended_l2": "on"], ["compat": "0.10"]]
        let backings: [UInt64] = [300_032, oldBytes, 1 << 20]
        var cases: [Case] = []
        for options in variants {
            for preallocation in Preallocation.allCases {
                for bytes in backings {
                    cases.append(Case(options: options, preallocation: preallocation, backingBytes: bytes))
                }
            }
        }
        return cases
    }()

    @Test(arguments: cases) func aGrownOverlayHidesNothingAndShowsNothingNew(_ test: Case) throws {
        let scratch = Scratch()
        let (base, path) = (scratch.path("base.raw"), scratch.path("top.qcow2"))
        try DiskImage.create(base, format: "raw", size: test.backingBytes)
        let raw = try open(base, format: "raw")
        try raw.put([UInt8](repeating: 97, count: Int(test.backingBytes)), at: 0)
        try raw.close()
        var request = CreateRequest(path: path, size: Self.oldBytes, options: test.options)
        request.backing = BackingReference(file: base, format: "raw")
        try DiskImage.create(request, format: "qcow2")
        let device = try open(path)
        try device.resize(to: Self.newBytes, preallocation: test.preallocation)
        try device.close()
        let below = Int(min(test.backingBytes, Self.oldBytes))
        let wanted = [UInt8](repeating: 97, count: below) + [UInt8](repeating: 0, count: Int(Self.newBytes) - below)
        let again = try open(path, readOnly: true)
        #expect(firstDifference(try again.bytes(at: 0, count: Int(Self.newBytes)), wanted) == nil)
        try again.close()
        #expect(try run(["qemu-img", "check", path]).status == 0)
        try DiskImage.create(scratch.path("wanted.raw"), format: "raw", size: Self.newBytes)
        let model = try open(scratch.path("wanted.raw"), format: "raw")
        try model.put(wanted, at: 0)
        try model.close()
        let compared = try run(["qemu-img", "compare", "-F", "raw", path, scratch.path("wanted.raw")])
        #expect(compared.status == 0, "\(compared.output)")
    }

    @Test(arguments: [["compat": "0.10"], [:], ["extended_l2": "on"]])
    func anEncryptedDiskThatGrowsIntoSetAsideSpaceReadsZeros(options: [String: String]) throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        let method = ["encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": "1"]
        var request = CreateRequest(path: path, size: 1 << 20, options: options.merging(method) { $1 })
        request.secrets = ["s": Array("geheim".utf8)]
        try DiskImage.create(request, format: "qcow2")
        var opening = OpenOptions(readOnly: false)
        opening.secrets = request.secrets
        var device = try DiskImage.open(path, options: opening)
        guard options["compat"] == nil else {
            // Version 2 cannot mark a cluster as zeros.
            try device.resize(to: 2 << 20, preallocation: .off)
            return try device.close()
        }
        try device.resize(to: 2 << 20, preallocation: .metadata)
        try device.close()
        device = try DiskImage.open(path, options: opening)
        #expect(firstDifference(try device.bytes(at: 0, count: 2 << 20), [UInt8](repeating: 0, count: 2 << 20)) == nil)
        try device.put([7], at: 1_500_000)
        #expect(try device.bytes(at: 1_499_999, count: 3) == [0, 7, 0])
        try device.close()
        let check = try run([
            "qemu-img", "check", "--object", "secret,id=s,data=geheim", "--image-opts",
            "driver=qcow2,file.filename=\(path),encrypt.key-secret=s",
        ])
        #expect(check.status == 0, "\(check.output)")
    }

    /// The entries of version 2 need not say how large the disk was.
    @Test(arguments: [1 << 20, 4 << 20] as [UInt64]) func aVersion2DiskWithSnapshotsKeepsItsSize(size: UInt64) throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 2 << 20, options: ["compat": "0.10"])
        let device = try open(path)
        try (device as? any SnapshotCapable)?.createSnapshot(named: "s")
        let error = #expect(throws: ImageError.self) { try device.resize(to: size, preallocation: .off) }
        #expect(error?.kind == .unsupported)
        #expect(device.size == 2 << 20)
        try (device as? any SnapshotCapable)?.deleteSnapshot("s")
        try device.resize(to: size, preallocation: .off)
        try device.close()
        #expect(try run(["qemu-img", "check", path]).status == 0)
    }
}
