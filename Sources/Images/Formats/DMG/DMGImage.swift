import CDeflate

/// An open disk image. Chunks are decoded whole; the last few are kept, 64 MiB at most.
final class DMGImage: BlockMappedImage, CheckableImage, @unchecked Sendable {
    private static let cacheBytes = 64 << 20
    private let tables: [DMGTable]
    /// All chunks by their first sector.
    private let chunks: [DMGChunk]
    private let dataCRC: UInt32?
    private let data: (start: UInt64, length: UInt64)
    private let masterCRC: UInt32?
    private let cacheLock = Lock()
    private var cache: [(sector: UInt64, buffer: HeapBuffer)] = []
    private var cachedBytes = 0

    init(
        _ storage: any Storage, size: UInt64, tables: [DMGTable], dataCRC: UInt32?, data: (UInt64, UInt64),
        masterCRC: UInt32?
    ) throws(ImageError) {
        self.tables = tables
        self.dataCRC = dataCRC
        self.data = data
        self.masterCRC = masterCRC
        chunks = tables.flatMap(\.chunks).sorted { $0.sector < $1.sector }
        for (first, second) in zip(chunks, chunks.dropFirst()) where first.sector + first.sectors > second.sector {
            throw ImageError(
                .corrupt, "the chunks at sectors \(first.sector) and \(second.sector) overlap", format: "dmg",
                path: storage.path)
        }
        super.init(storage: storage, formatName: "dmg", size: size, blockBytes: 512)
    }

    override var isReadOnly: Bool { true }
    override var clusterSize: Int? { nil }
    override var summary: ImageSummary {
        var summary = super.summary
        summary.isCompressed = chunks.contains { $0.kind.rawValue > 2 }
        return summary
    }

    /// The chunk that holds a sector, or nil and the first sector of the one behind it.
    private func find(_ sector: UInt64) -> (chunk: DMGChunk?, next: UInt64) {
        var low = 0
        var high = chunks.count
        while low < high {
            let middle = (low + high) / 2
            if chunks[middle].sector <= sector { low = middle + 1 } else { high = middle }
        }
        let next = low < chunks.count ? chunks[low].sector : diskSize / 512
        guard low > 0, chunks[low - 1].sector + chunks[low - 1].sectors > sector else { return (nil, next) }
        return (chunks[low - 1], next)
    }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        let (found, next) = find(offset / 512)
        // Sectors that no chunk holds read as zeros.
        guard let chunk = found else { return BlockRun(kind: .zero, length: next * 512 - offset) }
        let inside = offset - chunk.sector * 512
        let length = chunk.sectors * 512 - inside
        switch chunk.kind {
        case .zero, .ignore: return BlockRun(kind: .zero, length: length)
        case .raw: return BlockRun(kind: .data, length: length, host: chunk.place + inside)
        case .adc, .zlib, .bzip2, .lzfse, .xz: return BlockRun(kind: .compressed, length: length)
        }
    }

    override func readCompressed(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        guard let chunk = find(offset / 512).chunk else { throw corrupt("no chunk holds byte \(offset)", offset) }
        let whole = try content(of: chunk)
        buffer.copyMemory(from: whole.readable.part(Int(offset - chunk.sector * 512), buffer.count))
    }

    private func content(of chunk: DMGChunk) throws(ImageError) -> HeapBuffer {
        cacheLock.lock()
        let known = cache.first { $0.sector == chunk.sector }?.buffer
        cacheLock.unlock()
        if let known { return known }
        let whole = try decode(chunk)
        cacheLock.lock()
        defer { cacheLock.unlock() }
        cache.append((chunk.sector, whole))
        cachedBytes += whole.bytes.count
        while cachedBytes > Self.cacheBytes || cache.count > 64 {
            cachedBytes -= cache.removeFirst().buffer.bytes.count
        }
        return whole
    }

    private func decode(_ chunk: DMGChunk) throws(ImageError) -> HeapBuffer {
        let output = HeapBuffer(Int(chunk.sectors) * 512, zeroed: false)
        let input = HeapBuffer(Int(chunk.stored), zeroed: false)
        try storage.read(into: input.bytes.part(0, Int(chunk.stored)), at: chunk.place)
        let payload = input.readable.part(0, Int(chunk.stored))
        let isGood: Bool
        switch chunk.kind {
        case .adc: isGood = ADC.decompress(payload, into: output.bytes)
        case .zlib: isGood = Deflate.decompress(payload, into: output.bytes, wrapper: .zlib)
        case .bzip2: isGood = LibraryCodecs.bunzip2(payload, into: output.bytes)
        case .xz: isGood = LibraryCodecs.unxz(payload, into: output.bytes)
        case .lzfse: isGood = LZFSE.decompress(payload, into: output.bytes)
        case .zero, .raw, .ignore: isGood = false
        }
        guard isGood else {
            throw ImageError(
                .io,
                "the \(chunk.kind) chunk of sector \(chunk.sector) at \(chunk.place.hex) does not decompress to "
                    + "\(output.bytes.count) bytes", format: "dmg", path: path, offset: chunk.place)
        }
        return output
    }

    /// Decodes every chunk; with `verifyData` also compares the checksums of the tables and of the file's data.
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var result = CheckResult()
        result.totalClusters = UInt64(chunks.count)
        result.allocatedClusters = UInt64(chunks.count { $0.kind.isStored })
        result.compressedClusters = UInt64(chunks.count { $0.kind.rawValue > 2 })
        func report(_ message: String) {
            result.corruptions += 1
            result.note("ERROR: \(message)")
        }
        for table in tables {
            do throws(ImageError) {
                let crc = try checksum(of: table)
                if verifyData, let stated = table.crc, stated != crc {
                    report(
                        "the sectors from \(table.firstSector) on have the CRC-32 \(UInt64(crc).hex), "
                            + "their table says \(UInt64(stated).hex)")
                }
            } catch {
                report(error.message)
            }
        }
        guard verifyData else { return result }
        // The master checksum is taken of the tables' checksums.
        let sums = tables.compactMap(\.crc)
        if let masterCRC, sums.count == tables.count {
            var bytes: [UInt8] = []
            for sum in sums { bytes.putBE(sum) }
            let crc = bytes.withUnsafeBytes { libdeflate_crc32(0, $0.baseAddress, $0.count) }
            if crc != masterCRC {
                report(
                    "the tables' checksums have the CRC-32 \(UInt64(crc).hex), the trailer says \(UInt64(masterCRC).hex)"
                )
            }
        }
        if let dataCRC {
            var crc: UInt32 = 0
            let buffer = HeapBuffer(1 << 20, zeroed: false)
            var done: UInt64 = 0
            while done < data.length {
                let count = Int(min(UInt64(buffer.bytes.count), data.length - done))
                try storage.read(into: buffer.bytes.part(0, count), at: data.start + done)
                crc = libdeflate_crc32(crc, buffer.base, count)
                done += UInt64(count)
            }
            if crc != dataCRC {
                report("the file's data has the CRC-32 \(UInt64(crc).hex), the trailer says \(UInt64(dataCRC).hex)")
            }
        }
        return result
    }

    /// The CRC-32 of a table's sectors, gaps as zeros left out, as their writer takes it.
    private func checksum(of table: DMGTable) throws(ImageError) -> UInt32 {
        var crc: UInt32 = 0
        let buffer = HeapBuffer(1 << 20, zeroed: false)
        for chunk in table.chunks.sorted(by: { $0.sector < $1.sector }) {
            var position = chunk.sector * 512
            let end = position + chunk.sectors * 512
            // Tebibytes of zeros fit one chunk: their checksum is worked out, not read.
            if !chunk.kind.isStored { (crc, position) = (CRC32.appendingZeros(chunk.sectors * 512, to: crc), end) }
            while position < end {
                let count = Int(min(UInt64(buffer.bytes.count), end - position))
                try read(into: buffer.bytes.part(0, count), at: position)
                crc = libdeflate_crc32(crc, buffer.base, count)
                position += UInt64(count)
            }
        }
        return crc
    }
}
