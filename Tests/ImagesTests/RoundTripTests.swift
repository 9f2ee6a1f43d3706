import Foundation
import Testing

@testable import Images

/// Conversions of disks of awkward sizes, compressed, and with chains below them, in all directions between our formats
/// and qemu-img's.
@Suite struct RoundTripTests {
    /// Empty, less than a sector, no multiple of one, around clusters and around Virtual PC's geometry.
    static let sizes = [0, 1, 512, 1000, 66_048, 1_048_064, 3_147_264, 4_722_176]

    /// Bytes with noise, text and holes; the same for the same size.
    static func content(_ size: Int) -> [UInt8] {
        var random = SeededRandom(UInt64(size) + 3)
        var content = [UInt8](repeating: 0, count: size)
        for start in stride(from: 0, to: size, by: 131_072) {
            let end = min(size, start + 131_072)
            switch Int.random(in: 0..<3, using: &random) {
            case 0: content.replaceSubrange(start..<end, with: random.bytes(end - start))
            case 1: for index in start..<end { content[index] = UInt8(truncatingIfNeeded: index / 777) }
            default: break
            }
        }
        if let last = content.indices.last { content[last] = 0x55 }
        return content
    }

    private func makeRaw(_ path: String, _ content: [UInt8]) throws {
        try Data(content).write(to: URL(fileURLWithPath: path))
    }

    /// The disk is `content`, and zeros behind it.
    private func expect(_ path: String, _ format: String, holds content: [UInt8], _ what: String) throws {
        let device = try open(path, format: format, readOnly: true)
        defer { try? device.close() }
        let all = try device.bytes(at: 0, count: Int(device.size))
        #expect(all.count >= content.count, "\(what): \(all.count) bytes of \(content.count)")
        let wanted = content + [UInt8](repeating: 0, count: max(0, all.count - content.count))
        if let byte = firstDifference(all, wanted) { Issue.record("\(what): byte \(byte) of \(content.count) differs") }
    }

    private func options(_ variant: FormatVariant) -> [String] {
        let text = variant.options.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
        return text.isEmpty ? [] : ["-o", text]
    }

    @Test(arguments: FormatVariant.creatable, sizes)
    func awkwardSizesSurviveEveryFormatBothWays(variant: FormatVariant, size: Int) throws {
        let scratch = Scratch()
        let content = Self.content(size)
        try makeRaw(scratch.path("in.raw"), content)
        let raw = FormatVariant(format: "raw")
        var qemuCan = true
        if variant.isKnownToQEMU, variant.format != "cloop" {
            let made = try run(
                ["qemu-img", "convert", "-f", "raw", "-O", variant.format] + options(variant)
                    + [scratch.path("in.raw"), scratch.path("theirs.img")])
            qemuCan = made.status == 0
            if qemuCan {
                try expect(scratch.path("theirs.img"), variant.format, holds: content, "what qemu-img wrote")
            }
        }
        do {
            try ImageHistory.convert(scratch.path("in.raw"), "raw", to: scratch.path("ours.img"), variant)
        } catch {
            #expect(!qemuCan || variant.format == "cloop", "qemu-img can, we: \(error)")
            return
        }
        try ImageHistory.convert(scratch.path("ours.img"), variant.format, to: scratch.path("back.raw"), raw)
        try expect(scratch.path("back.raw"), "raw", holds: content, "there and back")
        // For an empty VHDX qemu-img 7.2 wants a block table of 2^32 blocks, less one.
        guard variant.isKnownToQEMU, qemuCan, variant.format != "vhdx" || size > 0 else { return }
        let read = try run([
            "qemu-img", "convert", "-f", variant.format, "-O", "raw", scratch.path("ours.img"),
            scratch.path("out.raw"),
        ])
        #expect(read.status == 0, "\(read.output)")
        try expect(scratch.path("out.raw"), "raw", holds: content, "what qemu-img read")
    }

    static let compressing: [FormatVariant] = [
        FormatVariant(format: "qcow2"), FormatVariant(format: "qcow2", options: ["compression_type": "zstd"]),
        FormatVariant(format: "qcow2", options: ["cluster_size": "512"]),
        FormatVariant(format: "qcow2", options: ["cluster_size": "2M"]),
        FormatVariant(format: "qcow2", options: ["extended_l2": "on"]),
        FormatVariant(format: "qcow2", options: ["compat": "0.10"]), FormatVariant(format: "qcow"),
        FormatVariant(format: "vmdk", options: ["subformat": "streamOptimized"]),
    ]

    @Test(arguments: compressing, [66_048, 4_722_176])
    func compressedImagesReadTheSameOnBothSides(variant: FormatVariant, size: Int) throws {
        let scratch = Scratch()
        let content = Self.content(size)
        try makeRaw(scratch.path("in.raw"), content)
        var request = ConvertRequest(
            sources: [try open(scratch.path("in.raw"), format: "raw", readOnly: true)],
            targetPath: scratch.path("ours.img"), targetFormat: variant.format)
        request.options = variant.options
        request.isCompressed = true
        try DiskImage.convert(request)
        try expect(scratch.path("ours.img"), variant.format, holds: content, "our -c")
        let read = try run([
            "qemu-img", "convert", "-f", variant.format, "-O", "raw", scratch.path("ours.img"),
            scratch.path("out.raw"),
        ])
        #expect(read.status == 0, "\(read.output)")
        try expect(scratch.path("out.raw"), "raw", holds: content, "our -c, read by qemu-img")
        // It cannot compress into qcow: it gives up without a word.
        guard variant.format != "qcow" else { return }
        let made = try run(
            ["qemu-img", "convert", "-c", "-f", "raw", "-O", variant.format] + options(variant)
                + [scratch.path("in.raw"), scratch.path("theirs.img")])
        #expect(made.status == 0, "\(made.output)")
        try expect(scratch.path("theirs.img"), variant.format, holds: content, "qemu-img's -c")
    }

    /// Kinds that only qemu-img's options make, or that our own list leaves out.
    static let theirs: [FormatVariant] = [
        FormatVariant(format: "vhdx", options: ["block_state_zero": "off"]),
        FormatVariant(format: "vhdx", options: ["block_size": "32M", "log_size": "2M"]),
        FormatVariant(format: "vmdk", options: ["subformat": "monolithicSparse", "hwversion": "7"]),
        FormatVariant(format: "parallels", options: ["cluster_size": "65536"]),
        FormatVariant(format: "qcow2", options: ["preallocation": "metadata"]),
        FormatVariant(format: "qcow2", options: ["preallocation": "metadata", "extended_l2": "on"]),
        FormatVariant(format: "qcow2", options: ["data_file": "theirs.data", "data_file_raw": "on"]),
        FormatVariant(format: "qcow2", options: ["refcount_bits": "64", "cluster_size": "512"]),
        FormatVariant(format: "vpc", options: ["subformat": "fixed", "force_size": "on"]),
        FormatVariant(format: "raw", options: ["preallocation": "full"]), FormatVariant(format: "qed"),
    ]

    @Test(arguments: theirs) func everyKindThatQEMUWritesIsRead(variant: FormatVariant) throws {
        guard FormatRegistry.format(named: variant.format) != nil else { return }
        let scratch = Scratch()
        let content = Self.content(4_722_176)
        try makeRaw(scratch.path("in.raw"), content)
        let text = variant.options.map { "\($0.key)=\($0.key == "data_file" ? scratch.path($0.value) : $0.value)" }
        let made = try run(
            ["qemu-img", "convert", "-f", "raw", "-O", variant.format]
                + (text.isEmpty ? [] : ["-o", text.joined(separator: ",")])
                + [scratch.path("in.raw"), scratch.path("theirs.img")])
        #expect(made.status == 0, "\(made.output)")
        try expect(scratch.path("theirs.img"), variant.format, holds: content, "qemu-img's")
    }

    /// Chains of three, each layer with bytes of its own, a short base and a disk that is longer than it.
    @Test(arguments: FormatVariant.writable.filter { $0.capabilities.contains(.backing) && $0.options.isEmpty })
    func chainsConvertToWhatTheyShow(variant: FormatVariant) throws {
        let scratch = Scratch()
        var random = SeededRandom(77)
        var model = DiskModel(bytes: [])
        for layer in 0..<3 {
            let size = UInt64(1_500_160 + layer * 400_384)
            var request = CreateRequest(
                path: scratch.path("layer\(layer).\(variant.format)"), size: size, options: variant.options)
            if layer > 0 {
                request.backing = BackingReference(file: "layer\(layer - 1).\(variant.format)", format: variant.format)
            }
            try DiskImage.create(request, format: variant.format)
            let device = try open(request.path, format: variant.format)
            model.bytes += [UInt8](repeating: 0, count: Int(device.size) - model.bytes.count)
            for _ in 0..<12 { try model.step(device, &random, longest: 100_000) }
            try model.check(device)
            try device.close()
        }
        for target in FormatVariant.creatable {
            try ImageHistory.convert(
                scratch.path("layer2.\(variant.format)"), variant.format, to: scratch.path("out.img"), target)
            try expect(scratch.path("out.img"), target.format, holds: model.bytes, target.testDescription)
        }
        // QEMU knows neither cow nor differencing VHD and VHDX, and takes the formats of older chains from their content.
        guard ["qcow2", "qcow", "vmdk"].contains(variant.format) else { return }
        let read = try run([
            "qemu-img", "convert", "-f", variant.format, "-O", "raw", scratch.path("layer2.\(variant.format)"),
            scratch.path("out.raw"),
        ])
        #expect(read.status == 0, "\(read.output)")
        try expect(scratch.path("out.raw"), "raw", holds: model.bytes, "qemu-img's view of the chain")
    }
}
