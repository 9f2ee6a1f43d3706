import CDeflate
import CZlib
import Glibc

/// Raw deflate (RFC 1951), zlib (RFC 1950) streams of whole blocks, over libdeflate, with zlib where a stream is longer
/// than the block it should give.
enum Deflate {
    enum Wrapper { case raw, zlib }

    /// Decompresses exactly `output.count` bytes; false when the stream is damaged or too short. Bytes after the stream
    /// are ignored.
    static func decompress(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, wrapper: Wrapper = .raw
    ) -> Bool {
        guard let codec = ThreadCodecs.decompressor() else { return false }
        var used = 0
        var produced = 0
        let result: libdeflate_result
        switch wrapper {
        case .raw:
            result = libdeflate_deflate_decompress_ex(
                codec, input.baseAddress, input.count, output.baseAddress, output.count, &used, &produced)
        case .zlib:
            result = libdeflate_zlib_decompress_ex(
                codec, input.baseAddress, input.count, output.baseAddress, output.count, &used, &produced)
        }
        if result == LIBDEFLATE_SUCCESS { return produced == output.count }
        // A stream that would give more than one block: take the first block of it, as zlib does.
        return result == LIBDEFLATE_INSUFFICIENT_SPACE && wrapper == .raw && inflatePrefix(input, into: output)
    }

    private static func inflatePrefix(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        var stream = z_stream()
        guard inflateInit2_(&stream, -15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            return false
        }
        defer { inflateEnd(&stream) }
        // SAFETY: zlib does not write to next_in; both buffers outlive the call.
        stream.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
        stream.avail_in = UInt32(input.count)
        stream.next_out = output.bindMemory(to: UInt8.self).baseAddress
        stream.avail_out = UInt32(output.count)
        let code = inflate(&stream, Z_FINISH)
        return (code == Z_STREAM_END || code == Z_BUF_ERROR) && stream.avail_out == 0
    }

    /// Compresses into `output`; nil when the result does not fit.
    static func compress(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, wrapper: Wrapper = .raw,
        level: Int32 = 1
    ) -> Int? {
        guard let codec = ThreadCodecs.compressor(level: level) else { return nil }
        let count: Int
        switch wrapper {
        case .raw:
            count = libdeflate_deflate_compress(codec, input.baseAddress, input.count, output.baseAddress, output.count)
        case .zlib:
            count = libdeflate_zlib_compress(codec, input.baseAddress, input.count, output.baseAddress, output.count)
        }
        return count > 0 ? count : nil
    }
}

/// libdeflate's working memory, one set per thread, freed when the thread ends.
enum ThreadCodecs {
    private final class Codecs {
        var decompressor: OpaquePointer?
        var compressors: [Int32: OpaquePointer] = [:]
        deinit {
            if let decompressor { libdeflate_free_decompressor(decompressor) }
            for codec in compressors.values { libdeflate_free_compressor(codec) }
        }
    }

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key) { pointer in
            // SAFETY: the value was stored by `codecs` with one retain.
            if let pointer { Unmanaged<Codecs>.fromOpaque(pointer).release() }
        }
        return key
    }()

    private static var codecs: Codecs {
        if let stored = pthread_getspecific(key) {
            // SAFETY: only `codecs` stores under this key.
            return Unmanaged<Codecs>.fromOpaque(stored).takeUnretainedValue()
        }
        let fresh = Codecs()
        pthread_setspecific(key, Unmanaged.passRetained(fresh).toOpaque())
        return fresh
    }

    static func decompressor() -> OpaquePointer? {
        let codecs = codecs
        if codecs.decompressor == nil { codecs.decompressor = libdeflate_alloc_decompressor() }
        return codecs.decompressor
    }

    static func compressor(level: Int32) -> OpaquePointer? {
        let codecs = codecs
        if let codec = codecs.compressors[level] { return codec }
        let codec = libdeflate_alloc_compressor(level)
        codecs.compressors[level] = codec
        return codec
    }
}
