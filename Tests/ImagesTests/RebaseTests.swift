import Testing

@testable import Images

/// Safe rebase: what the disk shows stays, whatever the lengths of the old and the new backing file.
@Suite struct RebaseTests {
    static let options: [[String: String]] = [
        [:], ["compat": "0.10"], ["cluster_size": "512"], ["cluster_size": "2M"],
        ["extended_l2": "on", "cluster_size": "128k"],
    ]

    /// A raw file of `bytes` bytes that holds `pattern` everywhere.
    private func makeRaw(_ path: String, _ bytes: UInt64, pattern: UInt8) throws {
        try DiskImage.create(path, format: "raw", size: bytes)
        let device = try open(path, format: "raw")
        try device.put([UInt8](repeating: pattern, count: Int(bytes)), at: 0)
        try device.close()
    }

    @Test(arguments: options, [nil, "short.raw", "long.raw"] as [String?])
    func zerosBehindAShortBackingFileStayZeros(options: [String: String], old: String?) throws {
        let scratch = Scratch()
        try makeRaw(scratch.path("short.raw"), 300 << 10, pattern: 1)
        try makeRaw(scratch.path("long.raw"), 3 << 20, pattern: 2)
        let path = scratch.path("top.qcow2")
        var request = CreateRequest(path: path, size: (2 << 20) + 512, options: options)
        request.backing = old.map { BackingReference(file: $0, format: "raw") }
        try DiskImage.create(request, format: "qcow2")
        var device = try open(path)
        try device.put([UInt8](repeating: 7, count: 5000), at: 1_000_000)
        let expected = try device.bytes(at: 0, count: Int(device.size))
        try device.close()
        for new in ["long.raw", "short.raw", "long.raw", nil] {
            let reference = new.map { BackingReference(file: $0, format: "raw") }
            try DiskImage.rebase(path, format: nil, to: reference, unsafe: false)
            device = try open(path, readOnly: true)
            #expect(firstDifference(try device.bytes(at: 0, count: Int(device.size)), expected) == nil)
            try device.close()
        }
        #expect(try run(["qemu-img", "check", path]).status == 0)
    }
}
