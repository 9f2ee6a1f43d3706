import CBZip2
import CLZ4
import CLZMA
import CLZO

/// Whole blocks of the compressions that only reading needs. Each gives exactly `output.count` bytes or false.
enum LibraryCodecs {
    static func bunzip2(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        var count = UInt32(clamping: output.count)
        // SAFETY: bzlib does not write to its source.
        let source = UnsafeMutablePointer(mutating: input.bindMemory(to: CChar.self).baseAddress)
        let target = output.bindMemory(to: CChar.self).baseAddress
        return BZ2_bzBuffToBuffDecompress(target, &count, source, UInt32(clamping: input.count), 0, 0) == BZ_OK
            && Int(count) == output.count
    }

    /// A stream of the .xz format; its checks are verified.
    static func unxz(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        var limit = CompressedLimits.decoderBytes
        var used = 0
        var produced = 0
        return lzma_stream_buffer_decode(
            &limit, 0, nil, input.bindMemory(to: UInt8.self).baseAddress, &used, input.count,
            output.bindMemory(to: UInt8.self).baseAddress, &produced, output.count) == LZMA_OK
            && produced == output.count
    }

    /// One LZ4 block, without a frame.
    static func unlz4(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        LZ4_decompress_safe(
            input.bindMemory(to: CChar.self).baseAddress, output.bindMemory(to: CChar.self).baseAddress,
            Int32(clamping: input.count), Int32(clamping: output.count)) == output.count
    }

    static func unlzo(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        var count = lzo_uint(output.count)
        return lzo1x_decompress_safe(
            input.bindMemory(to: UInt8.self).baseAddress, lzo_uint(input.count),
            output.bindMemory(to: UInt8.self).baseAddress, &count, nil) == LZO_E_OK && Int(count) == output.count
    }
}
