import Foundation
import Testing

@testable import Images

/// Long random histories of an image against plain bytes: requests, reopening, resizing, snapshots, overlays that are
/// committed or given another base, conversion into another format and back.
@Suite struct SequenceTests {
    static let variants: [FormatVariant] =
        FormatVariant.writable
        + QCOW2RandomTests.variants.dropFirst().map { FormatVariant(format: "qcow2", options: $0) }

    /// Steps of a history; `LABCTL_LONG_TESTS=n` runs n histories.
    private static let steps = 2000

    @Test(arguments: variants) func aLongHistoryLeavesTheDiskEqualToAModel(variant: FormatVariant) throws {
        let environment = ProcessInfo.processInfo.environment
        let first = environment["LABCTL_SEED"].flatMap { UInt64($0) } ?? 1
        for seed in first..<first + UInt64(CrashTests.effort) {
            var history = try ImageHistory(variant, seed: seed)
            do {
                for step in 0..<Self.steps {
                    try history.step()
                    if step % 400 == 399 { try history.compare() }
                }
                try history.finish()
                #expect(!history.trail.isEmpty)
            } catch {
                Issue.record("seed \(seed), after \(history.trail.suffix(8)): \(error)")
            }
            if let fault = history.fault {
                Issue.record("seed \(seed), after \(history.trail.suffix(8)): \(fault)")
                return
            }
        }
    }

    /// Formats that qemu-io can write, by the names of their kinds.
    static let twins = variants.filter {
        $0.isKnownToQEMU && $0.format != "cloop" && $0.options["lazy_refcounts"] == nil
    }

    @Test(arguments: twins) func qemuIOMakesTheSameDiskOfTheSameRequests(variant: FormatVariant) throws {
        for seed in 0..<UInt64(CrashTests.effort) {
            let scratch = Scratch()
            var random = SeededRandom(seed + 40)
            let size = 3 << 20
            let options = variant.options.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
            let theirs = scratch.path("theirs.img"), ours = scratch.path("ours.img")
            // Each side writes into an image that the other has made.
            try DiskImage.create(
                CreateRequest(path: theirs, size: UInt64(size), options: variant.options), format: variant.format)
            let made = try run(
                ["qemu-img", "create", "-q", "-f", variant.format] + (options.isEmpty ? [] : ["-o", options])
                    + [ours, "\(size)"])
            #expect(made.status == 0, "\(made.output)")
            let device = try open(ours, format: variant.format)
            var model = DiskModel(bytes: [UInt8](repeating: 0, count: Int(device.size)))
            var script = ""
            for _ in 0..<250 {
                let request = DiskRequest.random(diskBytes: model.bytes.count, &random, longest: 90_000)
                switch request {
                case .write(let offset, let bytes):
                    let pattern = UInt8.random(in: 1...255, using: &random)
                    try model.apply(.write(at: offset, [UInt8](repeating: pattern, count: bytes.count)), device)
                    script += "write -P \(pattern) \(offset) \(bytes.count)\n"
                case .zero(let range, let unmap):
                    try model.apply(request, device)
                    script += "write -z \(unmap ? "-u " : "")\(range.lowerBound) \(range.count)\n"
                case .discard(let range):
                    // What a discard leaves is up to the format, so zeros follow.
                    try model.apply(request, device)
                    try model.apply(.zero(range, unmap: false), device)
                    script +=
                        "discard \(range.lowerBound) \(range.count)\nwrite -z \(range.lowerBound) \(range.count)\n"
                case .read: break
                case .flush:
                    try device.flush()
                    script += "flush\n"
                }
            }
            try model.check(device)
            try device.close()
            try Data((script + "quit\n").utf8).write(to: URL(fileURLWithPath: scratch.path("script")))
            let io = try run(["sh", "-c", "qemu-io -f \(variant.format) \(theirs) < \(scratch.path("script"))"])
            #expect(io.status == 0 && !io.output.contains("failed"), "\(io.output.suffix(300))")
            let same = try run([
                "qemu-img", "compare", "-f", variant.format, "-F", variant.format, ours, theirs,
            ])
            #expect(same.status == 0, "\(same.output)")
            let again = try open(theirs, format: variant.format, readOnly: true)
            try model.check(again)
            try again.close()
        }
    }
}
