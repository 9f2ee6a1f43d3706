import Glibc

extension DiskImage {
    /// Writes what is in a compressed file into a new one, with holes for zeros. Every checksum of the compressed file is
    /// verified on the way.
    /// - Parameters:
    ///   - format: `gz`, `xz` or `zst`.
    ///   - progress: bytes of the new file that are done, and that it will have.
    /// - Throws: also once `isCancelled` says so; the new file is removed after every failure.
    public static func unpack(
        _ path: String, format: String, to target: String, progress: (UInt64, UInt64) -> Void = { _, _ in },
        isCancelled: () -> Bool = { false }
    ) throws(ImageError) {
        guard let packer = FormatRegistry.format(named: format) as? CompressedRawFormat else {
            throw ImageError(.invalidArgument, "'\(format)' is not a compression", path: path)
        }
        let storage = try FileStorage.open(path, readOnly: true)
        defer { storage.close() }
        let packed = try packer.layer(storage, OpenOptions())
        let total = packed.stream.byteCount
        let file = try FileStorage.create(target, exclusive: true, unsafeCache: true)
        do throws(ImageError) {
            try packed.decodeAll { (piece, offset) throws(ImageError) in
                if isCancelled() { throw ImageError(.io, "cancelled", path: target) }
                try writeWithHoles(piece, to: file, at: offset)
                progress(offset + UInt64(piece.count), total)
            }
            try file.resize(to: total)
        } catch {
            file.close()
            unlink(target)
            throw error
        }
        file.close()
    }

    /// Zeros of this length become holes.
    private static let holeBytes = 64 << 10

    private static func writeWithHoles(
        _ piece: UnsafeRawBufferPointer, to file: FileStorage, at offset: UInt64
    ) throws(ImageError) {
        var start = 0
        while start < piece.count {
            let part = piece.part(start, min(holeBytes, piece.count - start))
            if !part.isAllZero { try file.write(from: part, at: offset + UInt64(start)) }
            start += part.count
        }
    }
}
