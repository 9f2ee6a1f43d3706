import Testing

@testable import Images

@Suite struct QCOW2InteropTests {
    static let options = [
        "", "compat=0.10", "cluster_size=512", "cluster_size=2M", "extended_l2=on", "refcount_bits=1",
    ]

    @Test(arguments: options) func readsWhatQEMUWrote(options: String) throws {
        let scratch = Scratch()
        let path = scratch.path("q.qcow2")
        #expect(
            try run(["qemu-img", "create", "-f", "qcow2"] + (options.isEmpty ? [] : ["-o", options]) + [path, "8M"])
                .status == 0)
        let written = try run([
            "qemu-io", "-c", "write -P 17 3000 70000", "-c", "write -P 34 1M 2M", "-c", "write -z 1500k 100k",
            "-c", "discard 2M 256k", "-c", "write -P 51 8388000 608", path,
        ])
        #expect(written.status == 0)
        try run(["qemu-img", "convert", "-O", "raw", path, scratch.path("q.raw")])
        let ours = try open(path, readOnly: true)
        let raw = try open(scratch.path("q.raw"), format: "raw", readOnly: true)
        #expect(try ours.bytes(at: 0, count: 8 << 20) == raw.bytes(at: 0, count: 8 << 20))
    }

    @Test(arguments: options) func qemuReadsWhatWeWrote(options: String) throws {
        let scratch = Scratch()
        let path = scratch.path("o.qcow2")
        var values: [String: String] = [:]
        for item in options.split(separator: ",") {
            let parts = item.split(separator: "=")
            values[String(parts[0])] = String(parts[1])
        }
        try DiskImage.create(path, format: "qcow2", size: 8 << 20, options: values)
        let device = try open(path)
        try device.put([UInt8](repeating: 17, count: 70000), at: 3000)
        try device.put([UInt8](repeating: 34, count: 2 << 20), at: 1 << 20)
        try device.writeZeroes(at: 1500 << 10, count: 100 << 10, mayUnmap: true)
        try device.close()
        let read = try run([
            "qemu-io", "-c", "read -P 17 3000 70000", "-c", "read -P 34 1M 476k", "-c", "read -P 0 1500k 100k",
            "-c", "read -P 34 1600k 1472k", "-c", "read -P 0 3M 5M", path,
        ])
        #expect(read.status == 0 && !read.output.contains("failed"), "\(read.output)")
        #expect(try run(["qemu-img", "check", path]).status == 0)
    }

    @Test(arguments: ["zlib", "zstd"]) func compressedImagesAgreeBothWays(type: String) throws {
        let scratch = Scratch()
        var random = SeededRandom(5)
        var content = [UInt8](repeating: 0, count: 5_000_192)
        for start in stride(from: 0, to: content.count - 70_000, by: 190_000) {
            let noise = random.bytes(400)
            for index in 0..<60_000 { content[start + index] = noise[index % 400] }
        }
        content.replaceSubrange(1_000_000..<1_200_000, with: random.bytes(200_000))
        try DiskImage.create(scratch.path("in.raw"), format: "raw", size: UInt64(content.count))
        let raw = try open(scratch.path("in.raw"), format: "raw")
        try raw.put(content, at: 0)
        try raw.close()
        var request = ConvertRequest(
            sources: [try open(scratch.path("in.raw"), format: "raw", readOnly: true)],
            targetPath: scratch.path("ours.qcow2"), targetFormat: "qcow2")
        request.isCompressed = true
        request.options = ["compression_type": type]
        try DiskImage.convert(request)
        #expect(try run(["qemu-img", "check", scratch.path("ours.qcow2")]).status == 0)
        let same = try run(["qemu-img", "compare", "-f", "raw", scratch.path("in.raw"), scratch.path("ours.qcow2")])
        #expect(same.status == 0, "\(same.output)")
        try run([
            "qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=\(type)", "-f", "raw",
            scratch.path("in.raw"),
            scratch.path("theirs.qcow2"),
        ])
        for name in ["ours.qcow2", "theirs.qcow2"] {
            let device = try open(scratch.path(name), readOnly: true)
            #expect(try device.bytes(at: 0, count: content.count) == content)
            // Small reads go through the cache of decompressed clusters.
            #expect(try device.bytes(at: 1_000_100, count: 5000) == Array(content[1_000_100..<1_005_100]))
            let result = try DiskImage.check(device, repair: .none, verifyData: true)
            #expect(result.corruptions + result.leaks == 0)
        }
    }

    @Test func chainsResolveFromTheOverlaysFolder() throws {
        let scratch = Scratch()
        try run(["mkdir", scratch.path("sub")])
        try DiskImage.create(scratch.path("base.raw"), format: "raw", size: 1 << 20)
        let base = try open(scratch.path("base.raw"), format: "raw")
        try base.put([1, 2, 3, 4], at: 70_000)
        try base.close()
        try DiskImage.createOverlay(scratch.path("mid.qcow2"), backing: "base.raw", backingFormat: "raw")
        try DiskImage.createOverlay(scratch.path("sub/top.qcow2"), backing: "../mid.qcow2", backingFormat: "qcow2")
        let top = try open(scratch.path("sub/top.qcow2"))
        #expect(DiskImage.chain(of: top).count == 3)
        #expect(try top.bytes(at: 70_000, count: 4) == [1, 2, 3, 4])
        try top.put([9], at: 70_001)
        try top.close()
        let again = try open(scratch.path("sub/top.qcow2"), readOnly: true)
        #expect(try again.bytes(at: 70_000, count: 4) == [1, 9, 3, 4])
        #expect(try run(["qemu-io", "-r", "-c", "read -P 9 70001 1", scratch.path("sub/top.qcow2")]).status == 0)
    }
}

@Suite struct LockTests {
    @Test func twoWritersOfOneImageAreRefused() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("a.qcow2"), format: "qcow2", size: 1 << 20)
        let first = try open(scratch.path("a.qcow2"))
        let second = #expect(throws: ImageError.self) { try open(scratch.path("a.qcow2")) }
        #expect(second?.kind == .locked)
        let reader = #expect(throws: ImageError.self) { try open(scratch.path("a.qcow2"), readOnly: true) }
        #expect(reader?.kind == .locked)
        let forced = try DiskImage.open(scratch.path("a.qcow2"), options: OpenOptions(lock: .forceShare))
        try forced.close()
        try first.close()
        try open(scratch.path("a.qcow2")).close()
    }

    @Test func readersShareAnImage() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("a.raw"), format: "raw", size: 1 << 20)
        let one = try open(scratch.path("a.raw"), readOnly: true)
        let two = try open(scratch.path("a.raw"), readOnly: true)
        #expect(throws: ImageError.self) { try open(scratch.path("a.raw")) }
        try one.close()
        try two.close()
    }

    @Test func qemuSeesOurLockAndWeSeeQEMUs() throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 1 << 20)
        let ours = try open(path)
        let refused = try run(["qemu-img", "info", path])
        #expect(refused.status == 1 && refused.output.contains("Failed to get shared \"write\" lock"))
        #expect(try run(["qemu-img", "info", "-U", path]).status == 0)
        try ours.close()
        // qemu-io holds the image while its shell command runs, during which we try.
        let probe = try run([
            "bash", "-c",
            "coproc Q { qemu-io '\(path)'; }; echo 'read 0 512' >&${Q[1]}; read -t 20 -u ${Q[0]} line; "
                + "flock -n /dev/null true; python3 - '\(path)' <<'E'\nimport fcntl,struct,sys,os\nf=os.open(sys.argv[1],os.O_RDWR)\n"
                + "r=fcntl.fcntl(f,36,struct.pack('hhqqi4x',1,0,101,1,0))\nprint('held' if struct.unpack('hhqqi4x',r)[0]!=2 else 'free')\nE\n"
                + "echo quit >&${Q[1]}; wait",
        ])
        #expect(probe.output.contains("held"), "\(probe.output)")
    }
}
