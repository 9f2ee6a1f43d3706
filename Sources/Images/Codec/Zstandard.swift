import CZstd

/// Zstandard frames of whole blocks, over libzstd.
enum Zstandard {
    /// Decompresses exactly `output.count` bytes from one frame or several; bytes after that are ignored.
    static func decompress(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        guard let stream = ZSTD_createDStream() else { return false }
        defer { ZSTD_freeDStream(stream) }
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
        while target.pos < target.size {
            let before = (source.pos, target.pos)
            let hint = ZSTD_decompressStream(stream, &target, &source)
            if ZSTD_isError(hint) != 0 || (source.pos, target.pos) == before { return false }
        }
        return true
    }

    /// Compresses into one frame; nil when it does not fit.
    static func compress(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, level: Int32 = 3
    ) -> Int? {
        let count = ZSTD_compress(output.baseAddress, output.count, input.baseAddress, input.count, level)
        return ZSTD_isError(count) != 0 ? nil : count
    }
}
