import CLZMA
import Glibc

/// xz (the .xz file format 1.2): streams of blocks, each stream with an index of its blocks' sizes at its end.
///
///     stream: fd 37 7a 58 5a 00, flags, CRC-32 │ blocks │ index │ CRC-32, size of the index, flags, "YZ"
///
/// The index says how long the disk is and where its blocks lie, so opening reads a few KiB only, and a random read
/// decodes from the beginning of one block. `xz -T` and pixz make blocks of a few MiB; `xz` on one core makes a single
/// one, where `CompressedRawImage` falls back on a temporary file. Each block's check (CRC-32, CRC-64, SHA-256) is
/// verified when its end is reached.
final class XZStream: CompressedStream, @unchecked Sendable {
    private let storage: any Storage
    private let index: OpaquePointer
    let byteCount: UInt64

    init(_ storage: any Storage) throws(ImageError) {
        self.storage = storage
        var found: OpaquePointer?
        var stream = lzma_stream()
        defer { lzma_end(&stream) }
        func bad(_ code: lzma_ret) -> ImageError {
            ImageError(
                code == LZMA_MEMLIMIT_ERROR ? .unsupported : .corrupt,
                "the index of the xz file cannot be read: \(XZDecoder.reason(code))", format: "xz", path: storage.path)
        }
        var code = lzma_file_info_decoder(&stream, &found, CompressedLimits.indexBytes, storage.byteCount)
        guard code == LZMA_OK else { throw bad(code) }
        let buffer = HeapBuffer(16 << 10, zeroed: false)
        var position: UInt64 = 0
        while code != LZMA_STREAM_END {
            if stream.avail_in == 0 {
                let count = Int(min(UInt64(buffer.bytes.count), storage.byteCount - min(position, storage.byteCount)))
                try storage.read(into: buffer.bytes.part(0, count), at: position)
                position += UInt64(count)
                stream.next_in = UnsafePointer(buffer.base.assumingMemoryBound(to: UInt8.self))
                stream.avail_in = count
            }
            code = lzma_code(&stream, LZMA_RUN)
            switch code {
            case LZMA_OK, LZMA_STREAM_END: break
            case LZMA_SEEK_NEEDED:
                position = stream.seek_pos
                stream.avail_in = 0
            default: throw bad(code)
            }
        }
        guard let found else { throw bad(LZMA_DATA_ERROR) }
        index = found
        byteCount = lzma_index_uncompressed_size(found)
        guard byteCount <= CompressedLimits.diskBytes else {
            throw ImageError(
                .corrupt, "the xz file says that it holds \(byteCount) bytes, more than \(CompressedLimits.diskBytes)",
                format: "xz", path: storage.path)
        }
    }

    deinit { lzma_index_end(index, nil) }

    var damage: ImageError? { nil }
    var details: [InfoField] {
        [
            InfoField("streams", .integer(Int64(clamping: lzma_index_stream_count(index)))),
            InfoField("blocks", .integer(Int64(clamping: lzma_index_block_count(index)))),
        ]
    }

    private func block(at offset: UInt64) -> lzma_index_iter? {
        var iterator = lzma_index_iter()
        lzma_index_iter_init(&iterator, index)
        return lzma_index_iter_locate(&iterator, offset) == 0 ? iterator : nil
    }

    func start(before offset: UInt64) -> UInt64 { block(at: offset)?.block.uncompressed_file_offset ?? byteCount }

    func decoder(before offset: UInt64) throws(ImageError) -> any StreamDecoder {
        XZDecoder(storage, self, at: start(before: offset))
    }

    /// Where the block lies that holds byte `offset` of the disk, nil at its end.
    func entry(at offset: UInt64) -> (file: UInt64, unpadded: UInt64, bytes: UInt64, check: lzma_check)? {
        guard let found = block(at: offset) else { return nil }
        let check = found.stream.flags.map(\.pointee.check) ?? LZMA_CHECK_NONE
        let block = found.block
        return (block.compressed_file_offset, block.unpadded_size, block.uncompressed_size, check)
    }
}

/// Decodes the blocks of an xz file from one block's beginning on.
final class XZDecoder: StreamDecoder {
    private let storage: any Storage
    private let source: XZStream
    private var stream = lzma_stream()
    private let block: UnsafeMutablePointer<lzma_block>
    private var input: StreamInput?
    private(set) var position: UInt64
    private var blockEnd: UInt64 = 0

    init(_ storage: any Storage, _ source: XZStream, at position: UInt64) {
        self.storage = storage
        self.source = source
        self.position = position
        // liblzma updates the block's description while it decodes, so this must not move.
        block = .allocate(capacity: 1)
        block.initialize(to: lzma_block())
    }

    deinit {
        lzma_end(&stream)
        block.deallocate()
    }

    static func reason(_ code: lzma_ret) -> String {
        switch code {
        case LZMA_MEMLIMIT_ERROR, LZMA_MEM_ERROR: "it needs more memory than allowed"
        case LZMA_FORMAT_ERROR: "no xz file, or bytes behind its end"
        case LZMA_OPTIONS_ERROR: "it uses features that liblzma does not know"
        case LZMA_BUF_ERROR: "File truncated"
        case LZMA_DATA_ERROR: "its checks say that it is damaged"
        default: "liblzma error \(code.rawValue)"
        }
    }

    private func bad(_ code: lzma_ret) -> ImageError {
        ImageError(
            code == LZMA_MEMLIMIT_ERROR || code == LZMA_OPTIONS_ERROR ? .unsupported : .corrupt,
            "the xz block at byte \(position) of the disk cannot be decoded: \(Self.reason(code))", format: "xz",
            path: storage.path, offset: input?.next)
    }

    /// Prepares the block at `position`; false at the end of the disk.
    private func beginBlock() throws(ImageError) -> Bool {
        guard let entry = source.entry(at: position) else { return false }
        let first = try storage.readBytes(at: entry.file, count: 1)[0]
        guard first != 0 else { throw bad(LZMA_DATA_ERROR) }
        let headerBytes = (Int(first) + 1) * 4
        let header = try storage.readBytes(at: entry.file, count: headerBytes)
        // One more than LZMA_FILTERS_MAX, for the end mark.
        let filters = UnsafeMutablePointer<lzma_filter>.allocate(capacity: 5)
        filters.initialize(repeating: lzma_filter(id: .max, options: nil), count: 5)
        defer {
            // SAFETY: liblzma allocated the options with malloc; the end mark has the largest id.
            for number in 0..<5 where filters[number].id != .max { free(filters[number].options) }
            filters.deallocate()
        }
        block.pointee = lzma_block()
        block.pointee.version = 0
        block.pointee.header_size = UInt32(headerBytes)
        block.pointee.check = entry.check
        block.pointee.filters = filters
        var code = lzma_block_header_decode(block, nil, header)
        if code == LZMA_OK { code = lzma_block_compressed_size(block, entry.unpadded) }
        if code == LZMA_OK, block.pointee.uncompressed_size != .max, block.pointee.uncompressed_size != entry.bytes {
            code = LZMA_DATA_ERROR
        }
        if code == LZMA_OK, lzma_raw_decoder_memusage(filters) > CompressedLimits.decoderBytes {
            code = LZMA_MEMLIMIT_ERROR
        }
        guard code == LZMA_OK else { throw bad(code) }
        block.pointee.uncompressed_size = entry.bytes
        code = lzma_block_decoder(&stream, block)
        // The options were copied into the decoder and are freed here.
        block.pointee.filters = nil
        guard code == LZMA_OK else { throw bad(code) }
        let end = entry.file + ((entry.unpadded + 3) & ~3)
        input = StreamInput(storage, at: entry.file + UInt64(headerBytes), end: min(end, storage.byteCount))
        stream.avail_in = 0
        blockEnd = position + entry.bytes
        return true
    }

    func decode(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        var done = 0
        // At the end of a block the check behind its last byte is read too.
        while done < buffer.count || (input != nil && position == blockEnd) {
            if input == nil, try !beginBlock() { break }
            guard let input else { break }
            if stream.avail_in == 0 {
                let piece = try input.read()
                stream.next_in = piece.bindMemory(to: UInt8.self).baseAddress
                stream.avail_in = piece.count
            }
            let room = buffer.part(done, buffer.count - done)
            stream.next_out = room.bindMemory(to: UInt8.self).baseAddress
            stream.avail_out = room.count
            let code = lzma_code(&stream, LZMA_RUN)
            let produced = room.count - stream.avail_out
            done += produced
            position += UInt64(produced)
            switch code {
            case LZMA_OK: break
            case LZMA_STREAM_END:
                guard position == blockEnd else { throw bad(LZMA_DATA_ERROR) }
                self.input = nil
            default: throw bad(code)
            }
        }
        return done
    }
}
