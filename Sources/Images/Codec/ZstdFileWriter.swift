import CZstd
import Glibc

/// Writes a file as one Zstandard frame with its checksum, from start to end.
public final class ZstdFileWriter {
    private let context: OpaquePointer
    private let descriptor: Int32
    private let path: String
    private let buffer: HeapBuffer

    /// Makes the file, which must not be there.
    public init(_ path: String, level: Int32 = 9) throws(ImageError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw .system(errno, "Could not create '\(path)'", path: path) }
        guard let context = ZSTD_createCCtx() else {
            close(descriptor)
            throw ImageError(.io, "libzstd could not be started", path: path)
        }
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
        self.context = context
        self.descriptor = descriptor
        self.path = path
        buffer = HeapBuffer(ZSTD_CStreamOutSize(), zeroed: false)
    }

    deinit {
        ZSTD_freeCCtx(context)
        close(descriptor)
    }

    /// Writes bytes.
    public func write(_ bytes: [UInt8]) throws(ImageError) { try compress(bytes, ZSTD_e_continue) }

    /// Ends the frame; all of it is on the disk then.
    public func finish() throws(ImageError) {
        try compress([], ZSTD_e_end)
        guard fsync(descriptor) == 0 else { throw .system(errno, "Could not write '\(path)'", path: path) }
    }

    private func compress(_ bytes: [UInt8], _ directive: ZSTD_EndDirective) throws(ImageError) {
        var fault: ImageError?
        bytes.withUnsafeBytes { input in
            do throws(ImageError) {
                try compress(input, directive)
            } catch {
                fault = error
            }
        }
        if let fault { throw fault }
    }

    private func compress(_ input: UnsafeRawBufferPointer, _ directive: ZSTD_EndDirective) throws(ImageError) {
        // SAFETY: libzstd reads inside `input` and writes inside `buffer`, which outlive the calls.
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        while true {
            var target = ZSTD_outBuffer(dst: buffer.bytes.baseAddress, size: buffer.bytes.count, pos: 0)
            let left = ZSTD_compressStream2(context, &target, &source, directive)
            guard ZSTD_isError(left) == 0 else {
                throw ImageError(.io, "libzstd: \(String(cString: ZSTD_getErrorName(left)))", path: path)
            }
            var done = 0
            while done < target.pos {
                let count = Glibc.write(descriptor, buffer.bytes.baseAddress.map { $0 + done }, target.pos - done)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { throw .system(errno, "Could not write '\(path)'", path: path) }
                done += count
            }
            if directive == ZSTD_e_end ? left == 0 : source.pos == source.size { return }
        }
    }
}
