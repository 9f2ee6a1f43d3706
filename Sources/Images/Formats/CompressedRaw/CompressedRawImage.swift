import Glibc

/// A raw disk inside a compressed stream, read only.
///
/// The stream is decoded in chunks of 1 MiB; the last 16 are kept. A read goes on with the decoder of the read before
/// it where it can, else from the nearest place that the stream offers. Streams of one piece offer only their
/// beginning: once 256 MiB have been decoded for nothing but to get there, the disk is decoded into a temporary file
/// without a name (in $TMPDIR or /var/tmp, with holes for zeros), which serves every later read.
///
/// Memory: 16 MiB of chunks, the places of the stream (at most 32 MiB), one decoder (`CompressedLimits`).
final class CompressedRawImage: BlockMappedImage, CheckableImage, @unchecked Sendable {
    private static let chunkBytes = 1 << 20
    private static let cachedChunks = 16

    let stream: any CompressedStream
    private let decodeLock = Lock()
    private var decoder: (any StreamDecoder)?
    private var chunks: [(number: UInt64, buffer: HeapBuffer)] = []
    private var wasted: UInt64 = 0
    private(set) var spill: FileStorage?
    private let wasteLimit: UInt64

    init(
        _ storage: any Storage, formatName: String, stream: any CompressedStream, wasteLimit: UInt64 = 256 << 20
    ) {
        self.stream = stream
        self.wasteLimit = wasteLimit
        super.init(
            storage: storage, formatName: formatName, size: (stream.byteCount + 511) & ~511,
            blockBytes: Self.chunkBytes)
    }

    /// The compression by the name of its tool.
    var layerName: String { CompressedRawFormat.Codec(rawValue: formatName)?.tool ?? formatName }
    override var isReadOnly: Bool { true }
    override var clusterSize: Int? { nil }
    override var summary: ImageSummary {
        var summary = super.summary
        summary.isCompressed = true
        return summary
    }

    override var formatDetails: FormatDetails? { FormatDetails(type: formatName, fields: stream.details) }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        BlockRun(kind: .compressed, length: UInt64(blockBytes) - offset % UInt64(blockBytes))
    }

    /// The structure has been checked by opening; with `verifyData` everything is decoded and its checksums compared.
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var result = CheckResult()
        result.scope = "Checked: the \(layerName) layer only; a raw disk inside it cannot be checked."
        if let damage = stream.damage {
            result.corruptions += 1
            result.note("ERROR: \(damage.message)")
        } else if verifyData {
            do throws(ImageError) {
                try decodeAll { (_, _) throws(ImageError) in }
            } catch {
                result.corruptions += 1
                result.note("ERROR: \(error.message)")
            }
        }
        return result
    }

    override func readCompressed(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        decodeLock.lock()
        defer { decodeLock.unlock() }
        if let spill { return try spill.read(into: buffer, at: offset) }
        let number = offset / UInt64(blockBytes)
        let inChunk = Int(offset % UInt64(blockBytes))
        if let chunk = try chunk(number) {
            buffer.copyMemory(from: chunk.readable.part(inChunk, buffer.count))
        } else if let spill {
            try spill.read(into: buffer, at: offset)
        }
    }

    /// The decoded chunk; nil when the temporary file has it now.
    private func chunk(_ number: UInt64) throws(ImageError) -> HeapBuffer? {
        if let known = chunks.first(where: { $0.number == number }) { return known.buffer }
        let start = number * UInt64(blockBytes)
        let offered = stream.start(before: start)
        if decoder.map({ $0.position > start || offered > $0.position }) ?? true {
            if start - offered > UInt64(blockBytes) { wasted += start - offered }
            if wasted > wasteLimit {
                try fillSpill()
                return nil
            }
            decoder = try stream.decoder(before: start)
        }
        guard let decoder else { return nil }
        do throws(ImageError) {
            try skipToChunk(decoder)
            while true {
                let buffer = HeapBuffer(blockBytes, zeroed: false)
                let at = decoder.position
                let count = try decoder.decode(into: buffer.bytes)
                buffer.bytes.zero(from: count)
                guard count == blockBytes || decoder.position == stream.byteCount else {
                    throw corrupt("the stream ends after \(decoder.position) bytes, not \(stream.byteCount)")
                }
                remember(at / UInt64(blockBytes), buffer)
                if at == start { return buffer }
                guard at < start, count > 0 else { throw corrupt("byte \(start) of the disk was not reached", start) }
            }
        } catch {
            self.decoder = nil
            throw error
        }
    }

    private func remember(_ number: UInt64, _ buffer: HeapBuffer) {
        if chunks.count >= Self.cachedChunks { chunks.removeFirst() }
        chunks.append((number, buffer))
    }

    /// Decodes up to the beginning of a chunk: places need not lie there.
    private func skipToChunk(_ decoder: any StreamDecoder) throws(ImageError) {
        let rest = Int(decoder.position % UInt64(blockBytes))
        guard rest > 0 else { return }
        let buffer = HeapBuffer(blockBytes - rest, zeroed: false)
        _ = try decoder.decode(into: buffer.bytes.part(0, blockBytes - rest))
    }

    private func fillSpill() throws(ImageError) {
        let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp"
        let path = "\(folder)/labctl-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        let file = try FileStorage.create(path, exclusive: true, unsafeCache: true)
        unlink(path)
        try decodeAll { (piece, offset) throws(ImageError) in
            if !piece.isAllZero { try file.write(from: piece, at: offset) }
        }
        try file.resize(to: size)
        spill = file
        decoder = nil
        chunks = []
    }

    /// Decodes the whole disk, which verifies everything that the stream can be verified by.
    func decodeAll(
        _ body: (UnsafeRawBufferPointer, UInt64) throws(ImageError) -> Void
    ) throws(ImageError) {
        let decoder = try stream.decoder(before: 0)
        let buffer = HeapBuffer(blockBytes, zeroed: false)
        while true {
            let offset = decoder.position
            let count = try decoder.decode(into: buffer.bytes)
            try body(buffer.readable.part(0, count), offset)
            if count < blockBytes { break }
        }
        guard decoder.position == stream.byteCount else {
            throw corrupt("the stream holds \(decoder.position) bytes, not \(stream.byteCount)")
        }
    }
}
