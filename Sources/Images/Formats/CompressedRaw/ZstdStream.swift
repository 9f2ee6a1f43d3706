import CZstd

/// Zstandard (RFC 8878): frames one behind another, between them skippable frames with anything in them.
///
///     frame: 4 magic 0xfd2fb528, 1 descriptor (bits 6–7 width of the content size, 5 single segment, 2 checksum,
///            0–1 width of the dictionary's number), window 0–1, dictionary 0–4, content size 0–8 │ blocks │ checksum 0–4
///     block: 3 bytes: bit 0 last, bits 1–2 kind (0 raw, 1 one byte repeated, 2 compressed), then the length; content
///     skippable: 4 magic 0x184d2a50–5f, 4 length, content
///
/// Opening walks the block headers (three bytes in at most 128 KiB of disk) from frame to frame. `zstd` records the
/// content size where it compresses a file; a frame made from a pipe has none and is decoded once to be measured. A
/// random read decodes from the beginning of a frame: seekable files and those of `pzstd` have many, `zstd` makes a
/// single one, where `CompressedRawImage` falls back on a temporary file. libzstd verifies content size and checksum at the
/// end of each frame. Places are kept at least 1 MiB of disk apart, 65,536 at most.
final class ZstdStream: CompressedStream, @unchecked Sendable {
    static let blockBytes: UInt64 = 128 << 10
    private struct Place {
        var file: UInt64
        var disk: UInt64
    }

    private let storage: any Storage
    private var places: [Place] = []
    private var spacing: UInt64 = 1 << 20
    private(set) var byteCount: UInt64 = 0
    private(set) var damage: ImageError?
    private var frames = 0
    private var hasChecksums = true

    private let report: (@Sendable (UInt64, UInt64) -> Void)?

    /// `report` is told how many bytes of the file have been decoded, where frames have to be.
    init(
        _ storage: any Storage, toleratingDamage: Bool, report: (@Sendable (UInt64, UInt64) -> Void)? = nil
    ) throws(ImageError) {
        self.storage = storage
        self.report = report
        var position: UInt64 = 0
        do throws(ImageError) {
            while position < storage.byteCount { position = try measureFrame(at: position) }
        } catch {
            guard toleratingDamage, frames > 0, error.kind == .corrupt else { throw error }
            damage = error
        }
    }

    var details: [InfoField] {
        [InfoField("frames", .integer(Int64(frames))), InfoField("checksums", .bool(hasChecksums))]
    }

    private func bad(_ message: String, _ offset: UInt64, _ kind: ImageError.Kind = .corrupt) -> ImageError {
        ImageError(
            kind, "\(message), at byte \(offset) of the zstd file", format: "zst", path: storage.path, offset: offset)
    }

    /// Adds the frame at `start` to the disk; returns the place behind it.
    private func measureFrame(at start: UInt64) throws(ImageError) -> UInt64 {
        let window = try storage.readBytes(at: start, count: 24)
        if window.le32(0) & 0xffff_fff0 == 0x184d_2a50 {
            let end = start + 8 + UInt64(window.le32(4))
            guard end <= storage.byteCount else { throw bad("File truncated: a skippable frame does not end", start) }
            return end
        }
        guard window.le32(0) == ZSTD_MAGICNUMBER else {
            throw bad("bytes behind the end that are no zstd frame (magic \(UInt64(window.le32(0)).hex))", start)
        }
        let descriptor = Int(window[4])
        guard descriptor & 8 == 0 else { throw bad("a reserved bit of the frame header is set", start + 4) }
        let isSingle = descriptor & 32 != 0
        var field = isSingle ? 5 : 6
        let dictionaryBytes = [0, 1, 2, 4][descriptor & 3]
        guard window[field..<field + dictionaryBytes].allSatisfy({ $0 == 0 }) else {
            throw bad("the frame needs a dictionary, which is not in the file", start + UInt64(field), .unsupported)
        }
        field += dictionaryBytes
        let sizeBytes = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6]
        var content: UInt64?
        if sizeBytes > 0 {
            let value = (0..<sizeBytes).reduce(UInt64(0)) { $0 | UInt64(window[field + $1]) << UInt64($1 * 8) }
            content = sizeBytes == 2 ? value + 256 : value
        }
        field += sizeBytes
        let (end, room) = try walkBlocks(at: start + UInt64(field), hasChecksum: descriptor & 4 != 0, frame: start)
        if let content, content > room {
            throw bad("the frame says that it holds \(content) bytes, its blocks at most \(room)", start)
        }
        hasChecksums = hasChecksums && descriptor & 4 != 0
        addPlace(start)
        frames += 1
        let bytes: UInt64
        if let content { bytes = content } else { bytes = try measure(from: start, to: end) }
        guard bytes <= CompressedLimits.diskBytes, byteCount + bytes <= CompressedLimits.diskBytes else {
            throw bad("the file holds more than \(CompressedLimits.diskBytes) bytes of disk", start)
        }
        byteCount += bytes
        return end
    }

    /// The place behind a frame's blocks and checksum, and the most bytes that its blocks can give.
    private func walkBlocks(
        at first: UInt64, hasChecksum: Bool, frame: UInt64
    ) throws(ImageError) -> (end: UInt64, room: UInt64) {
        var position = first
        var room: UInt64 = 0
        let buffer = HeapBuffer(4096, zeroed: false)
        var bufferStart = UInt64.max
        while true {
            guard position + 3 <= storage.byteCount else {
                throw bad("File truncated: the frame at \(frame) does not end", position)
            }
            if position < bufferStart || position + 3 > bufferStart + 4096 {
                bufferStart = position
                try storage.read(into: buffer.bytes, at: position)
            }
            let at = Int(position - bufferStart)
            let header =
                UInt64(buffer.bytes[at]) | UInt64(buffer.bytes[at + 1]) << 8 | UInt64(buffer.bytes[at + 2]) << 16
            let kind = header >> 1 & 3, length = header >> 3
            guard kind != 3 else { throw bad("a block of the reserved kind", position) }
            position += 3 + (kind == 1 ? 1 : length)
            room += kind == 2 ? Self.blockBytes : length
            if header & 1 != 0 { break }
        }
        if hasChecksum { position += 4 }
        guard position <= storage.byteCount else {
            throw bad("File truncated: the frame at \(frame) does not end", storage.byteCount)
        }
        return (position, room)
    }

    /// The bytes of a frame that does not say how many it has.
    private func measure(from start: UInt64, to end: UInt64) throws(ImageError) -> UInt64 {
        let decoder = try ZstdDecoder(storage, at: start, disk: 0, end: end)
        let piece = HeapBuffer(1 << 20, zeroed: false)
        while try decoder.decode(into: piece.bytes) == piece.bytes.count {
            try CompressedLimits.checkMeasured(byteCount + decoder.position, format: "zst", path: storage.path)
            report?(decoder.fileOffset, storage.byteCount)
        }
        return decoder.position
    }

    private func addPlace(_ file: UInt64) {
        if let last = places.last, byteCount < last.disk + spacing { return }
        places.append(Place(file: file, disk: byteCount))
        if places.count >= 65536 {
            spacing *= 2
            var kept: [Place] = []
            for place in places where kept.last.map({ place.disk >= $0.disk + spacing }) ?? true { kept.append(place) }
            places = kept
        }
    }

    private func place(before offset: UInt64) -> Place {
        var low = 0
        var high = places.count
        while low < high {
            let middle = (low + high) / 2
            if places[middle].disk <= offset { low = middle + 1 } else { high = middle }
        }
        return low > 0 ? places[low - 1] : Place(file: 0, disk: 0)
    }

    func start(before offset: UInt64) -> UInt64 { place(before: offset).disk }

    func decoder(before offset: UInt64) throws(ImageError) -> any StreamDecoder {
        let place = place(before: offset)
        return try ZstdDecoder(storage, at: place.file, disk: place.disk, end: storage.byteCount)
    }
}

/// Decodes zstd frames from one frame's beginning on.
final class ZstdDecoder: StreamDecoder {
    private let storage: any Storage
    private let context: OpaquePointer
    private let input: StreamInput
    private var source = ZSTD_inBuffer(src: nil, size: 0, pos: 0)
    private(set) var position: UInt64
    private var isInsideFrame = false
    /// Place in the file behind the bytes at hand.
    var fileOffset: UInt64 { input.next }

    init(_ storage: any Storage, at file: UInt64, disk: UInt64, end: UInt64) throws(ImageError) {
        guard let context = ZSTD_createDStream() else {
            throw ImageError(.io, "libzstd could not be started", format: "zst", path: storage.path)
        }
        self.storage = storage
        self.context = context
        input = StreamInput(storage, at: file, end: end)
        position = disk
        // Windows of up to 128 MiB, libzstd's own limit for streams, whatever a frame asks for.
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 27)
    }

    deinit { ZSTD_freeDStream(context) }

    func decode(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        var target = ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
        while target.pos < target.size {
            if source.pos == source.size {
                let piece = try input.read()
                source = ZSTD_inBuffer(src: piece.baseAddress, size: piece.count, pos: 0)
                if piece.count == 0, !isInsideFrame { break }
            }
            let before = (source.pos, target.pos)
            let code = ZSTD_decompressStream(context, &target, &source)
            position += UInt64(target.pos - before.1)
            let isStuck = source.size == 0 && target.pos == before.1
            guard ZSTD_isError(code) == 0, !isStuck else {
                let reason = isStuck ? "File truncated" : String(cString: ZSTD_getErrorName(code))
                throw ImageError(
                    .corrupt, "the zstd frame cannot be decoded at byte \(position) of the disk: \(reason)",
                    format: "zst", path: storage.path, offset: input.next)
            }
            isInsideFrame = code != 0
        }
        return target.pos
    }
}
