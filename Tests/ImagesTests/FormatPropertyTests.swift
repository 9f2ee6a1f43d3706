import Testing

@testable import Images

/// A format with options; every registered format is in the list at least once with its defaults.
struct FormatVariant: Sendable, CustomTestStringConvertible {
    var format: String
    var options: [String: String] = [:]

    var testDescription: String {
        ([format] + options.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }).joined(separator: " ")
    }

    var capabilities: FormatCapabilities { FormatRegistry.format(named: format)?.capabilities ?? [] }
    /// Whether images of this kind, options and all, can lie on others.
    var canHaveBacking: Bool {
        capabilities.contains(.backing) && options["subformat"]?.hasSuffix("lat") != true
            && options["subformat"] != "fixed" && options["static"] == nil && options["data_file_raw"] == nil
    }
    /// VMDK, VDI, VHD and VHDX only take parents of their own format.
    var liesOnItsOwnKind: Bool { ["vmdk", "vdi", "vpc", "vhdx"].contains(format) }
    /// Whether qemu-img 7.2 has a driver that can read it.
    var isKnownToQEMU: Bool { format != "cow" && options["version"] != "3" }

    static let all: [FormatVariant] =
        FormatRegistry.formats.filter { $0.name != "luks" }.map { FormatVariant(format: $0.name) }
        + [
            FormatVariant(format: "vdi", options: ["static": "on"]),
            FormatVariant(format: "vpc", options: ["subformat": "fixed"]),
            FormatVariant(format: "vpc", options: ["force_size": "on"]),
            FormatVariant(format: "cow", options: ["version": "3"]),
            FormatVariant(format: "vmdk", options: ["subformat": "monolithicFlat"]),
            FormatVariant(format: "vmdk", options: ["subformat": "twoGbMaxExtentSparse", "adapter_type": "lsilogic"]),
            FormatVariant(format: "vmdk", options: ["subformat": "twoGbMaxExtentFlat", "compat6": "on"]),
            FormatVariant(format: "vmdk", options: ["subformat": "streamOptimized"]),
            FormatVariant(format: "vmdk", options: ["zeroed_grain": "on"]),
            FormatVariant(format: "vhdx", options: ["subformat": "fixed"]),
            FormatVariant(format: "vhdx", options: ["block_size": "1M"]),
        ].filter { FormatRegistry.format(named: $0.format) != nil }

    static let creatable = all.filter { $0.capabilities.contains(.create) }
    static let writable = creatable.filter {
        $0.capabilities.contains(.write) && !$0.capabilities.contains(.writeOnce)
            && $0.options["subformat"] != "streamOptimized"
    }
}

@Suite struct FormatPropertyTests {
    @Test(arguments: FormatVariant.writable, [false, true])
    func staysEqualToAModel(variant: FormatVariant, withBacking: Bool) throws {
        // A VDI finds its parent by UUID in its own folder: DifferencingVDITests.
        if withBacking, !variant.canHaveBacking || variant.format == "vdi" { return }
        let scratch = Scratch()
        var random = SeededRandom(11)
        let path = scratch.path("disk.img")
        var request = CreateRequest(path: path, size: 5 << 20, options: variant.options)
        var base: [UInt8] = []
        if withBacking {
            let baseFormat = variant.liesOnItsOwnKind ? variant.format : "raw"
            try DiskImage.create(scratch.path("base.\(baseFormat)"), format: baseFormat, size: 5 << 20)
            let device = try open(scratch.path("base.\(baseFormat)"), format: baseFormat)
            base = random.bytes(3 << 20)
            try device.put(base, at: 700_000)
            try device.close()
            request.backing = BackingReference(file: "base.\(baseFormat)", format: baseFormat)
        }
        try DiskImage.create(request, format: variant.format)
        var model = DiskModel(bytes: [])
        for round in 0..<3 {
            let device = try open(path, format: variant.format)
            if round == 0 {
                model.bytes = [UInt8](repeating: 0, count: Int(device.size))
                if withBacking { model.bytes.replaceSubrange(700_000..<700_000 + base.count, with: base) }
            }
            for _ in 0..<50 { try model.step(device, &random, longest: 150_000) }
            try model.check(device)
            try device.close()
            let again = try open(path, format: variant.format, readOnly: true)
            try model.check(again)
            if variant.capabilities.contains(.check) {
                let result = try DiskImage.check(again, repair: .none, verifyData: true)
                #expect(result.corruptions + result.leaks == 0, "\(result.findings.prefix(4))")
            }
            try again.close()
        }
        // QEMU knows no differencing VHD, VHDX and VDI.
        guard variant.isKnownToQEMU, !(withBacking && ["vpc", "vhdx", "vdi"].contains(variant.format)) else { return }
        let converted = try run([
            "qemu-img", "convert", "-f", variant.format, "-O", "raw", path, scratch.path("out.raw"),
        ])
        #expect(converted.status == 0, "\(converted.output)")
        let out = try open(scratch.path("out.raw"), format: "raw", readOnly: true)
        if Int(out.size) == model.bytes.count {
            try model.check(out)
        } else {
            Issue.record("QEMU sees \(out.size) bytes, we \(model.bytes.count)")
        }
    }

    /// A disk with text, noise, holes and an odd end.
    static func sampleDisk(_ scratch: Scratch) throws -> [UInt8] {
        var random = SeededRandom(21)
        var content = [UInt8](repeating: 0, count: 4_718_592)
        content.replaceSubrange(5000..<305_000, with: random.bytes(300_000))
        for index in 1_000_000..<2_300_000 { content[index] = UInt8(index / 1000 & 0xff) }
        content.replaceSubrange(content.count - 700..<content.count, with: random.bytes(700))
        try DiskImage.create(scratch.path("in.raw"), format: "raw", size: UInt64(content.count))
        let raw = try open(scratch.path("in.raw"), format: "raw")
        try raw.put(content, at: 0)
        try raw.close()
        return content
    }

    @Test(arguments: FormatVariant.creatable, FormatVariant.creatable)
    func convertsThereAndBack(first: FormatVariant, second: FormatVariant) throws {
        let scratch = Scratch()
        let content = try Self.sampleDisk(scratch)
        func convert(_ from: String, _ fromFormat: String, _ to: String, _ variant: FormatVariant) throws {
            var request = ConvertRequest(
                sources: [try open(scratch.path(from), format: fromFormat, readOnly: true)],
                targetPath: scratch.path(to),
                targetFormat: variant.format)
            request.options = variant.options
            try DiskImage.convert(request)
            for source in request.sources { try source.close() }
        }
        try convert("in.raw", "raw", "one.img", first)
        try convert("one.img", first.format, "two.img", second)
        let device = try open(scratch.path("two.img"), format: second.format, readOnly: true)
        #expect(device.size >= UInt64(content.count))
        #expect(try device.bytes(at: 0, count: content.count) == content)
        #expect(
            try device.bytes(at: UInt64(content.count), count: Int(device.size) - content.count).allSatisfy { $0 == 0 })
        try device.close()
    }

    @Test(arguments: FormatVariant.creatable) func qemuReadsWhatConvertWroteAndTheOtherWayRound(variant: FormatVariant)
        throws
    {
        guard variant.isKnownToQEMU else { return }
        let scratch = Scratch()
        let content = try Self.sampleDisk(scratch)
        var request = ConvertRequest(
            sources: [try open(scratch.path("in.raw"), format: "raw", readOnly: true)],
            targetPath: scratch.path("ours.img"),
            targetFormat: variant.format)
        request.options = variant.options
        try DiskImage.convert(request)
        let read = try run([
            "qemu-img", "convert", "-f", variant.format, "-O", "raw", scratch.path("ours.img"),
            scratch.path("back.raw"),
        ])
        #expect(read.status == 0, "\(read.output)")
        let back = try open(scratch.path("back.raw"), format: "raw", readOnly: true)
        #expect(try back.bytes(at: 0, count: content.count) == content)
        // The other way round, where qemu-img can make the format.
        guard variant.format != "cloop" else { return }
        let options = variant.options.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
        let made = try run(
            ["qemu-img", "convert", "-f", "raw", "-O", variant.format] + (options.isEmpty ? [] : ["-o", options])
                + [scratch.path("in.raw"), scratch.path("theirs.img")])
        #expect(made.status == 0, "\(made.output)")
        let theirs = try open(scratch.path("theirs.img"), format: variant.format, readOnly: true)
        #expect(try theirs.bytes(at: 0, count: content.count) == content)
        #expect(
            try DiskImage.probe(scratch.path("theirs.img")) == variant.format || variant.options["subformat"] == "fixed"
        )
        try theirs.close()
    }

    @Test(arguments: FormatVariant.creatable) func damageEndsInAnErrorNotACrash(variant: FormatVariant) throws {
        let scratch = Scratch()
        _ = try Self.sampleDisk(scratch)
        var request = ConvertRequest(
            sources: [try open(scratch.path("in.raw"), format: "raw", readOnly: true)],
            targetPath: scratch.path("good.img"),
            targetFormat: variant.format)
        request.options = variant.options
        try DiskImage.convert(request)
        let file = try FileStorage.open(scratch.path("good.img"), readOnly: true, lock: .none)
        let good = try file.readBytes(at: 0, count: Int(file.byteCount))
        file.close()
        guard let driver = FormatRegistry.format(named: variant.format) else { return }
        var random = SeededRandom(31)
        let reach = min(good.count, 600)
        for round in 0..<200 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...5, using: &random) {
                let end = round % 3 == 0 ? min(good.count, 400_000) : reach
                bytes[Int.random(in: 0..<end, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if round % 5 == 0 { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            let storage = MemoryStorage(path: scratch.path("good.img"), content: bytes, readOnly: true)
            guard let device = try? driver.open(storage: storage, options: OpenOptions()) else { continue }
            let end = min(device.size, 6 << 20)
            var position: UInt64 = 0
            while position < end {
                _ = try? device.bytes(at: position, count: Int(min(1 << 18, end - position)))
                _ = try? device.extent(at: position, limit: end - position)
                position += 1 << 18
            }
            if driver.capabilities.contains(.check) {
                _ = try? DiskImage.check(device, repair: .none, verifyData: true)
            }
        }
    }
}
