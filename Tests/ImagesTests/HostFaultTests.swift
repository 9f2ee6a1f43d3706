import Glibc
import Testing

@testable import Images

/// Fault runs in SQLite's manner: the n-th open, write, resize, allocation, rename or sync of an operation fails, for
/// every n. Whatever the operation then says, each sector of every disk is the old one or the new one, images are
/// consistent, and nothing half done lies about.
@Suite struct HostFaultTests {
    /// One operation on images in a folder.
    struct Operation: Sendable, CustomTestStringConvertible {
        var name: String
        /// Images whose disks are looked at, by file name; one that is not there has no sectors.
        var images: [String]
        var prepare: @Sendable (Scratch) throws -> Void
        var run: @Sendable (Scratch) throws -> Void
        var testDescription: String { name }
    }

    static func fill(_ scratch: Scratch, _ name: String, _ format: String, backing: String? = nil) throws {
        let path = scratch.path(name)
        if let backing {
            try DiskImage.createOverlay(path, backing: backing, backingFormat: "qcow2", format: format)
        } else {
            try DiskImage.create(path, format: format, size: 2 << 20)
        }
        let device = try open(path, format: format)
        var random = SeededRandom(UInt64(name.utf8.count))
        for offset in [0, 300_000, 1_000_000, 1_900_000] {
            try device.put(random.bytes(70_000), at: UInt64(offset + 512 * name.utf8.count))
        }
        try device.close()
    }

    static func change(_ device: any BlockDevice) throws {
        var random = SeededRandom(3)
        // Whole sectors: what fails half way tears no sector apart.
        try device.put(random.bytes(391 * 512), at: 488 * 512)
        try device.writeZeroes(at: 1953 * 512, count: 293 * 512, mayUnmap: true)
        try device.flush()
        try device.put(random.bytes(10 * 512), at: 2930 * 512)
        try device.close()
    }

    private static func writing(_ format: String) -> Operation {
        Operation(
            name: "write \(format)", images: ["a.\(format)"],
            prepare: { try fill($0, "a.\(format)", format) },
            run: { try change(try open($0.path("a.\(format)"), format: format)) })
    }

    private static func converting(_ format: String, compressed: Bool = false, over: Bool = false) -> Operation {
        Operation(
            name: "convert to \(format)\(compressed ? " -c" : "")\(over ? " over an image" : "")",
            images: ["src.qcow2", "out.\(format)"],
            prepare: {
                try fill($0, "src.qcow2", "qcow2")
                if over { try fill($0, "out.\(format)", format) }
            },
            run: { scratch in
                var request = ConvertRequest(
                    sources: [try open(scratch.path("src.qcow2"), readOnly: true)],
                    targetPath: scratch.path("out.\(format)"), targetFormat: format)
                request.isCompressed = compressed
                defer { for source in request.sources { try? source.close() } }
                try DiskImage.convert(request)
            })
    }

    static func chain(_ scratch: Scratch) throws {
        try fill(scratch, "base.qcow2", "qcow2")
        try fill(scratch, "middle.qcow2", "qcow2", backing: "base.qcow2")
        try fill(scratch, "overlay.qcow2", "qcow2", backing: "middle.qcow2")
    }

    private static func onImage(
        _ name: String, _ run: @escaping @Sendable (QCOW2Image) throws -> Void
    ) -> Operation {
        Operation(
            name: name, images: ["a.qcow2"],
            prepare: { scratch in
                try fill(scratch, "a.qcow2", "qcow2")
                let device = try open(scratch.path("a.qcow2"))
                try (device as? QCOW2Image)?.createSnapshot(named: "one")
                try device.put([UInt8](repeating: 9, count: 100_000), at: 400_000)
                try device.close()
            },
            run: { scratch in
                let device = try open(scratch.path("a.qcow2"))
                defer { try? device.close() }
                if let image = device as? QCOW2Image { try run(image) }
                try device.flush()
            })
    }

    static let operations = plain + variants

    private static let plain: [Operation] =
        ["raw", "qcow2", "qcow", "vmdk", "vdi", "vhdx", "vpc", "parallels", "cow"].map(writing)
        + ["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc"].map { converting($0) }
        + [converting("qcow2", compressed: true), converting("qcow2", over: true)]
        + [
            Operation(
                name: "create over an image", images: ["base.qcow2", "new.qcow2"],
                prepare: { try fill($0, "base.qcow2", "qcow2") },
                run: {
                    try DiskImage.createOverlay($0.path("new.qcow2"), backing: "base.qcow2", backingFormat: "qcow2")
                }
            ),
            Operation(
                name: "commit", images: ["overlay.qcow2"], prepare: chain,
                run: { try DiskImage.commit($0.path("overlay.qcow2"), format: "qcow2", keepTop: false) }),
            Operation(
                name: "rebase", images: ["base.qcow2", "middle.qcow2", "overlay.qcow2"], prepare: chain,
                run: {
                    try DiskImage.rebase(
                        $0.path("overlay.qcow2"), format: "qcow2",
                        to: BackingReference(file: "base.qcow2", format: "qcow2"), unsafe: false)
                }),
            onImage("grow") { try $0.resize(to: 3 << 20, preallocation: .off) },
            onImage("snapshot") { try $0.createSnapshot(named: "two") },
            onImage("apply") { try $0.applySnapshot("one") },
            onImage("delete") { try $0.deleteSnapshot("one") },
            onImage("amend refcount_bits") { try DiskImage.amend($0, ["refcount_bits": "64"]) },
            onImage("amend lazy_refcounts") { try DiskImage.amend($0, ["lazy_refcounts": "on"]) },
            onImage("bitmap") { try $0.changeBitmap(named: "b", .add(granularity: nil, disabled: false)) },
            Operation(
                name: "check -r all", images: ["a.qcow2"],
                prepare: { scratch in
                    try fill(scratch, "a.qcow2", "qcow2")
                    try QCOW2OverlapTests.overwrite(
                        scratch.path("a.qcow2"), [UInt8](repeating: 0, count: 8), at: 65536)
                },
                run: { scratch in
                    let device = try DiskImage.open(
                        scratch.path("a.qcow2"), options: OpenOptions(readOnly: false, forCheck: true))
                    defer { try? device.close() }
                    _ = try DiskImage.check(device, repair: .all, verifyData: false)
                }),
        ]

    /// Failing positions that are tried per operation.
    private static let positions = 24 * CrashTests.effort

    @Test(arguments: operations) func aFailingHostCallLosesNothing(operation: Operation) throws {
        let scratch = Scratch()
        try operation.prepare(scratch)
        let start = try files(in: scratch)
        let before = disks(operation, scratch)
        let isDamaged = operation.name.hasPrefix("check")
        let whole = HostFaults.during(HostFaults.Plan(), below: scratch.folder) {
            #expect(throws: Never.self) { try operation.run(scratch) }
        }
        let after = disks(operation, scratch)
        var random = SeededRandom(11)
        let step = max(1, whole.count / Self.positions)
        for position in stride(from: 0, to: whole.count, by: step) {
            let first = position + Int.random(in: 0..<step, using: &random)
            // Once, or from here on.
            let failing = first..<(Bool.random(using: &random) ? first + 1 : Int.max)
            let code = [EIO, ENOSPC, EACCES].randomElement(using: &random) ?? EIO
            try restore(start, in: scratch)
            var error: (any Error)?
            HostFaults.during(HostFaults.Plan(failing: failing, code: code), below: scratch.folder) {
                do { try operation.run(scratch) } catch let thrown { error = thrown }
            }
            let where_ =
                "\(operation.name), call \(first) of \(whole.count), \(failing.count == 1 ? "once" : "for good")"
            let found = disks(operation, scratch)
            for (index, name) in operation.images.enumerated() {
                if let fault = Self.difference(found[index], before[index], after[index]) {
                    Issue.record("\(where_): \(name): \(fault); the error was \(error.map { "\($0)" } ?? "none")")
                    return
                }
                guard !isDamaged || error == nil else { continue }
                if let fault = faults(scratch, name) {
                    Issue.record("\(where_): \(name): \(fault)")
                    return
                }
            }
            let left = try files(in: scratch).keys.filter { $0.contains(".partial") }
            #expect(left.isEmpty, "\(where_) left \(left)")
        }
    }

    // MARK: Looking

    private func files(in scratch: Scratch) throws -> [String: [UInt8]] {
        var files: [String: [UInt8]] = [:]
        let names = try run(["ls", "-A", scratch.folder]).output.split(separator: "\n").map(String.init)
        for name in names {
            let file = try FileStorage.open(scratch.path(name), readOnly: true, lock: .none)
            files[name] = try file.readBytes(at: 0, count: Int(file.byteCount))
            file.close()
        }
        return files
    }

    private func restore(_ files: [String: [UInt8]], in scratch: Scratch) throws {
        for name in try self.files(in: scratch).keys { unlink(scratch.path(name)) }
        for (name, bytes) in files {
            let file = try FileStorage.create(scratch.path(name))
            if !bytes.isEmpty { try file.write(bytes, at: 0) }
            file.close()
        }
    }

    /// The disks of an operation's images; nil where there is no image.
    private func disks(_ operation: Operation, _ scratch: Scratch) -> [[UInt8]?] {
        operation.images.map { name in
            guard access(scratch.path(name), F_OK) == 0 else { return nil }
            let format = String(name.split(separator: ".").last ?? "")
            guard let device = try? Self.openAny(scratch.path(name), format, readOnly: true) else { return [] }
            defer { try? device.close() }
            return (try? device.bytes(at: 0, count: Int(device.size))) ?? []
        }
    }

    private func faults(_ scratch: Scratch, _ name: String) -> String? {
        let format = String(name.split(separator: ".").last ?? "")
        guard access(scratch.path(name), F_OK) == 0 else { return nil }
        do {
            var options = OpenOptions(format: format, forCheck: true)
            options.secrets = Self.password
            let device = try DiskImage.open(scratch.path(name), options: options)
            defer { try? device.close() }
            guard device is any CheckableImage else { return nil }
            let result = try DiskImage.check(device, repair: .none, verifyData: false)
            return result.corruptions == 0 ? nil : "\(result.findings.prefix(3))"
        } catch {
            return "\(error)"
        }
    }

    /// What is neither as before nor as after, sector by sector.
    static func difference(_ found: [UInt8]?, _ before: [UInt8]?, _ after: [UInt8]?) -> String? {
        if found == before || found == after { return nil }
        guard let found, let before, let after else { return "it is there or not there, but not as it should be" }
        guard found.count == before.count || found.count == after.count else { return "\(found.count) bytes long" }
        for start in stride(from: 0, to: found.count, by: 512) {
            let sector = found[start..<min(start + 512, found.count)]
            let isOld = start < before.count && sector == before[start..<min(start + 512, before.count)]
            let isNew = start < after.count && sector == after[start..<min(start + 512, after.count)]
            // What is to be cut off may be gone before the cut is there.
            let isCutOff = start >= after.count
            if !isOld, !isNew, !isCutOff { return "the sector at \(start) is neither old nor new" }
        }
        return nil
    }
}
