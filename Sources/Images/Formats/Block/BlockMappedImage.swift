/// Where a run of disk bytes lies in a format that maps fixed blocks.
struct BlockRun {
    var kind: Extent.Kind
    /// Bytes of the run, at least 1; may span several blocks where they adjoin.
    var length: UInt64
    /// Place of the first byte in the file (data).
    var host: UInt64 = 0
    /// Zero runs that have host space of their own.
    var hasHostSpace = false
}

/// The common part of formats that divide the disk into blocks of one size, each of them somewhere in the file, or
/// nowhere: reading, copy on write, zeroes. A format overrides the hooks: how to find a block, where to put a new one,
/// and how to record it.
///
/// New blocks go behind everything else. Their data is written before `writeTables` records them, so a crash loses at
/// most what was not flushed.
class BlockMappedImage: BlockDevice, @unchecked Sendable {
    let storage: any Storage
    let formatName: String
    let blockBytes: Int
    var diskSize: UInt64
    let access = ReadWriteLock()
    private(set) var backing: (any BlockDevice)?
    private var isPrepared = false
    var arePlacesChecked = false
    private var isClosed = false

    init(storage: any Storage, formatName: String, size: UInt64, blockBytes: Int) {
        self.storage = storage
        self.formatName = formatName
        diskSize = size
        self.blockBytes = blockBytes
    }

    // MARK: Hooks

    /// Finds what the bytes from `offset` on are; at most `limit`. Called with `access` held.
    func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        throw unsupported("cannot be read")
    }

    /// Room for `count` adjoining new blocks from block `index` on; fewer may be given. New room reads as zeros.
    func place(_ index: UInt64, count: Int) throws(ImageError) -> (host: UInt64, count: Int) {
        throw unsupported("cannot be written in place")
    }

    /// Takes room back that `place` gave last and that nothing was linked to.
    func unplace(host: UInt64, count: Int) {}

    /// Records that block `index` lies at `host`.
    func link(_ index: UInt64, host: UInt64) throws(ImageError) { throw unsupported("cannot be written in place") }

    /// Records that block `index` reads as zeros; false where the format cannot say so.
    func markZero(_ index: UInt64) throws(ImageError) -> Bool { false }

    /// Handles a write into bytes that are not data here; returns how many were written, nil to use whole blocks.
    func writeInsideBlock(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) -> Int? { nil }

    /// Reads from a compressed run.
    func readCompressed(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        throw unsupported("has no compression")
    }

    /// Data in place, where a format transforms it (encryption).
    func readHost(into buffer: UnsafeMutableRawBufferPointer, host: UInt64, at offset: UInt64) throws(ImageError) {
        try storage.read(into: buffer, at: host)
    }

    func writeHost(from buffer: UnsafeRawBufferPointer, host: UInt64, at offset: UInt64) throws(ImageError) {
        try storage.write(from: buffer, at: host)
    }

    /// Whether new room must be filled with transformed zeros rather than left as it is.
    var transformsData: Bool { false }
    /// False where `place` gives room that may hold what an interrupted writer left there.
    var newRoomReadsAsZeros: Bool { true }
    /// Writes the tables; the data they name has been synced.
    func writeTables() throws(ImageError) {}
    var hasDirtyTables: Bool { false }
    /// Tells where metadata and blocks lie in the file.
    func collectPlaces(into places: inout BlockPlaces) throws(ImageError) {}
    /// New blocks must not go before `end`, where the last block ends.
    func keepClear(of end: UInt64) {}
    /// Before the first write.
    func willWrite() throws(ImageError) {}
    /// Last thing before the file is closed, after the tables.
    func finish() throws(ImageError) {}

    var backingReference: BackingReference? { nil }
    var formatDetails: FormatDetails? { nil }
    var clusterSize: Int? { blockBytes }
    var needsCompressedWrites: Bool { false }

    var summary: ImageSummary {
        var summary = ImageSummary()
        summary.actualSize = storage.allocatedBytes
        return summary
    }

    func attach(backing: any BlockDevice) throws(ImageError) { self.backing = backing }

    func writeCompressed(_ payload: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        throw unsupported("has no compression")
    }

    func compress(
        cluster: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer
    ) throws(ImageError) -> Int? {
        throw ImageError(.unsupported, "Compression not supported for this file format", format: formatName, path: path)
    }

    func resize(to newSize: UInt64, preallocation: Preallocation) throws(ImageError) {
        throw ImageError(.unsupported, "Image format driver does not support resize", format: formatName, path: path)
    }

    // MARK: BlockDevice

    var path: String { storage.path }
    var size: UInt64 { diskSize }
    var isReadOnly: Bool { storage.isReadOnly }
    var hostFiles: [FileStorage] { storage.hostFiles }

    private func unsupported(_ what: String) -> ImageError {
        ImageError(.unsupported, "'\(path)': this \(formatName) image \(what)", format: formatName, path: path)
    }

    func corrupt(_ message: String, _ offset: UInt64? = nil) -> ImageError {
        ImageError(.corrupt, message, format: formatName, path: path, offset: offset)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try checkRange(offset, UInt64(buffer.count))
        access.lockShared()
        defer { access.unlock() }
        try readLocked(into: buffer, at: offset)
    }

    func readLocked(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        var done = 0
        while done < buffer.count {
            let position = offset + UInt64(done)
            let run = try locate(position, limit: UInt64(buffer.count - done))
            let count = Int(min(run.length, UInt64(buffer.count - done)))
            let part = buffer.part(done, count)
            switch run.kind {
            case .data: try readHost(into: part, host: run.host, at: position)
            case .zero: part.zero(from: 0)
            case .unallocated: try readBacking(into: part, at: position)
            case .compressed: try readCompressed(into: part, at: position)
            }
            done += count
        }
    }

    private func prepare() throws(ImageError) {
        try checkWritable()
        if isPrepared { return }
        try checkPlaces()
        try willWrite()
        isPrepared = true
    }

    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try checkRange(offset, UInt64(buffer.count))
        access.lockExclusive()
        defer { access.unlock() }
        try prepare()
        try writeLocked(from: buffer, at: offset)
    }

    func writeLocked(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        var done = 0
        while done < buffer.count {
            let position = offset + UInt64(done)
            let rest = buffer.part(done, buffer.count - done)
            let run = try locate(position, limit: UInt64(rest.count))
            if run.kind == .data {
                let count = Int(min(run.length, UInt64(rest.count)))
                try writeHost(from: rest.part(0, count), host: run.host, at: position)
                done += count
            } else if let count = try writeInsideBlock(from: rest, at: position) {
                done += count
            } else {
                done += try writeNewBlocks(from: rest, at: position, run)
            }
        }
    }

    var plainStorage: (any Storage)? { transformsData ? nil : storage }

    func write(copying range: HostRange, at offset: UInt64) throws(ImageError) {
        try checkRange(offset, range.count)
        access.lockExclusive()
        defer { access.unlock() }
        try prepare()
        let block = UInt64(blockBytes)
        var done: UInt64 = 0
        while done < range.count {
            let position = offset + done
            let rest = range.part(done, range.count - done)
            let run = try locate(position, limit: rest.count)
            if run.kind == .data, !transformsData {
                let part = rest.part(0, min(run.length, rest.count))
                try storage.copy(part, to: run.host)
                done += part.count
            } else if run.kind != .compressed, !transformsData, backingReference == nil, position % block == 0,
                rest.count >= block
            {
                let wanted = Int(max(1, min(rest.count, run.length, 1 << 30) / block))
                let (host, count) = try place(position / block, count: wanted)
                let part = rest.part(0, UInt64(count) * block)
                try storage.copy(part, to: host)
                for step in 0..<UInt64(count) { try link(position / block + step, host: host + step * block) }
                done += part.count
            } else {
                let buffer = HeapBuffer(Int(min(rest.count, block - position % block)), zeroed: false)
                try rest.storage.read(into: buffer.bytes, at: rest.offset)
                try writeLocked(from: buffer.readable, at: position)
                done += UInt64(buffer.bytes.count)
            }
        }
    }

    /// Gives new blocks to the beginning of `buffer`, filling up what of them it does not cover.
    private func writeNewBlocks(
        from buffer: UnsafeRawBufferPointer, at offset: UInt64, _ run: BlockRun
    ) throws(ImageError) -> Int {
        let block = UInt64(blockBytes)
        let index = offset / block
        let inBlock = Int(offset % block)
        if inBlock == 0, buffer.count >= blockBytes {
            let wanted =
                run.kind == .compressed ? 1 : max(1, min(buffer.count, Int(min(run.length, 1 << 30))) / blockBytes)
            let (host, count) = try place(index, count: wanted)
            do throws(ImageError) {
                try writeHost(from: buffer.part(0, count * blockBytes), host: host, at: offset)
            } catch {
                unplace(host: host, count: count)
                throw error
            }
            for step in 0..<UInt64(count) { try link(index + step, host: host + step * block) }
            return count * blockBytes
        }
        let count = min(buffer.count, blockBytes - inBlock)
        let start = index * block
        let isBacked = run.kind == .unallocated && backing.map { start < $0.size } ?? false
        let (host, _) = try place(index, count: 1)
        do throws(ImageError) {
            if isBacked || run.kind == .compressed || transformsData || !newRoomReadsAsZeros {
                try copyOld(from: start, to: offset, host: host)
                try copyOld(
                    from: offset + UInt64(count), to: start + block, host: host + UInt64(inBlock + count))
            }
            try writeHost(from: buffer.part(0, count), host: host + UInt64(inBlock), at: offset)
        } catch {
            unplace(host: host, count: 1)
            throw error
        }
        try link(index, host: host)
        return count
    }

    /// Makes a part of the file read as zeros and be there. Behind the last block that the tables name, an interrupted
    /// writer may have left bytes.
    func clearRoom(from start: UInt64, to end: UInt64) throws(ImageError) {
        let fileEnd = storage.byteCount
        if start < fileEnd { try storage.zero(at: start, count: min(end, fileEnd) - start, unmap: true) }
        if end > fileEnd { try storage.resize(to: end) }
    }

    /// Copies the disk's present bytes, zeros past its end, to a place in the file.
    private func copyOld(from start: UInt64, to end: UInt64, host: UInt64) throws(ImageError) {
        guard start < end else { return }
        let buffer = HeapBuffer(Int(min(end - start, 1 << 20)), zeroed: false)
        var position = start
        while position < end {
            let count = Int(min(UInt64(buffer.bytes.count), end - position))
            let inside = position < diskSize ? Int(min(UInt64(count), diskSize - position)) : 0
            try readLocked(into: buffer.bytes.part(0, inside), at: position)
            buffer.bytes.part(0, count).zero(from: inside)
            try writeHost(from: buffer.readable.part(0, count), host: host + (position - start), at: position)
            position += UInt64(count)
        }
    }

    func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) {
        try checkRange(offset, count)
        access.lockExclusive()
        defer { access.unlock() }
        try prepare()
        let block = UInt64(blockBytes)
        var zeros: HeapBuffer?
        var position = offset
        let end = offset + count
        while position < end {
            let run = try locate(position, limit: end - position)
            var length = min(run.length, end - position)
            let isBacked = run.kind == .unallocated && backing.map { position < $0.size } ?? false
            if run.kind == .zero || (run.kind == .unallocated && !isBacked) {
                position += length
                continue
            }
            let index = position / block
            let blockEnd = min((index + 1) * block, diskSize)
            if position % block == 0, end >= blockEnd, mayUnmap || run.kind != .data, try markZero(index) {
                position = blockEnd
                continue
            }
            length = min(length, blockEnd - position)
            if run.kind == .data, !transformsData {
                try storage.zero(at: run.host, count: length, unmap: mayUnmap)
            } else {
                let buffer = zeros ?? HeapBuffer(1 << 20)
                zeros = buffer
                length = min(length, 1 << 20)
                try writeLocked(from: buffer.readable.part(0, Int(length)), at: position)
            }
            position += length
        }
    }

    func discard(at offset: UInt64, count: UInt64) throws(ImageError) {
        try checkRange(offset, count)
        access.lockExclusive()
        defer { access.unlock() }
        try prepare()
        guard !transformsData else { return }
        var position = offset
        while position < offset + count {
            let run = try locate(position, limit: offset + count - position)
            let length = min(run.length, offset + count - position)
            if run.kind == .data { try storage.zero(at: run.host, count: length, unmap: true) }
            position += length
        }
    }

    func extent(at offset: UInt64, limit: UInt64) throws(ImageError) -> Extent {
        try checkRange(offset, 0)
        access.lockShared()
        defer { access.unlock() }
        let end = offset + min(limit, diskSize - offset)
        var run = try locate(offset, limit: end - offset)
        run.length = min(run.length, end - offset)
        while offset + run.length < end {
            // What cannot be told ends the run; asking for it alone gives the error.
            guard let next = try? locate(offset + run.length, limit: end - offset - run.length), next.kind == run.kind,
                next.hasHostSpace == run.hasHostSpace,
                run.kind != .data || next.host == run.host + run.length
            else { break }
            run.length = min(run.length + next.length, end - offset)
        }
        let hasPlace = run.kind == .data && !transformsData
        return Extent(
            run.kind, length: run.length, hostOffset: hasPlace ? run.host : nil,
            isAllocated: run.kind != .unallocated && (run.kind != .zero || run.hasHostSpace))
    }

    func flush() throws(ImageError) {
        guard !isReadOnly else { return }
        access.lockExclusive()
        defer { access.unlock() }
        try flushLocked()
    }

    private func flushLocked() throws(ImageError) {
        if hasDirtyTables {
            // Data first: a table must never name what is not there.
            try storage.sync()
            try writeTables()
        }
        try storage.sync()
    }

    func close() throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        guard !isClosed else { return }
        isClosed = true
        defer { storage.close() }
        if !isReadOnly {
            try flushLocked()
            if isPrepared { try finish() }
            try storage.sync()
        }
        try backing?.close()
    }
}
