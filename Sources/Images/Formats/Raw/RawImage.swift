/// An open raw image. The disk is the file, rounded up to whole 512-byte sectors that read as zeros.
final class RawImage: BlockDevice, @unchecked Sendable {
    let storage: any Storage
    /// Recognised by absence of any other format: then the guest must not be able to make it look like one.
    private let wasProbed: Bool
    /// Held while a change to the guarded head is judged and made, so that two of them are not judged apart.
    private let headLock = Lock()

    init(storage: any Storage, wasProbed: Bool) {
        self.storage = storage
        self.wasProbed = wasProbed
    }

    var formatName: String { "raw" }
    var path: String { storage.path }
    var size: UInt64 { (storage.byteCount + 511) & ~511 }
    var isReadOnly: Bool { storage.isReadOnly }
    var hostFiles: [FileStorage] { storage.hostFiles }

    var summary: ImageSummary {
        var summary = ImageSummary()
        summary.actualSize = storage.allocatedBytes
        return summary
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try checkRange(offset, UInt64(buffer.count))
        try storage.read(into: buffer, at: offset)
    }

    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try checkWritable()
        try checkRange(offset, UInt64(buffer.count))
        guard reachesHead(offset) else { return try storage.write(from: buffer, at: offset) }
        headLock.lock()
        defer { headLock.unlock() }
        try guardHead(offset, UInt64(buffer.count), buffer)
        try storage.write(from: buffer, at: offset)
    }

    var plainStorage: (any Storage)? { storage }

    func write(copying range: HostRange, at offset: UInt64) throws(ImageError) {
        try checkWritable()
        try checkRange(offset, range.count)
        var head: UInt64 = 0
        if reachesHead(offset) {
            head = min(range.count, UInt64(FormatRegistry.probeBytes) - offset)
            let buffer = HeapBuffer(Int(head), zeroed: false)
            try range.storage.read(into: buffer.bytes, at: range.offset)
            try write(from: buffer.readable, at: offset)
        }
        try storage.copy(range.part(head, range.count - head), to: offset + head)
    }

    /// Whether a change at `offset` could make a guessed raw disk look like another format.
    private func reachesHead(_ offset: UInt64) -> Bool { wasProbed && offset < UInt64(FormatRegistry.probeBytes) }

    /// A guest that writes another format's magic into a disk that was only guessed to be raw would have the next
    /// open follow its header. Such a write is refused; naming the format (`-f raw`) lifts the restriction.
    /// `buffer` nil stands for zeros.
    private func guardHead(
        _ offset: UInt64, _ count: UInt64, _ buffer: UnsafeRawBufferPointer?
    ) throws(ImageError) {
        let head = HeapBuffer(FormatRegistry.probeBytes)
        try storage.read(into: head.bytes, at: 0)
        let change = head.bytes.part(Int(offset), Int(min(count, UInt64(head.bytes.count) - offset)))
        if let buffer { change.copyMemory(from: buffer.part(0, change.count)) } else { change.zero(from: 0) }
        let found = FormatRegistry.best(head: head.readable, fileSize: storage.byteCount, path: path)
        guard found.name == "raw" else {
            throw ImageError(
                .permission,
                "refusing to write a \(found.name) header into '\(path)', whose format was guessed to be raw; "
                    + "open it with format raw to allow this",
                format: "raw", path: path, offset: offset)
        }
    }

    func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) {
        try checkWritable()
        try checkRange(offset, count)
        guard reachesHead(offset) else { return try storage.zero(at: offset, count: count, unmap: mayUnmap) }
        headLock.lock()
        defer { headLock.unlock() }
        try guardHead(offset, count, nil)
        try storage.zero(at: offset, count: count, unmap: mayUnmap)
    }

    func discard(at offset: UInt64, count: UInt64) throws(ImageError) {
        try checkWritable()
        try checkRange(offset, count)
        guard reachesHead(offset) else { return storage.punch(at: offset, count: count) }
        headLock.lock()
        defer { headLock.unlock() }
        try guardHead(offset, count, nil)
        storage.punch(at: offset, count: count)
    }

    func flush() throws(ImageError) { if !isReadOnly { try storage.sync() } }

    func close() throws(ImageError) {
        if !isReadOnly { try storage.sync() }
        storage.close()
    }

    func extent(at offset: UInt64, limit: UInt64) throws(ImageError) -> Extent {
        let run = storage.dataRun(at: offset, limit: min(limit, size - offset))
        return Extent(run.isData ? .data : .zero, length: run.length, hostOffset: offset, isAllocated: true)
    }

    func resize(to newSize: UInt64, preallocation: Preallocation) throws(ImageError) {
        try checkWritable()
        let old = storage.byteCount
        guard preallocation != .metadata else {
            throw ImageError(.unsupported, "Unsupported preallocation mode: metadata", format: "raw", path: path)
        }
        try storage.resize(to: newSize)
        if newSize > old { try Preallocation.fill(storage, from: old, to: newSize, mode: preallocation) }
    }
}
