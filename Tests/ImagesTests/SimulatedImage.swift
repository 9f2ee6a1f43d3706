import Testing

@testable import Images

/// A kind of image for the tests that cut the power or fail the disk: a format, its options, and what lies below.
struct SimulatedImage: Sendable, CustomTestStringConvertible {
    var variant: FormatVariant
    var hasBacking = false
    var testDescription: String { variant.testDescription + (hasBacking ? " with a backing file" : "") }

    static let secrets: [String: [UInt8]] = ["sec0": Array("correct horse".utf8)]
    static let diskName = "disk.img"
    static let baseName = "base.raw"

    /// Every registered format that is written in place, in all its kinds.
    static let all: [SimulatedImage] = {
        var kinds = FormatVariant.writable.map { SimulatedImage(variant: $0) }
        kinds.append(
            SimulatedImage(variant: FormatVariant(format: "luks", options: ["key-secret": "sec0", "iter-time": "1"])))
        let qcow2: [[String: String]] = [
            ["cluster_size": "512"], ["compat": "0.10", "cluster_size": "4096"],
            ["refcount_bits": "1", "cluster_size": "4096"], ["refcount_bits": "64", "cluster_size": "512"],
            ["extended_l2": "on", "cluster_size": "16k"], ["lazy_refcounts": "on", "cluster_size": "4096"],
            ["data_file": "disk.data", "cluster_size": "4096"],
            ["data_file": "disk.data", "data_file_raw": "on", "cluster_size": "4096"],
            ["encrypt.format": "aes", "encrypt.key-secret": "sec0", "cluster_size": "4096"],
            ["encrypt.format": "luks", "encrypt.key-secret": "sec0", "encrypt.iter-time": "1"],
        ]
        kinds += qcow2.map { SimulatedImage(variant: FormatVariant(format: "qcow2", options: $0)) }
        kinds.append(
            SimulatedImage(
                variant: FormatVariant(
                    format: "qcow", options: ["encrypt.format": "aes", "encrypt.key-secret": "sec0"])))
        kinds += kinds.filter(\.canHaveBacking).map { SimulatedImage(variant: $0.variant, hasBacking: true) }
        return kinds
    }()

    private var canHaveBacking: Bool {
        variant.canHaveBacking && variant.options["encrypt.format"] != "luks"
    }

    /// Whether QEMU can check and read what a cut has left: one file, no secrets.
    var isReadableByQEMU: Bool {
        ["qcow2", "vdi", "vmdk", "vhdx", "parallels"].contains(variant.format) && !hasBacking
            && variant.options["data_file"] == nil && variant.options["encrypt.format"] == nil
            && variant.options["subformat"].map { $0 == "fixed" } ?? true
    }

    var driver: any ImageFormat {
        FormatRegistry.format(named: variant.format) ?? RawFormat()
    }

    var diskBytes: Int { ["qcow2", "qcow", "cow", "raw", "luks"].contains(variant.format) ? 1 << 20 : 3 << 20 }

    /// Makes the image, and what backs it, on a new disk.
    func create(in scratch: Scratch) throws -> SimulatedDisk {
        let disk = SimulatedDisk()
        var request = CreateRequest(
            path: scratch.path(Self.diskName), size: UInt64(diskBytes), options: variant.options)
        request.secrets = Self.secrets
        if hasBacking {
            var random = SeededRandom(99)
            let content = random.bytes(diskBytes - 100_000)
            if variant.liesOnItsOwnKind {
                let path = scratch.path("base." + variant.format)
                try DiskImage.create(path, format: variant.format, size: UInt64(diskBytes))
                let base = try ImagesTests.open(path, format: variant.format)
                try base.put(content, at: 0)
                try base.close()
                request.backing = BackingReference(file: "base." + variant.format, format: variant.format)
            } else {
                let base = disk.storage(scratch.path(Self.baseName))
                try base.write(content, at: 0)
                request.backing = BackingReference(file: Self.baseName, format: "raw")
            }
        }
        try driver.create(in: disk.storage(request.path), request: request)
        return disk
    }

    /// Opens the image and what backs it.
    func open(_ disk: SimulatedDisk, in scratch: Scratch, readOnly: Bool = false) throws -> any BlockDevice {
        var options = OpenOptions(readOnly: readOnly)
        options.secrets = Self.secrets
        options.keySecret = "sec0"
        let device = try driver.open(
            storage: disk.storage(scratch.path(Self.diskName), readOnly: readOnly), options: options)
        if hasBacking { try device.attach(backing: base(disk, in: scratch, readOnly: true)) }
        return device
    }

    func base(_ disk: SimulatedDisk, in scratch: Scratch, readOnly: Bool) throws -> any BlockDevice {
        // A parent of the same format lies in a real folder.
        if variant.liesOnItsOwnKind {
            return try ImagesTests.open(scratch.path("base." + variant.format), readOnly: true)
        }
        return try RawFormat().open(
            storage: disk.storage(scratch.path(Self.baseName), readOnly: readOnly), options: OpenOptions())
    }

    /// Opens the image read-only and checks it; returns the disk's content. Throws or records what is wrong.
    func inspect(_ disk: SimulatedDisk, in scratch: Scratch) throws -> (content: [UInt8], result: CheckResult) {
        let device = try open(disk, in: scratch, readOnly: true)
        defer { try? device.close() }
        let content = try device.bytes(at: 0, count: Int(device.size))
        guard driver.capabilities.contains(.check) else { return (content, CheckResult()) }
        return (content, try DiskImage.check(device, repair: .none, verifyData: false))
    }
}
