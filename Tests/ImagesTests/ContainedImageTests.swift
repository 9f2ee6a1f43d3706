import Foundation
import Synchronization
import Testing

@testable import Images

/// Images inside compressed files: a disk of noise and holes, in every format, packed by the tools.
private struct PackedImage {
    let scratch = Scratch()
    let bytes: [UInt8]

    init() throws {
        var random = SeededRandom(61)
        var disk = [UInt8](repeating: 0, count: 6 << 20)
        disk.replaceSubrange(70_000..<400_000, with: random.bytes(330_000))
        disk.replaceSubrange(5_000_000..<5_003_000, with: random.bytes(3000))
        bytes = disk
        try Data(disk).write(to: URL(fileURLWithPath: scratch.path("raw")))
    }

    /// Makes `name` in a format, and `name` with the extension that `tool` gives; returns the latter's path.
    func pack(_ format: String, _ options: [String: String] = [:], as name: String, _ command: String) throws -> String
    {
        var request = ConvertRequest(
            sources: [try open(scratch.path("raw"), format: "raw", readOnly: true)],
            targetPath: scratch.path(name), targetFormat: format)
        request.options = options
        try DiskImage.convert(request)
        return try pack(name, command)
    }

    func pack(_ name: String, _ command: String) throws -> String {
        let ending = ["gzip": "gz", "xz": "xz", "zstd": "zst"][String(command.prefix { $0 != " " })] ?? ""
        let result = try run(["sh", "-c", "\(command) -c \(name) > \(name).\(ending)"], in: scratch.folder)
        #expect(result.status == 0, "\(result.output)")
        return scratch.path("\(name).\(ending)")
    }
}

@Suite struct ContainedImageTests {
    static let formats: [(String, [String: String])] = [
        ("qcow2", [:]), ("qcow", [:]), ("vdi", [:]), ("vmdk", ["subformat": "streamOptimized"]), ("vmdk", [:]),
        ("vhdx", [:]), ("vpc", ["force_size": "on"]), ("parallels", [:]), ("cloop", [:]), ("raw", [:]),
    ]

    @Test(arguments: ["gzip -1", "xz -0", "zstd -q -1"], formats.indices)
    func theImageInsideIsOpened(command: String, index: Int) throws {
        let packed = try PackedImage()
        let (format, options) = Self.formats[index]
        let path = try packed.pack(format, options, as: "disk", command)
        let device = try open(path, readOnly: true)
        defer { try? device.close() }
        try DiskModel(bytes: packed.bytes).check(device)
        #expect(device.summary.isCompressed)
        let inside = device.formatDetails?.fields.first { $0.name == "disk-format" }?.value
        #expect(inside == (format == "raw" ? nil : .string(format)))
        let result = try DiskImage.check(device, repair: .none, verifyData: true)
        #expect(result.corruptions == 0, "\(result.findings)")
        #expect(result.scope?.contains("layer") == true)
    }

    @Test func aCheckSaysWhatItLookedAt() throws {
        let packed = try PackedImage()
        let raw = try open(try packed.pack("raw", "gzip"), readOnly: true)
        #expect(
            try DiskImage.check(raw, repair: .none, verifyData: false).scope?.contains("the gzip layer only") == true)
        let image = try open(try packed.pack("qcow2", as: "d", "xz -0"), readOnly: true)
        let scope = try DiskImage.check(image, repair: .none, verifyData: false).scope
        #expect(scope?.contains("the xz layer and the qcow2") == true)
    }

    @Test func aFixedVHDIsKnownByItsName() throws {
        let packed = try PackedImage()
        let options = ["subformat": "fixed", "force_size": "on"]
        let named = try open(try packed.pack("vpc", options, as: "disk.vhd", "xz -0"), readOnly: true)
        #expect(named.size == UInt64(packed.bytes.count))
        try DiskModel(bytes: packed.bytes).check(named)
    }

    @Test func anImageThatNeedsAnotherFileIsRefusedByBothNames() throws {
        let packed = try PackedImage()
        var request = CreateRequest(path: packed.scratch.path("over"), size: 6 << 20)
        request.backing = BackingReference(file: "raw", format: "raw")
        try DiskImage.create(request, format: "qcow2")
        let over = try packed.pack("over", "gzip")
        let backed = #expect(throws: ImageError.self) { _ = try open(over, readOnly: true) }
        #expect(backed?.kind == .unsupported)
        for word in ["qcow2", "gz", "'raw'"] { #expect(backed?.message.contains(word) == true) }
        let flat = try packed.pack("vmdk", ["subformat": "monolithicFlat"], as: "f.vmdk", "xz")
        let error = #expect(throws: ImageError.self) { _ = try open(flat, readOnly: true) }
        #expect(error?.kind == .unsupported)
        #expect(error?.message.contains("f-flat.vmdk") == true)
    }

    @Test func containersEndWhereTheyRepeat() throws {
        let packed = try PackedImage()
        _ = try packed.pack("raw", "gzip")
        _ = try packed.pack("raw.gz", "xz")
        let mixed = try open(packed.scratch.path("raw.gz.xz"), readOnly: true)
        try DiskModel(bytes: packed.bytes).check(mixed)
        let twice = try packed.pack("raw.gz.xz", "gzip")
        let error = #expect(throws: ImageError.self) { _ = try open(twice, readOnly: true) }
        #expect(error?.kind == .unsupported)
    }

    @Test func aSnapshotOfTheImageInsideIsRead() throws {
        let packed = try PackedImage()
        _ = try packed.pack("qcow2", as: "s", "gzip")
        let device = try open(packed.scratch.path("s"))
        try (device as? any SnapshotCapable)?.createSnapshot(named: "before")
        try device.put([UInt8](repeating: 1, count: 100_000), at: 100_000)
        try device.close()
        let inside = try open(try packed.pack("s", "gzip"), readOnly: true)
        try DiskImage.loadSnapshot("before", of: inside)
        try DiskModel(bytes: packed.bytes).check(inside)
    }

    @Test func aDiskOfAnApplianceMayBeCompressed() throws {
        let packed = try PackedImage()
        _ = try packed.pack("vmdk", ["subformat": "streamOptimized"], as: "disk.vmdk", "gzip")
        let descriptor = """
            <Envelope><References><File id="f" href="disk.vmdk.gz" compression="gzip"/></References>
            <DiskSection><Disk diskId="d" fileRef="f"/></DiskSection></Envelope>
            """
        try Data(descriptor.utf8).write(to: URL(fileURLWithPath: packed.scratch.path("vm.ovf")))
        try run(["tar", "-cf", "vm.ova", "vm.ovf", "disk.vmdk.gz"], in: packed.scratch.folder)
        let device = try open(packed.scratch.path("vm.ova"), readOnly: true)
        try DiskModel(bytes: packed.bytes).check(device)
    }

    @Test(arguments: ["gzip -1 < raw > f", "zstd -q < raw > f"])
    func decodingForTheLengthAloneIsTold(command: String) throws {
        let packed = try PackedImage()
        try run(["sh", "-c", command], in: packed.scratch.folder)
        let told = Mutex<[(UInt64, UInt64)]>([])
        var options = OpenOptions()
        options.measuring = { done, total in told.withLock { $0.append((done, total)) } }
        let device = try DiskImage.open(packed.scratch.path("f"), options: options)
        let reports = told.withLock { $0 }
        #expect(reports.count >= Int(device.size >> 20))
        #expect(reports.allSatisfy { $0.0 <= $0.1 })
        #expect(zip(reports, reports.dropFirst()).allSatisfy { $0.0.0 <= $0.1.0 })
        #expect(throws: ImageError.self) {
            try CompressedLimits.checkMeasured(CompressedLimits.measuredBytes + 1, format: "gz", path: "f")
        }
    }

    @Test func damageToWhatIsInsideEndsInAnErrorNotACrash() throws {
        let packed = try PackedImage()
        var random = SeededRandom(62)
        for (format, options) in Self.formats where format != "raw" {
            let path = try packed.pack(format, options, as: "x", "gzip")
            let good = [UInt8](try Data(contentsOf: URL(fileURLWithPath: packed.scratch.path("x"))))
            for _ in 0..<8 {
                var file = good
                for _ in 0..<3 {
                    file[Int.random(in: 8..<4096, using: &random) % file.count] = UInt8(
                        truncatingIfNeeded: random.next())
                }
                try Data(file).write(to: URL(fileURLWithPath: packed.scratch.path("x")))
                _ = try packed.pack("x", "gzip")
                guard let device = try? open(path, readOnly: true) else { continue }
                _ = try? device.bytes(at: 0, count: Int(min(device.size, 1 << 20)))
                _ = try? DiskImage.check(device, repair: .none, verifyData: true)
            }
        }
    }
}

@Suite struct FixedVHDHintTests {
    /// A fixed VHD, and one whose footer has one byte changed.
    @Test func onlyAValidFooterAtTheEndMakesARawDiskLookLikeAFixedVHD() throws {
        let scratch = Scratch()
        try DiskImage.create(
            scratch.path("f"), format: "vpc", size: 1 << 20, options: ["subformat": "fixed", "force_size": "on"])
        let good = [UInt8](try Data(contentsOf: URL(fileURLWithPath: scratch.path("f"))))
        func looks(_ bytes: [UInt8]) throws -> Bool {
            try Data(bytes).write(to: URL(fileURLWithPath: scratch.path("g")))
            let device = try open(scratch.path("g"), readOnly: true)
            defer { try? device.close() }
            #expect(device.formatName == "raw")
            return DiskImage.looksLikeFixedVHD(device)
        }
        #expect(try looks(good))
        for place in [0, 50, 63, 66, 100] {
            var bad = good
            bad[bad.count - 512 + place] ^= 1
            #expect(try !looks(bad))
        }
        #expect(try !looks([UInt8](repeating: 0, count: 512) + good))
        #expect(try !looks(Array(good.dropLast(512))))
        let error = #expect(throws: ImageError.self) {
            var request = CreateRequest(path: scratch.path("o"), size: 0)
            try DiskImage.prepareBacking(
                &request, file: scratch.path("f"), format: nil, size: nil, opensBacking: true, warn: { _ in })
        }
        #expect(error?.message.contains("-F vpc") == true)
    }
}
