import Testing

@testable import Images

/// Compressed blocks that give more or less than a block: less is an error, more is cut off or an error, and no byte
/// past the block is written.
@Suite struct CompressedLengthTests {
    struct Case: Sendable {
        var format: String
        var options: [String: String] = [:]
        var block: Int
        /// Whether a stream that goes on past the block is accepted, as QEMU does.
        var takesPrefix = false
        var usesZstd = false
        var hasZlibHeader = false
    }

    static let cases = [
        Case(format: "qcow2", options: ["cluster_size": "65536"], block: 65536, takesPrefix: true),
        Case(
            format: "qcow2", options: ["cluster_size": "65536", "compression_type": "zstd"], block: 65536,
            takesPrefix: true, usesZstd: true),
        Case(format: "qcow", block: 4096, takesPrefix: true),
        Case(format: "vmdk", options: ["subformat": "streamOptimized"], block: 65536, hasZlibHeader: true),
        Case(format: "cloop", options: ["block_size": "65536"], block: 65536, hasZlibHeader: true),
    ]

    /// An image whose first block is a stream of `count` bytes.
    private func image(_ test: Case, streamOf count: Int) throws -> any BlockDevice {
        let driver = try FormatRegistry.require(test.format)
        let storage = MemoryStorage()
        try driver.create(in: storage, request: CreateRequest(path: "m", size: 1 << 20, options: test.options))
        let writer = try driver.open(storage: storage, options: OpenOptions(readOnly: false))
        let content = [UInt8](repeating: 0x41, count: count)
        let out = HeapBuffer(1 << 20)
        let length = try content.withUnsafeBytes { bytes -> Int in
            let found =
                test.usesZstd
                ? Zstandard.compress(bytes, into: out.bytes)
                : Deflate.compress(bytes, into: out.bytes, wrapper: test.hasZlibHeader ? .zlib : .raw)
            return try #require(found)
        }
        try writer.writeCompressed(out.readable.part(0, length), at: 0)
        try writer.close()
        return try driver.open(storage: storage, options: OpenOptions(readOnly: true))
    }

    @Test(arguments: cases.indices) func aWholeBlockIsRead(index: Int) throws {
        let test = Self.cases[index]
        let device = try image(test, streamOf: test.block)
        #expect(try device.bytes(at: 0, count: test.block).allSatisfy { $0 == 0x41 })
    }

    @Test(arguments: cases.indices, [1, 100, 4095]) func lessThanABlockIsAnError(index: Int, count: Int) throws {
        let test = Self.cases[index]
        let device = try image(test, streamOf: count)
        let error = #expect(throws: ImageError.self) { try device.bytes(at: 0, count: test.block) }
        #expect(error?.kind == .io)
        #expect(
            error?.message.contains("does not decompress to \(test.block) bytes") == true, "\(error?.message ?? "")")
        // A part of the block is no better than the whole.
        #expect(throws: ImageError.self) { try device.bytes(at: 10, count: 20) }
    }

    @Test(arguments: cases.indices, [1, 4096, 700_000]) func moreThanABlockGoesNoFurther(index: Int, extra: Int) throws
    {
        let test = Self.cases[index]
        let device = try image(test, streamOf: test.block + extra)
        let buffer = HeapBuffer(test.block + 4096)
        if test.takesPrefix {
            try device.read(into: buffer.bytes.part(0, test.block), at: 0)
            #expect(buffer.readable.part(0, test.block).allSatisfy { $0 == 0x41 })
        } else {
            #expect(throws: ImageError.self) { try device.read(into: buffer.bytes.part(0, test.block), at: 0) }
        }
        #expect(buffer.readable.part(test.block, 4096).isAllZero)
    }
}
