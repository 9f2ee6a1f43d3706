/// Writes a state: memories first, at their fixed places, and the header last, so that a state whose writing was cut short has none.
struct StateWriter {
    private var header: StateFormat.Header
    private let sink: any StateSink
    /// Where the next section of fields goes, and the next memory.
    private var next: UInt64

    /// - Parameter sectionCount: entries that the table will have; a memory takes two.
    init(_ sink: any StateSink, header: StateFormat.Header, sectionCount: Int) {
        self.sink = sink
        self.header = header
        next = UInt64(StateFormat.Header.byteCount(entries: sectionCount))
    }

    private func put(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(MachineError) {
        do throws(DiskBackendError) { try sink.write(bytes, at: offset) } catch { throw .badState(error.message) }
    }

    private mutating func append(_ name: String, version: UInt32, _ kind: StateFormat.Kind, _ bytes: [UInt8])
        throws(MachineError)
    {
        let entry = StateFormat.Entry(
            name: name, version: version, kind: kind, offset: next, length: UInt64(bytes.count),
            checksum: XXHash64.hash(bytes))
        header.entries.append(entry)
        try put(bytes, at: next)
        next = (next + entry.length + 63) & ~63
    }

    private func put(_ bytes: [UInt8], at offset: UInt64) throws(MachineError) {
        var failure: MachineError?
        bytes.withUnsafeBytes { buffer in
            do throws(MachineError) { try put(buffer, at: offset) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    mutating func add(_ section: StateSection) throws(MachineError) {
        try append(section.name, version: section.version, .fields, section.bytes)
    }

    /// Pages that hold something, and the digests of all.
    mutating func add(memory name: String, _ bytes: UnsafeRawBufferPointer) throws(MachineError) {
        let block = UInt64(StateFormat.blockBytes)
        let blocks = (bytes.count + StateFormat.blockBytes - 1) / StateFormat.blockBytes
        // The digests come before the memory, which goes on to the end of its 2 MiB.
        let start = (next + UInt64(blocks * 8) + block - 1) / block * block
        var digests: [UInt8] = []
        for index in 0..<blocks {
            let from = index * StateFormat.blockBytes
            let part = UnsafeRawBufferPointer(
                rebasing: bytes[from..<min(from + StateFormat.blockBytes, bytes.count)])
            let isEmpty = try putPages(part, at: start + UInt64(from))
            let digest =
                isEmpty && part.count == StateFormat.blockBytes ? MemoryPages.zeroBlockDigest : XXHash64.hash(part)
            digests += Array(littleEndianBytes: digest)
        }
        try append(name, version: 1, .digests, digests)
        header.entries.append(
            StateFormat.Entry(
                name: name, version: 1, kind: .memory, offset: start, length: UInt64(bytes.count),
                checksum: XXHash64.hash(digests)))
        next = start + UInt64(bytes.count)
    }

    /// Runs of pages that are not zero.
    /// - Returns: whether there were none.
    private func putPages(_ part: UnsafeRawBufferPointer, at offset: UInt64) throws(MachineError) -> Bool {
        var runStart: Int?
        var isEmpty = true
        for page in stride(from: 0, through: part.count, by: StateFormat.pageBytes) {
            let isZero =
                page >= part.count
                || MemoryPages.isZero(
                    UnsafeRawBufferPointer(rebasing: part[page..<min(page + StateFormat.pageBytes, part.count)]))
            if !isZero {
                runStart = runStart ?? page
                isEmpty = false
            } else if let start = runStart {
                let end = min(page, part.count)
                try put(UnsafeRawBufferPointer(rebasing: part[start..<end]), at: offset + UInt64(start))
                runStart = nil
            }
        }
        return isEmpty
    }

    /// Writes header and table.
    /// - Returns: the length of the whole state.
    mutating func finish() throws(MachineError) -> UInt64 {
        header.totalBytes = next
        try put(header.encoded, at: 0)
        return next
    }
}
