import Glibc

/// The copying half of `convert`: a queue of pieces, worked off by a few threads that read, look for zeros, compress, and
/// write in turn.
final class ConvertCopier: @unchecked Sendable {
    private let source: ConcatenatedDevices
    private let target: any BlockDevice
    private let request: ConvertRequest
    /// The target reads as zeros everywhere and has no backing file.
    private let isFresh: Bool
    /// Pieces begin and end at multiples of this, so that no two touch one cluster.
    private let alignment: Int
    /// Zero runs are looked for in steps of this.
    private let granularity: Int
    private let pieceBytes: Int
    private let pace: RateLimit
    private let isCompressed: Bool
    /// Source files that the target can share disk blocks with.
    private let sharing: Set<ObjectIdentifier>

    // Shared by the workers, under `lock`.
    private let lock = Lock()
    private let turnChanged = Condition()
    private var cursor: UInt64 = 0
    private var known = KnownRun<Extent.Kind>()
    private var nextTicket = 0
    private var turn = 0
    private var failure: ImageError?
    private var doneBytes: UInt64 = 0

    private struct Piece {
        var offset: UInt64
        var count: UInt64
        var isZero: Bool
        var ticket: Int
    }

    init(_ source: ConcatenatedDevices, _ target: any BlockDevice, _ request: ConvertRequest, isFresh: Bool) {
        self.source = source
        self.target = target
        self.request = request
        self.isFresh = isFresh
        let isCompressed = request.isCompressed || target.needsCompressedWrites
        self.isCompressed = isCompressed
        let cluster = target.clusterSize ?? 4096
        // A new target without a backing file takes parts of its large blocks as well as whole ones, and pieces that fit the
        // processor's cache are copied faster.
        let takesParts = isFresh && !isCompressed && cluster > FileStorage.pieceBytes
        alignment = takesParts ? FileStorage.pieceBytes : max(cluster, 4096)
        if isCompressed || (target.clusterSize ?? 0) > 0 && cluster >= 4096 && cluster <= 1 << 16 {
            granularity = cluster
        } else {
            granularity = max(512, request.sparseBytes & ~511)
        }
        sharing = isCompressed ? [] : Self.sharing(request.sources, target)
        pace = RateLimit(bytesPerSecond: request.rateLimit)
        pieceBytes = max(alignment, isCompressed ? 512 << 10 : FileStorage.pieceBytes)
    }

    func run() throws(ImageError) {
        let isWriteOnce = FormatRegistry.format(named: target.formatName)?.capabilities.contains(.writeOnce) ?? false
        // One more than there are processors: while one piece waits for its turn, the next is being read.
        let workers = max(1, min(request.workers, WorkerThreads.processorCount + 1))
        // Without an allocation unit every byte has its place, so the order of writes does not show in the result.
        let inOrder = isWriteOnce || !(request.outOfOrder || target.clusterSize == nil)
        WorkerThreads.run(workers) { _ in self.work(inOrder: inOrder) }
        if let failure { throw failure }
        request.progress?(source.size, source.size)
    }

    private func work(inOrder: Bool) {
        let buffer = HeapBuffer(pieceBytes, zeroed: false)
        let packed = isCompressed ? HeapBuffer(pieceBytes, zeroed: false) : nil
        while true {
            do throws(ImageError) {
                guard let piece = try takePiece() else { return }
                let isOffloaded = request.copyOffload && !piece.isZero && packed == nil
                if !piece.isZero, !isOffloaded { try load(piece, buffer) }
                let sizes = packed != nil && !piece.isZero ? try pack(piece, buffer, packed) : []
                if inOrder { guard waitTurn(piece.ticket) else { return } }
                if piece.isZero {
                    try target.writeZeroes(at: piece.offset, count: piece.count, mayUnmap: true)
                } else if isOffloaded {
                    try offload(piece, buffer)
                } else if let packed {
                    try storePacked(piece, buffer, packed, sizes)
                } else {
                    try store(piece, buffer)
                }
                finish(piece)
            } catch {
                return fail(error)
            }
        }
    }

    /// The next piece of work, nil at the end or after a failure. Zeros that the target has anyway are passed over.
    private func takePiece() throws(ImageError) -> Piece? {
        lock.lock()
        defer { lock.unlock() }
        while failure == nil, cursor < source.size {
            if request.isCancelled?() == true { throw ImageError(.io, "interrupted", code: EINTR) }
            let start = cursor
            var end = start
            var isZero = false
            if looksForRuns {
                let quiet = try quietRun(from: start)
                if quiet.length > 0 {
                    cursor = start + quiet.length
                    doneBytes += quiet.length
                    if quiet.isNothing { continue }
                    isZero = true
                    end = cursor
                }
            }
            if !isZero {
                end = min(source.size, start + UInt64(pieceBytes))
                if looksForRuns {
                    end = min(end, try dataEnd(from: start))
                }
                cursor = end
            }
            defer { nextTicket += 1 }
            return Piece(offset: start, count: end - start, isZero: isZero, ticket: nextTicket)
        }
        return nil
    }

    /// Without holes and a backing file in the target, what the source says of its bytes makes no difference.
    private var looksForRuns: Bool { request.sparseBytes > 0 || request.backing != nil }

    /// Whether bytes of this kind need no data in the target.
    private func isQuiet(_ kind: Extent.Kind) -> Bool {
        switch kind {
        case .data, .compressed: false
        case .zero: request.sparseBytes > 0
        // Without a backing file, that are zeros.
        case .unallocated: request.sparseBytes > 0 || request.backing != nil
        }
    }

    /// The run of whole alignment units from `start` that need no data: nothing to do, or zeros to be marked.
    private func quietRun(from start: UInt64) throws(ImageError) -> (length: UInt64, isNothing: Bool) {
        var position = start
        var kind: Extent.Kind?
        while position < source.size {
            let extent = try sourceExtent(at: position, limit: source.size - position)
            guard isQuiet(extent.kind) else { break }
            // With a backing file "not here" and "zero" are two things.
            if request.backing != nil, let kind, kind != extent.kind { break }
            kind = extent.kind
            position += extent.length
        }
        var length = position - start
        if position < source.size { length -= length % UInt64(alignment) }
        return (length, isFresh || (request.backing != nil && kind == .unallocated))
    }

    /// Where the data that begins at `start` ends, rounded up to the alignment.
    private func dataEnd(from start: UInt64) throws(ImageError) -> UInt64 {
        var position = start
        let limit = min(source.size, start + UInt64(pieceBytes))
        while position < limit {
            let extent = try sourceExtent(at: position, limit: limit - position)
            if isQuiet(extent.kind), position > start { break }
            position += extent.length
        }
        let unit = UInt64(alignment)
        return min(source.size, (min(position, limit) - start + unit - 1) / unit * unit + start)
    }

    /// What the source says of its bytes, asked once for each run. What it cannot tell is data when salvaging: reading it
    /// shows what is lost.
    private func sourceExtent(
        at offset: UInt64, limit: UInt64
    ) throws(ImageError) -> (kind: Extent.Kind, length: UInt64) {
        do throws(ImageError) {
            return try known.run(at: offset, limit: limit) { () throws(ImageError) in
                try source.extent(at: offset, limit: source.size - offset, topLayerOnly: request.backing != nil)
            }
        } catch {
            guard request.salvage else { throw error }
            return (.data, min(limit, UInt64(alignment)))
        }
    }

    private func load(_ piece: Piece, _ buffer: HeapBuffer) throws(ImageError) {
        let bytes = buffer.bytes.part(0, Int(piece.count))
        do throws(ImageError) {
            try source.read(into: bytes, at: piece.offset)
        } catch {
            guard request.salvage else { throw error }
            // Sector by sector: what cannot be read becomes zeros.
            var lost: (start: Int, end: Int, reason: ImageError)?
            for start in stride(from: 0, to: bytes.count, by: 512) {
                let sector = bytes.part(start, min(512, bytes.count - start))
                do throws(ImageError) {
                    try source.read(into: sector, at: piece.offset + UInt64(start))
                } catch {
                    sector.zero(from: 0)
                    if let known = lost, known.end == start {
                        lost = (known.start, start + sector.count, known.reason)
                    } else {
                        tell(lost, in: piece)
                        lost = (start, start + sector.count, error)
                    }
                }
            }
            tell(lost, in: piece)
        }
    }

    private func tell(_ lost: (start: Int, end: Int, reason: ImageError)?, in piece: Piece) {
        guard let lost else { return }
        lock.lock()
        defer { lock.unlock() }
        request.didLose?(piece.offset + UInt64(lost.start), UInt64(lost.end - lost.start), lost.reason)
    }

    /// Writes the runs of a piece that are not zero.
    private func store(_ piece: Piece, _ buffer: HeapBuffer) throws(ImageError) {
        let bytes = buffer.readable.part(0, Int(piece.count))
        guard request.sparseBytes > 0 else { return try target.write(from: bytes, at: piece.offset) }
        var position = 0
        while position < bytes.count {
            let start = position
            let isZero = unit(bytes, position).isAllZero
            position += unit(bytes, position).count
            while position < bytes.count, unit(bytes, position).isAllZero == isZero {
                position += unit(bytes, position).count
            }
            let offset = piece.offset + UInt64(start)
            if !isZero {
                try write(bytes.part(start, position - start), at: offset)
            } else if !isFresh {
                try target.writeZeroes(at: offset, count: UInt64(position - start), mayUnmap: true)
            }
        }
    }

    /// Writes bytes that have been read from the source at the same offset: by sharing the source's disk blocks where the
    /// host can.
    private func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        let count = UInt64(bytes.count)
        if !sharing.isEmpty, let range = try source.hostRange(at: offset, limit: count), range.count >= count,
            range.offset % FileStorage.sharingUnit == 0, sharing.contains(ObjectIdentifier(range.storage))
        {
            return try target.write(copying: range.part(0, count), at: offset)
        }
        try target.write(from: bytes, at: offset)
    }

    private static func sharing(_ sources: [any BlockDevice], _ target: any BlockDevice) -> Set<ObjectIdentifier> {
        guard let file = target.plainStorage else { return [] }
        let files = sources.flatMap { DiskImage.chain(of: $0).compactMap(\.plainStorage) }
        return Set(files.filter { file.canShareBlocks(with: $0) }.map { ObjectIdentifier($0) })
    }

    /// Has the host copy a piece; what lies in no host file as it is goes through memory.
    private func offload(_ piece: Piece, _ buffer: HeapBuffer) throws(ImageError) {
        var position = piece.offset
        let end = piece.offset + piece.count
        while position < end {
            if let range = try source.hostRange(at: position, limit: end - position) {
                let count = min(range.count, end - position)
                try target.write(copying: range.part(0, count), at: position)
                position += count
            } else {
                let rest = try source.extent(at: position, limit: end - position, topLayerOnly: false)
                let part = Piece(offset: position, count: min(rest.length, end - position), isZero: false, ticket: 0)
                try load(part, buffer)
                try store(part, buffer)
                position += part.count
            }
        }
    }

    private func unit(_ bytes: UnsafeRawBufferPointer, _ position: Int) -> UnsafeRawBufferPointer {
        bytes.part(position, min(granularity, bytes.count - position))
    }

    /// Compresses the clusters of a piece into `packed`, each at its own place. One size per cluster: 0 for zeros, -1
    /// where compression does not pay.
    private func pack(_ piece: Piece, _ buffer: HeapBuffer, _ packed: HeapBuffer?) throws(ImageError) -> [Int] {
        guard let packed else { return [] }
        let bytes = buffer.readable.part(0, Int(piece.count))
        var sizes: [Int] = []
        for start in stride(from: 0, to: bytes.count, by: granularity) {
            let cluster = unit(bytes, start)
            if request.sparseBytes > 0, cluster.isAllZero {
                sizes.append(0)
            } else {
                sizes.append(try target.compress(cluster: cluster, into: packed.bytes.part(start, granularity)) ?? -1)
            }
        }
        return sizes
    }

    private func storePacked(
        _ piece: Piece, _ buffer: HeapBuffer, _ packed: HeapBuffer, _ sizes: [Int]
    ) throws(ImageError) {
        let bytes = buffer.readable.part(0, Int(piece.count))
        for (index, size) in sizes.enumerated() {
            let start = index * granularity
            let offset = piece.offset + UInt64(start)
            switch size {
            case 0:
                if !isFresh {
                    try target.writeZeroes(at: offset, count: UInt64(unit(bytes, start).count), mayUnmap: true)
                }
            case -1: try target.write(from: unit(bytes, start), at: offset)
            default: try target.writeCompressed(packed.readable.part(start, size), at: offset)
            }
        }
    }

    // MARK: Order, progress, failure

    /// Waits until all earlier pieces are written; false after a failure elsewhere.
    private func waitTurn(_ ticket: Int) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        while turn != ticket, failure == nil { lock.wait(turnChanged) }
        return failure == nil
    }

    private func finish(_ piece: Piece) {
        lock.lock()
        turn += 1
        if !piece.isZero { doneBytes += piece.count }
        let done = doneBytes
        request.progress?(done, source.size)
        turnChanged.broadcast()
        lock.unlock()
        pace.wait(done, isCancelled: request.isCancelled)
    }

    private func fail(_ error: ImageError) {
        lock.lock()
        if failure == nil { failure = error }
        turnChanged.broadcast()
        lock.unlock()
    }
}
