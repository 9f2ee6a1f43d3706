import Foundation
import Testing

@testable import Images

@Suite struct SnapshotTests {
    @Test(arguments: [[:], ["cluster_size": "4096", "refcount_bits": "8"], ["extended_l2": "on"], ["compat": "0.10"]])
    func randomSequenceOfSnapshotsStaysEqualToAModel(options: [String: String]) throws {
        let scratch = Scratch()
        var random = SeededRandom(77)
        let path = scratch.path("s.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 2 << 20, options: options)
        var model = DiskModel(bytes: [UInt8](repeating: 0, count: 2 << 20))
        var kept: [String: [UInt8]] = [:]
        for round in 0..<14 {
            let device = try open(path)
            for _ in 0..<12 { try model.step(device, &random, longest: 60_000) }
            let capable = try #require(device as? any SnapshotCapable)
            let names = kept.keys.sorted()
            switch Int.random(in: 0..<4, using: &random) {
            case 2 where !names.isEmpty:
                let name = try #require(names.randomElement(using: &random))
                try capable.applySnapshot(name)
                model.bytes = kept[name] ?? []
            case 3 where !names.isEmpty:
                let name = try #require(names.randomElement(using: &random))
                try capable.deleteSnapshot(name)
                kept[name] = nil
            default:
                try capable.createSnapshot(named: "round\(round)")
                kept["round\(round)"] = model.bytes
            }
            for _ in 0..<5 { try model.step(device, &random, longest: 60_000) }
            try model.check(device)
            try device.close()
            let check = try run(["qemu-img", "check", path])
            #expect(check.status == 0, "\(check.output)")
        }
        for (name, bytes) in kept {
            let device = try open(path, readOnly: true)
            try DiskImage.loadSnapshot(name, of: device)
            #expect(try device.bytes(at: 0, count: bytes.count) == bytes)
            try device.close()
        }
        let listed = try run(["qemu-img", "snapshot", "-l", path])
        for name in kept.keys { #expect(listed.output.contains(name)) }
    }
}

@Suite struct ChainOperationTests {
    /// base.raw <- mid.qcow2 <- top.qcow2 with random content in each; returns what the top shows.
    static func makeChain(_ scratch: Scratch) throws -> [UInt8] {
        var random = SeededRandom(5)
        try DiskImage.create(scratch.path("base.raw"), format: "raw", size: 3 << 20)
        var model = DiskModel(bytes: [UInt8](repeating: 0, count: 3 << 20))
        let base = try open(scratch.path("base.raw"), format: "raw")
        for _ in 0..<30 { try model.step(base, &random, longest: 200_000) }
        try base.close()
        try DiskImage.createOverlay(scratch.path("mid.qcow2"), backing: "base.raw", backingFormat: "raw")
        let mid = try open(scratch.path("mid.qcow2"))
        for _ in 0..<20 { try model.step(mid, &random, longest: 100_000) }
        try mid.close()
        try DiskImage.createOverlay(scratch.path("top.qcow2"), backing: "mid.qcow2", backingFormat: "qcow2")
        let top = try open(scratch.path("top.qcow2"))
        for _ in 0..<20 { try model.step(top, &random, longest: 100_000) }
        try top.close()
        return model.bytes
    }

    private func content(_ path: String, format: String? = nil) throws -> [UInt8] {
        let device = try open(path, format: format, readOnly: true)
        defer { try? device.close() }
        return try device.bytes(at: 0, count: Int(device.size))
    }

    @Test func commitMovesTheOverlayIntoItsBackingFile() throws {
        let scratch = Scratch()
        let expected = try Self.makeChain(scratch)
        try DiskImage.commit(scratch.path("top.qcow2"), format: nil, keepTop: false)
        #expect(try content(scratch.path("mid.qcow2")) == expected)
        #expect(try content(scratch.path("top.qcow2")) == expected)
        for name in ["mid.qcow2", "top.qcow2"] {
            #expect(try run(["qemu-img", "check", scratch.path(name)]).status == 0)
        }
        try DiskImage.commit(scratch.path("top.qcow2"), format: nil, baseName: "base.raw", keepTop: true)
        #expect(try content(scratch.path("base.raw"), format: "raw") == expected)
    }

    @Test func rebaseKeepsWhatTheDiskShows() throws {
        let scratch = Scratch()
        let expected = try Self.makeChain(scratch)
        let top = scratch.path("top.qcow2")
        try DiskImage.rebase(top, format: nil, to: BackingReference(file: "base.raw", format: "raw"), unsafe: false)
        #expect(try content(top) == expected)
        let compare = try run(["qemu-img", "info", top])
        #expect(compare.output.contains("backing file: base.raw"))
        try DiskImage.rebase(top, format: nil, to: nil, unsafe: false)
        #expect(try content(top) == expected)
        #expect(try run(["qemu-img", "check", top]).status == 0)
        #expect(throws: ImageError.self) {
            try DiskImage.rebase(top, format: nil, to: BackingReference(file: "gone", format: "raw"), unsafe: false)
        }
    }

    @Test func mapAgreesWithQEMU() throws {
        let scratch = Scratch()
        _ = try Self.makeChain(scratch)
        let device = try open(scratch.path("top.qcow2"), readOnly: true)
        let ours = try DiskImage.map(device)
        try device.close()
        let theirs = try run(["qemu-img", "map", "--output=json", scratch.path("top.qcow2")]).output
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(theirs.utf8)) as? [[String: Any]])
        #expect(parsed.count == ours.count)
        for (their, our) in zip(parsed, ours) {
            #expect(their["start"] as? UInt64 == our.start && their["length"] as? UInt64 == our.length)
            #expect(their["depth"] as? Int == our.depth && their["zero"] as? Bool == our.isZero)
            #expect(their["data"] as? Bool == our.isData && their["offset"] as? UInt64 == our.hostOffset)
        }
    }

    @Test func growingAndShrinkingKeepsTheRestAndReadsZeros() throws {
        let scratch = Scratch()
        var random = SeededRandom(9)
        let path = scratch.path("r.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 1 << 20, options: ["cluster_size": "4096"])
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        for step in 0..<12 {
            let device = try open(path)
            let data = random.bytes(100_000)
            let at = Int.random(in: 0...bytes.count - data.count, using: &random)
            try device.put(data, at: UInt64(at))
            bytes.replaceSubrange(at..<at + data.count, with: data)
            let size = Int.random(in: 300...6000, using: &random) * 512
            try device.resize(to: UInt64(size), preallocation: step % 3 == 0 && size > bytes.count ? .metadata : .off)
            if size < bytes.count {
                bytes.removeLast(bytes.count - size)
            } else {
                bytes += [UInt8](repeating: 0, count: size - bytes.count)
            }
            #expect(try device.bytes(at: 0, count: bytes.count) == bytes)
            try device.close()
            let check = try run(["qemu-img", "check", path])
            #expect(check.status == 0, "\(check.output)")
        }
    }

    @Test func compareTellsWhereDisksDiffer() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("a.raw"), format: "raw", size: 1 << 20)
        try DiskImage.create(scratch.path("b.qcow2"), format: "qcow2", size: 2 << 20)
        let (a, b) = (try open(scratch.path("a.raw"), format: "raw"), try open(scratch.path("b.qcow2")))
        #expect(try DiskImage.compare(a, b, strict: false) == .identicalButSizes)
        #expect(try DiskImage.compare(a, b, strict: true) == .sizeDiffers)
        try b.put([1], at: 700_001)
        #expect(try DiskImage.compare(a, b, strict: false) == .contentDiffers(at: 699_904))
    }
}

@Suite struct EncryptionTests {
    @Test(arguments: [("qcow2", "aes"), ("qcow2", "luks"), ("qcow", "aes"), ("luks", "")])
    func qemuReadsWhatWeEncrypted(format: String, method: String) throws {
        let scratch = Scratch()
        let content = try FormatPropertyTests.sampleDisk(scratch)
        var request = ConvertRequest(
            sources: [try open(scratch.path("in.raw"), format: "raw", readOnly: true)],
            targetPath: scratch.path("e.img"),
            targetFormat: format)
        request.secrets = ["s": Array("secret".utf8)]
        request.options =
            format == "luks"
            ? ["key-secret": "s", "iter-time": "10"] : ["encrypt.format": method, "encrypt.key-secret": "s"]
        if method == "luks" { request.options["encrypt.iter-time"] = "10" }
        try DiskImage.convert(request)
        for source in request.sources { try source.close() }
        let key = format == "luks" ? "key-secret=s" : "encrypt.key-secret=s"
        let same = try run([
            "qemu-img", "compare", "--object", "secret,id=s,data=secret", "--image-opts",
            "driver=raw,file.filename=\(scratch.path("in.raw"))",
            "driver=\(format),file.filename=\(scratch.path("e.img")),\(key)",
        ])
        #expect(same.status == 0, "\(same.output)")
        // Unaligned writes in place keep the neighbours.
        var options = OpenOptions(format: format, readOnly: false)
        options.secrets = request.secrets
        let device = try DiskImage.open(scratch.path("e.img"), options: options)
        try device.put([1, 2, 3], at: 6001)
        var expected = content
        expected.replaceSubrange(6001..<6004, with: [1, 2, 3])
        #expect(try device.bytes(at: 0, count: expected.count) == expected)
        try device.close()
        options.secrets = [:]
        let refused = #expect(throws: ImageError.self) { try DiskImage.open(scratch.path("e.img"), options: options) }
        #expect(refused?.kind == .permission)
    }
}

@Suite struct ConvertSafetyTests {
    @Test func aFailedConvertLeavesNoTargetAndTheOldFile() throws {
        let scratch = Scratch()
        _ = try FormatPropertyTests.sampleDisk(scratch)
        try "old".write(toFile: scratch.path("t.qcow2"), atomically: true, encoding: .utf8)
        var request = ConvertRequest(
            sources: [try open(scratch.path("in.raw"), format: "raw", readOnly: true)],
            targetPath: scratch.path("t.qcow2"),
            targetFormat: "qcow2")
        request.isCancelled = { true }
        #expect(throws: ImageError.self) { try DiskImage.convert(request) }
        #expect(try String(contentsOfFile: scratch.path("t.qcow2"), encoding: .utf8) == "old")
        #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.folder).sorted() == ["in.raw", "t.qcow2"])
    }

    /// A format of several files too leaves none of them behind.
    @Test(arguments: ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
    func aFailedConvertIntoSeveralFilesLeavesNone(subformat: String) throws {
        let scratch = Scratch()
        _ = try FormatPropertyTests.sampleDisk(scratch)
        var request = ConvertRequest(
            sources: [try open(scratch.path("in.raw"), format: "raw", readOnly: true)],
            targetPath: scratch.path("t.vmdk"), targetFormat: "vmdk")
        request.options = ["subformat": subformat]
        request.isCancelled = { true }
        #expect(throws: ImageError.self) { try DiskImage.convert(request) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.folder) == ["in.raw"])
        request.isCancelled = nil
        try DiskImage.convert(request)
        #expect(try run(["qemu-img", "compare", scratch.path("in.raw"), scratch.path("t.vmdk")]).status == 0)
    }

    /// What a killed convert has left goes with the next one; the work of a living one does not.
    @Test func theLeftoverOfAKilledConvertIsRemoved() throws {
        let scratch = Scratch()
        _ = try FormatPropertyTests.sampleDisk(scratch)
        try "half".write(toFile: scratch.path(".t.qcow2.999999.partial"), atomically: false, encoding: .utf8)
        try "other".write(toFile: scratch.path(".u.qcow2.999999.partial"), atomically: false, encoding: .utf8)
        try FileManager.default.createDirectory(
            atPath: scratch.path(".t.qcow2.999998.partial"), withIntermediateDirectories: false)
        try "half".write(toFile: scratch.path(".t.qcow2.999998.partial/x"), atomically: false, encoding: .utf8)
        let alive = scratch.path(".t.qcow2.999997.partial")
        try "half".write(toFile: alive, atomically: false, encoding: .utf8)
        let descriptor = Glibc.open(alive, O_RDONLY)
        #expect(flock(descriptor, LOCK_EX) == 0)
        defer { close(descriptor) }
        try DiskImage.convert(
            ConvertRequest(
                sources: [try open(scratch.path("in.raw"), format: "raw", readOnly: true)],
                targetPath: scratch.path("t.qcow2"), targetFormat: "qcow2"))
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: scratch.folder).sorted()
                == [".t.qcow2.999997.partial", ".u.qcow2.999999.partial", "in.raw", "t.qcow2"])
    }

    /// `-c` into a VMDK without compressed grains stores plain ones.
    @Test func compressingIntoASparseVMDKGivesOneThatQEMUReads() throws {
        let scratch = Scratch()
        _ = try FormatPropertyTests.sampleDisk(scratch)
        var request = ConvertRequest(
            sources: [try open(scratch.path("in.raw"), format: "raw", readOnly: true)],
            targetPath: scratch.path("t.vmdk"), targetFormat: "vmdk")
        request.isCompressed = true
        try DiskImage.convert(request)
        #expect(try run(["qemu-img", "compare", scratch.path("in.raw"), scratch.path("t.vmdk")]).status == 0)
    }

    @Test func aDescriptorCannotNameFilesElsewhere() throws {
        let scratch = Scratch()
        let text =
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/os-release\" 0\n"
        try text.write(toFile: scratch.path("evil.vmdk"), atomically: true, encoding: .utf8)
        let error = #expect(throws: ImageError.self) { try open(scratch.path("evil.vmdk"), readOnly: true) }
        #expect(error?.kind == .permission)
    }

    @Test func aWriterKilledAtRandomLeavesAGoodImage() throws {
        let scratch = Scratch()
        let path = scratch.path("k.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 64 << 20, options: ["cluster_size": "4096"])
        // qemu-io cannot drive our writer, so the stream of one is cut in CrashTests; here a copy is taken while it works.
        let device = try open(path)
        var random = SeededRandom(8)
        for step in 0..<40 {
            try device.put(random.bytes(30_000), at: UInt64(Int.random(in: 0..<60 << 20, using: &random)))
            if step % 7 == 3 { try device.flush() }
            let copy = scratch.path("copy.qcow2")
            try run(["cp", path, copy])
            let check = try run(["qemu-img", "check", copy])
            #expect(check.status == 0 || check.status == 3, "\(check.output)")
        }
        try device.close()
    }
}

@Suite struct DocumentationTests {
    @Test func theFormatTableIsWhatTheRegistrySays() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("docs/FORMATS.md")
        let text = try String(contentsOf: path, encoding: .utf8)
        #expect(
            text.contains(FormatRegistry.capabilityTable()),
            "docs/FORMATS.md must hold:\n\(FormatRegistry.capabilityTable())")
    }
}
