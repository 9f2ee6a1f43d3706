import Testing

@testable import Images

@Suite struct QCOW2RandomTests {
    static let variants: [[String: String]] = [
        [:], ["compat": "0.10"], ["cluster_size": "512"], ["cluster_size": "4k", "refcount_bits": "1"],
        ["cluster_size": "2M"], ["extended_l2": "on"], ["extended_l2": "on", "cluster_size": "16k"],
        ["cluster_size": "512", "refcount_bits": "64"], ["refcount_bits": "8"], ["lazy_refcounts": "on"],
    ]

    @Test(arguments: variants, [false, true])
    func staysEqualToAModelAndPassesQEMUsCheck(options: [String: String], withBacking: Bool) throws {
        let scratch = Scratch()
        var random = SeededRandom(UInt64(options.count) + 7)
        let size = 3 << 20
        let path = scratch.path("disk.qcow2")
        var request = CreateRequest(path: path, size: UInt64(size), options: options)
        var model = DiskModel(bytes: [UInt8](repeating: 0, count: size))
        if withBacking {
            let base = random.bytes(size - 300_000 - 512 * 3)
            try DiskImage.create(scratch.path("base.raw"), format: "raw", size: UInt64(base.count))
            let raw = try open(scratch.path("base.raw"), format: "raw")
            try raw.put(base, at: 0)
            try raw.close()
            model.bytes.replaceSubrange(0..<base.count, with: base)
            request.backing = BackingReference(file: "base.raw", format: "raw")
        }
        try DiskImage.create(request, format: "qcow2")
        for _ in 0..<3 {
            let device = try open(path)
            for _ in 0..<60 { try model.step(device, &random, longest: 200_000) }
            try model.check(device)
            try device.close()
            let check = try run(["qemu-img", "check", path])
            #expect(check.status == 0, "\(options): \(check.output)")
            let ours = try open(path)
            let result = try DiskImage.check(ours, repair: .none, verifyData: true)
            #expect(result.corruptions == 0 && result.leaks == 0, "\(result.findings)")
            try ours.close()
        }
        try run(["qemu-img", "convert", "-O", "raw", path, scratch.path("out.raw")])
        let out = try open(scratch.path("out.raw"), format: "raw", readOnly: true)
        try model.check(out)
    }
}
