import Foundation
import Testing

@testable import Images

/// A disk with noise, text and a long hole, and the files that gzip, xz and zstd make of it.
private struct CompressedSample {
    static let bytes: [UInt8] = {
        var random = SeededRandom(41)
        var disk = [UInt8](repeating: 0, count: 9 << 20)
        disk.replaceSubrange(4000..<1_204_000, with: random.bytes(1_200_000))
        for index in 2_000_000..<6_000_000 { disk[index] = UInt8(index / 700 & 0x3f) }
        disk.replaceSubrange(disk.count - 3000..<disk.count, with: random.bytes(3000))
        return disk
    }()

    /// Commands that turn `in` into `out`.
    static let commands: [(name: String, format: String, command: String)] = [
        ("gzip", "gz", "gzip -1 < in > out"),
        ("gzip with a name", "gz", "gzip -1 -N -k in && mv in.gz out"),
        ("two gzip members", "gz", "(head -c 3000001 in | gzip -1; tail -c +3000002 in | gzip -1) > out"),
        ("gzip with zeros behind it", "gz", "(gzip -1 < in; head -c 1000 /dev/zero) > out"),
        ("xz in one block", "xz", "xz -0 -T1 < in > out"),
        ("xz in blocks", "xz", "xz -0 -T1 --block-size=700001 < in > out"),
        ("xz without checks", "xz", "xz -0 --check=none < in > out"),
        ("two xz streams", "xz", "(head -c 3000001 in | xz -0; tail -c +3000002 in | xz -0 -C sha256) > out"),
        ("zstd of a file", "zst", "zstd -q -1 in -o out"),
        ("zstd of a pipe", "zst", "zstd -q -1 < in > out"),
        ("zstd frames", "zst", "split -b 1000001 in part. && for p in part.*; do zstd -q -1 < $p; done > out"),
        (
            "zstd behind a skippable frame", "zst",
            #"(printf '\120\052\115\030\003\000\000\000abc'; zstd -q < in) > out"#
        ),
    ]

    static func make(_ command: String) throws -> [UInt8] {
        let scratch = Scratch()
        try Data(bytes).write(to: URL(fileURLWithPath: scratch.path("in")))
        let result = try run(["sh", "-c", command], in: scratch.folder)
        #expect(result.status == 0, "\(result.output)")
        return [UInt8](try Data(contentsOf: URL(fileURLWithPath: scratch.path("out"))))
    }
}

private func openCompressed(
    _ bytes: [UInt8], _ format: String, forCheck: Bool = false
) throws(ImageError) -> any BlockDevice {
    var options = OpenOptions()
    options.forCheck = forCheck
    return try FormatRegistry.require(format).open(
        storage: MemoryStorage(content: bytes, readOnly: true), options: options)
}

@Suite struct CompressedRawTests {
    @Test(arguments: CompressedSample.commands.indices) func readsWhatTheToolsWrite(index: Int) throws {
        let (name, format, command) = CompressedSample.commands[index]
        let file = try CompressedSample.make(command)
        #expect(try FormatRegistry.probe(MemoryStorage(content: file)).name == format, "\(name)")
        let device = try openCompressed(file, format)
        let model = DiskModel(bytes: CompressedSample.bytes)
        try model.check(device)
        var random = SeededRandom(42)
        for _ in 0..<60 {
            let offset = Int.random(in: 0..<model.bytes.count, using: &random)
            let count = min(Int.random(in: 1...200_000, using: &random), model.bytes.count - offset)
            #expect(try device.bytes(at: UInt64(offset), count: count) == Array(model.bytes[offset..<offset + count]))
        }
        let result = try DiskImage.check(device, repair: .none, verifyData: true)
        #expect(result.corruptions == 0, "\(result.findings)")
    }

    @Test(arguments: ["xz -0 -T1 < in > out", "zstd -q < in > out"])
    func aStreamOfOnePieceIsSpilledWhenReadBackwardsOftenEnough(command: String) throws {
        let storage = MemoryStorage(content: try CompressedSample.make(command), readOnly: true)
        let isXZ = command.hasPrefix("xz")
        let stream: any CompressedStream =
            isXZ ? try XZStream(storage) : try ZstdStream(storage, toleratingDamage: false)
        // Fewer than the chunks that are kept would never be read twice.
        let image = CompressedRawImage(storage, formatName: isXZ ? "xz" : "zst", stream: stream, wasteLimit: 10 << 20)
        let model = DiskModel(bytes: CompressedSample.bytes)
        for chunk in (0..<9).reversed() {
            let part = try image.bytes(at: UInt64(chunk) << 20, count: 5000)
            #expect(part == Array(model.bytes[chunk << 20..<(chunk << 20) + 5000]))
        }
        try model.check(image)
        #expect(image.spill == nil)
        let eager = CompressedRawImage(storage, formatName: "xz", stream: stream, wasteLimit: 1)
        _ = try eager.bytes(at: 8 << 20, count: 1)
        #expect(eager.spill != nil)
        try model.check(eager)
    }

    @Test func anOddLengthIsRoundedUpToASector() throws {
        let file = try CompressedSample.make("head -c 4700 in | gzip > out")
        let device = try openCompressed(file, "gz")
        #expect(device.size == 5120)
        let tail = try device.bytes(at: 4600, count: 520)
        #expect(tail == Array(CompressedSample.bytes[4600..<4700]) + [UInt8](repeating: 0, count: 420))
    }

    @Test(arguments: [0, 4, 5, 8, 10]) func truncationIsRefusedByNameOfTheFault(index: Int) throws {
        let (_, format, command) = CompressedSample.commands[index]
        let file = try CompressedSample.make(command)
        for keep in [19, 300, file.count / 3, file.count / 2, file.count - 9, file.count - 1] {
            let error = #expect(throws: ImageError.self, "\(format) cut to \(keep)") {
                let device = try openCompressed(Array(file[..<keep]), format)
                // A file of several frames that ends behind one of them is whole.
                _ = try device.bytes(at: 0, count: CompressedSample.bytes.count)
            }
            #expect(error?.kind == .corrupt || error?.kind == .invalidArgument)
        }
    }

    @Test(arguments: [("gz", 0), ("xz", 4), ("zst", 8)]) func bytesBehindTheEndAreRefused(format: String, index: Int)
        throws
    {
        let file = try CompressedSample.make(CompressedSample.commands[index].command) + Array("rubbish behind".utf8)
        let error = #expect(throws: ImageError.self) { _ = try openCompressed(file, format) }
        #expect(error?.kind == .corrupt)
    }

    @Test(arguments: [("gz", 0), ("xz", 4), ("zst", 9)]) func checkFindsAFlippedBit(format: String, index: Int) throws {
        let good = try CompressedSample.make(CompressedSample.commands[index].command)
        var random = SeededRandom(43)
        for _ in 0..<12 {
            var file = good
            file[Int.random(in: 5000..<900_000, using: &random)] ^= 1 << UInt8.random(in: 0...7, using: &random)
            let device: any BlockDevice
            do {
                device = try openCompressed(file, format, forCheck: true)
            } catch {
                continue
            }
            #expect(try DiskImage.check(device, repair: .none, verifyData: true).corruptions > 0)
        }
    }

    @Test func wrongLengthFieldAndChecksumOfGzipAreRefused() throws {
        let good = try CompressedSample.make("head -c 100000 in | gzip > out")
        for position in [good.count - 1, good.count - 5] {
            var file = good
            file[position] ^= 1
            let error = #expect(throws: ImageError.self) { _ = try openCompressed(file, "gz") }
            #expect(error?.kind == .corrupt)
        }
    }

    @Test func hostileZstdFramesAreRefusedWithoutDecoding() throws {
        let magic: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd]
        let filler = [UInt8](repeating: 0, count: 16)
        // Content size of 2^60 in one empty block; a dictionary; a reserved bit; a reserved kind of block.
        let frames: [[UInt8]] = [
            magic + [0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 1, 0, 0], magic + [0x21, 7, 0, 1, 0, 0],
            magic + [0x28, 0, 1, 0, 0], magic + [0x20, 0, 7, 0, 0] + filler,
            [0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff] + filler,
        ]
        for frame in frames {
            let error = #expect(throws: ImageError.self) { _ = try openCompressed(frame, "zst") }
            #expect(error?.kind == .corrupt || error?.kind == .unsupported)
        }
    }

    @Test func anXZFileThatAsksForTooMuchMemoryIsRefused() throws {
        // A dictionary of 1 GiB in the header of a block that needs a few bytes only.
        let file = try CompressedSample.make("head -c 3000000 in | xz --lzma2=dict=1GiB > out")
        // What is inside is looked at when the file is opened.
        let error = #expect(throws: ImageError.self) { _ = try openCompressed(file, "xz") }
        #expect(error?.kind == .unsupported)
    }

    @Test func anyDamageEndsInAnErrorNotACrash() throws {
        var random = SeededRandom(44)
        for (format, index) in [("gz", 2), ("xz", 5), ("zst", 10)] {
            let good = try CompressedSample.make(CompressedSample.commands[index].command)
            for round in 0..<25 {
                var file = good
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let reach = round % 2 == 0 ? 40 : file.count
                    let at = Int.random(in: 0..<reach, using: &random)
                    file[round % 4 == 1 ? file.count - 1 - at % 200 : at] = UInt8(truncatingIfNeeded: random.next())
                }
                guard let device = try? openCompressed(file, format) else { continue }
                for offset in stride(from: UInt64(0), to: min(device.size, 10 << 20), by: 3 << 20) {
                    _ = try? device.bytes(at: offset, count: Int(min(1000, device.size - offset)))
                }
            }
        }
    }
}
