import Foundation
import Testing

@testable import Images

/// An image on the host with a random life, and the bytes that it must hold.
struct ImageHistory {
    private let variant: FormatVariant
    private let scratch = Scratch()
    private var random: SeededRandom
    private var model = DiskModel(bytes: [])
    private var device: (any BlockDevice)?
    /// The images that lie on each other, the base first; all of the variant's format.
    private var layers: [String] = []
    private var names = 0
    private var snapshots: [String: [UInt8]] = [:]
    /// What has been done, for messages.
    private(set) var trail: [String] = []
    /// The first thing that was wrong.
    private(set) var fault: String?

    init(_ variant: FormatVariant, seed: UInt64) throws {
        self.variant = variant
        random = SeededRandom(seed)
        let path = freshPath()
        try DiskImage.create(
            CreateRequest(path: path, size: 2_500_096, options: variant.options), format: variant.format)
        layers = [path]
        try reopen()
        model.bytes = [UInt8](repeating: 0, count: Int(device?.size ?? 0))
    }

    private var driver: (any ImageFormat)? { FormatRegistry.format(named: variant.format) }

    private mutating func freshPath() -> String {
        names += 1
        return scratch.path("image\(names).\(variant.format)")
    }

    private mutating func close() throws {
        try device?.close()
        device = nil
    }

    private mutating func reopen() throws {
        try close()
        device = try open(layers[layers.count - 1], format: variant.format)
    }

    mutating func step() throws {
        guard fault == nil, let device else { return }
        guard Int.random(in: 0..<100, using: &random) >= 96 else {
            let request = DiskRequest.random(diskBytes: model.bytes.count, &random, longest: 30_000)
            return try model.apply(request, device)
        }
        switch Int.random(in: 0..<8, using: &random) {
        case 0:
            trail.append("reopen")
            try reopen()
        case 1: try resize(device)
        case 2: try snapshot(device)
        case 3: try useSnapshot(device)
        case 4: try overlay()
        case 5: try commit()
        case 6: try rebase()
        default: if Bool.random(using: &random) { try convertThereAndBack() }
        }
    }

    private mutating func resize(_ device: any BlockDevice) throws {
        // A version 2 image with snapshots, which a layer below may have kept, keeps its size.
        guard variant.capabilities.contains(.resize), variant.options["compat"] != "0.10" else { return }
        let step = Int.random(in: -600...600, using: &random) * 512
        let size = max(1 << 20, min(4 << 20, model.bytes.count + step))
        trail.append("resize \(size)")
        try device.resize(to: UInt64(size), preallocation: .off)
        let grown = max(0, size - model.bytes.count)
        model.bytes = Array(model.bytes.prefix(size)) + [UInt8](repeating: 0, count: grown)
    }

    private mutating func snapshot(_ device: any BlockDevice) throws {
        guard let device = device as? any SnapshotCapable, snapshots.count < 4, variant.options["refcount_bits"] != "1"
        else { return }
        names += 1
        trail.append("snapshot s\(names)")
        try device.createSnapshot(named: "s\(names)")
        snapshots["s\(names)"] = model.bytes
    }

    private mutating func useSnapshot(_ device: any BlockDevice) throws {
        guard let device = device as? any SnapshotCapable,
            let name = snapshots.keys.sorted().randomElement(using: &random), let content = snapshots[name]
        else { return }
        if Bool.random(using: &random) {
            trail.append("apply \(name)")
            try device.applySnapshot(name)
            model.bytes = content
        } else {
            trail.append("delete \(name)")
            try device.deleteSnapshot(name)
            snapshots[name] = nil
        }
    }

    private mutating func overlay() throws {
        guard variant.canHaveBacking, layers.count < 4 else { return }
        try close()
        let base = layers[layers.count - 1]
        let path = freshPath()
        trail.append("overlay \(layers.count)")
        var request = CreateRequest(path: path, size: UInt64(model.bytes.count), options: variant.options)
        request.backing = BackingReference(file: FilePath.name(of: base), format: variant.format)
        try DiskImage.create(request, format: variant.format)
        layers.append(path)
        snapshots = [:]
        try reopen()
        // Virtual PC's geometry rounds sizes up.
        if let device, Int(device.size) > model.bytes.count {
            model.bytes += [UInt8](repeating: 0, count: Int(device.size) - model.bytes.count)
        }
    }

    private mutating func commit() throws {
        guard layers.count > 1, snapshots.isEmpty, variant.format != "cow" || layers.count == 2 else { return }
        try close()
        trail.append("commit")
        let canEmpty = driver.map { _ in variant.format == "qcow2" } ?? false
        let keep = !canEmpty || Bool.random(using: &random)
        try DiskImage.commit(layers[layers.count - 1], format: variant.format, keepTop: keep)
        // What lies on a base that has changed is of no use any more, except where it was emptied.
        if keep || Bool.random(using: &random) { layers.removeLast() }
        try reopen()
        // A base that was longer than what was committed to it stays so.
        if let device, Int(device.size) > model.bytes.count {
            let rest = Int(device.size) - model.bytes.count
            model.bytes += try device.bytes(at: UInt64(model.bytes.count), count: rest)
        }
    }

    private mutating func rebase() throws {
        guard layers.count > 1, snapshots.isEmpty, variant.format == "qcow2" else { return }
        try close()
        let top = layers[layers.count - 1]
        switch Int.random(in: 0..<3, using: &random) {
        case 0:
            trail.append("rebase to nothing")
            try DiskImage.rebase(top, format: "qcow2", to: nil, unsafe: false)
            layers = [top]
        case 1 where layers.count > 2:
            trail.append("rebase past one")
            let below = layers[layers.count - 3]
            try DiskImage.rebase(
                top, format: "qcow2", to: BackingReference(file: FilePath.name(of: below), format: "qcow2"),
                unsafe: false)
            layers.remove(at: layers.count - 2)
        default:
            // A copy of the base is the same base, so only the name changes.
            trail.append("rebase -u")
            let copy = freshPath()
            try FileManager.default.copyItem(atPath: layers[layers.count - 2], toPath: copy)
            try DiskImage.rebase(
                top, format: "qcow2", to: BackingReference(file: FilePath.name(of: copy), format: "qcow2"),
                unsafe: true)
            layers[layers.count - 2] = copy
        }
        try reopen()
    }

    private mutating func convertThereAndBack() throws {
        try close()
        guard let other = FormatVariant.creatable.randomElement(using: &random) else { return }
        trail.append("convert to \(other.testDescription) and back")
        let between = scratch.path("between.img"), back = freshPath()
        try Self.convert(layers[layers.count - 1], variant.format, to: between, other)
        try Self.convert(between, other.format, to: back, variant)
        layers = [back]
        snapshots = [:]
        try reopen()
        guard let device else { return }
        let grown = Int(device.size) - model.bytes.count
        if grown < 0 { fault = "the disk has shrunk from \(model.bytes.count) to \(device.size) bytes" }
        if grown > 0 { model.bytes += [UInt8](repeating: 0, count: grown) }
        try compare()
    }

    static func convert(_ from: String, _ fromFormat: String, to: String, _ variant: FormatVariant) throws {
        var request = ConvertRequest(
            sources: [try open(from, format: fromFormat, readOnly: true)], targetPath: to,
            targetFormat: variant.format)
        request.options = variant.options
        request.durability = .never
        try DiskImage.convert(request)
        for source in request.sources { try source.close() }
    }

    /// The whole disk against the model.
    mutating func compare() throws {
        guard fault == nil, let device else { return }
        if let byte = firstDifference(try device.bytes(at: 0, count: Int(device.size)), model.bytes) {
            fault = "the disk of \(device.size) bytes differs from \(model.bytes.count) at byte \(byte)"
        }
    }

    /// Compares disk and snapshots a last time, and checks every layer with our check and QEMU's.
    mutating func finish() throws {
        try compare()
        try close()
        for (name, content) in snapshots {
            let device = try open(layers[layers.count - 1], format: variant.format, readOnly: true)
            try (device as? any SnapshotCapable)?.loadSnapshot(name)
            if let byte = firstDifference(try device.bytes(at: 0, count: Int(device.size)), content) {
                fault = fault ?? "snapshot \(name) differs at byte \(byte)"
            }
            try device.close()
        }
        guard variant.capabilities.contains(.check) else { return }
        for layer in layers {
            let device = try open(layer, format: variant.format, readOnly: true)
            let result = try DiskImage.check(device, repair: .none, verifyData: true)
            try device.close()
            if result.corruptions + result.leaks > 0 { fault = fault ?? "check: \(result.findings.prefix(3))" }
            // QEMU knows neither differencing VHDX nor VDI.
            guard ["qcow2", "vmdk", "vdi", "vhdx", "parallels"].contains(variant.format),
                !["vhdx", "vdi"].contains(variant.format) || layers.count == 1
            else { continue }
            let check = try run(["qemu-img", "check", "-f", variant.format, layer])
            if check.status != 0 { fault = fault ?? "qemu-img check: \(check.output.prefix(300))" }
        }
    }
}
