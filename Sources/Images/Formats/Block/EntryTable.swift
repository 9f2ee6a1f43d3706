/// A table of equally wide integers in a file (block allocation tables, grain directories, bitmaps). Small ones are kept
/// in memory whole; of large ones only the pages in use, so that memory does not grow with what a header claims.
///
/// Changes are marked by 4 KiB pages, kept until `writeBack`, and written on demand. Reading is safe from several threads;
/// changes need exclusive access, which the owner's lock gives.
final class EntryTable: @unchecked Sendable {
    static let pageBytes = 4096
    /// Tables up to this length are read at once.
    static let residentBytes = 4 << 20
    /// Clean pages of a larger table that are kept.
    private static let keptPages = 512

    let storage: any Storage
    let fileOffset: UInt64
    let count: Int
    private let width: Int
    private let isBigEndian: Bool
    private(set) var dirtyPages: Set<Int> = []
    /// The whole table, nil where it is large.
    private let resident: HeapBuffer?
    private let lock = Lock()
    private var pages: [Int: HeapBuffer] = [:]
    private var order: [Int] = []
    private var last: (page: Int, buffer: HeapBuffer)?

    /// A table of `count` entries of `width` bytes (1, 4 or 8) at `fileOffset`; bytes past the file's end are zeros.
    init(
        _ storage: any Storage, at fileOffset: UInt64, count: Int, width: Int, bigEndian: Bool
    ) throws(ImageError) {
        self.storage = storage
        self.fileOffset = fileOffset
        self.count = count
        self.width = width
        isBigEndian = bigEndian
        guard count * width <= Self.residentBytes else {
            resident = nil
            return
        }
        // Whole pages, so that each can be handed out as one.
        let buffer = HeapBuffer((count * width + Self.pageBytes - 1) / Self.pageBytes * Self.pageBytes)
        try storage.read(into: buffer.bytes.part(0, count * width), at: fileOffset)
        resident = buffer
    }

    var byteCount: Int { count * width }

    /// Entry `index`. Throws where its page cannot be read.
    subscript(index: Int) -> UInt64 {
        get throws(ImageError) {
            precondition(index >= 0 && index < count, "table entry out of range")
            if let resident { return value(resident.base, index * width) }
            lock.lock()
            defer { lock.unlock() }
            return value(try load(index * width / Self.pageBytes).base, index * width % Self.pageBytes)
        }
    }

    /// Changes entry `index` in memory.
    func set(_ value: UInt64, at index: Int) throws(ImageError) {
        precondition(index >= 0 && index < count, "table entry out of range")
        let page = index * width / Self.pageBytes
        lock.lock()
        defer { lock.unlock() }
        let base = try load(page).base + index * width % Self.pageBytes
        switch (width, isBigEndian) {
        case (1, _): base.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
        case (4, true): base.putBE32(UInt32(truncatingIfNeeded: value), 0)
        case (4, false): base.putLE32(UInt32(truncatingIfNeeded: value), 0)
        case (_, true): base.putBE64(value, 0)
        case (_, false): base.putLE64(value, 0)
        }
        dirtyPages.insert(page)
    }

    @inline(__always) private func value(_ base: UnsafeMutableRawPointer, _ at: Int) -> UInt64 {
        switch (width, isBigEndian) {
        case (1, _): UInt64(base.load(fromByteOffset: at, as: UInt8.self))
        case (4, true): UInt64(base.be32(at))
        case (4, false): UInt64(base.le32(at))
        case (_, true): base.be64(at)
        case (_, false): base.le64(at)
        }
    }

    /// Calls `body` with every entry in order, without filling the cache.
    func forEach(_ body: (Int, UInt64) throws(ImageError) -> Void) throws(ImageError) {
        let chunk = HeapBuffer(min(byteCount, 16 * Self.pageBytes), zeroed: false)
        var index = 0
        while index < count {
            let entries = min(count - index, chunk.bytes.count / width)
            try copy(index * width, into: chunk.bytes.part(0, entries * width))
            for step in 0..<entries { try body(index + step, value(chunk.base, step * width)) }
            index += entries
        }
    }

    /// How many entries from `index` on, at most `limit`, are the byte `value` (tables of bytes). Holes in the file are
    /// zeros that need not be read.
    func run(of value: UInt8, from index: Int, limit: Int) throws(ImageError) -> Int {
        var position = index
        let end = min(count, index + limit)
        while position < end {
            let page = position / Self.pageBytes
            if value == 0, resident == nil, position % Self.pageBytes == 0, dirtyPages.isEmpty {
                let hole = storage.dataRun(at: fileOffset + UInt64(position), limit: UInt64(end - position))
                if !hole.isData {
                    position += Int(hole.length)
                    continue
                }
            }
            lock.lock()
            defer { lock.unlock() }
            let bytes = UnsafeRawBufferPointer(start: try load(page).base, count: Self.pageBytes)
            let pageEnd = min((page + 1) * Self.pageBytes, end)
            while position < pageEnd, bytes[position % Self.pageBytes] == value { position += 1 }
            if position < pageEnd { break }
        }
        return min(position, end) - index
    }

    /// Bytes from `start` of the table on as they are now. `start` begins a page.
    private func copy(_ start: Int, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
        if let resident { return buffer.copyMemory(from: resident.readable.part(start, buffer.count)) }
        try storage.read(into: buffer, at: fileOffset + UInt64(start))
        lock.lock()
        defer { lock.unlock() }
        guard !dirtyPages.isEmpty else { return }
        for page in start / Self.pageBytes...(start + buffer.count - 1) / Self.pageBytes where dirtyPages.contains(page)
        {
            guard let changed = pages[page] else { continue }
            let at = page * Self.pageBytes - start
            let length = min(Self.pageBytes, buffer.count - at)
            buffer.part(at, length).copyMemory(from: changed.readable.part(0, length))
        }
    }

    /// The memory of a page, read if need be. Caller holds `lock`.
    private func load(_ page: Int) throws(ImageError) -> (base: UnsafeMutableRawPointer, buffer: HeapBuffer?) {
        if let resident { return (resident.base + page * Self.pageBytes, nil) }
        if let last, last.page == page { return (last.buffer.base, last.buffer) }
        let buffer: HeapBuffer
        if let known = pages[page] {
            buffer = known
        } else {
            if order.count >= 2 * Self.keptPages + dirtyPages.count { dropCleanPages() }
            buffer = HeapBuffer(Self.pageBytes)
            let start = page * Self.pageBytes
            try storage.read(
                into: buffer.bytes.part(0, min(Self.pageBytes, byteCount - start)), at: fileOffset + UInt64(start))
            pages[page] = buffer
            order.append(page)
        }
        last = (page, buffer)
        return (buffer.base, buffer)
    }

    /// Forgets the older half of the clean pages.
    private func dropCleanPages() {
        let older = order.prefix(order.count / 2)
        let dirty = older.filter(dirtyPages.contains)
        for page in older where !dirtyPages.contains(page) { pages[page] = nil }
        // It may be one of those: a change to a page that nobody keeps would be lost.
        last = nil
        order.removeFirst(older.count)
        order += dirty
    }

    /// A page as it lies in the file: 4096 bytes, the last one filled up with zeros.
    func page(_ number: Int) throws(ImageError) -> [UInt8] {
        lock.lock()
        defer { lock.unlock() }
        let base = try load(number).base
        return [UInt8](UnsafeRawBufferPointer(start: base, count: Self.pageBytes))
    }

    /// The changes are in the file.
    func markAllClean() {
        dirtyPages.removeAll()
    }

    /// Writes the changed pages.
    func writeBack() throws(ImageError) {
        for number in dirtyPages.sorted() {
            let start = number * Self.pageBytes
            let bytes = try page(number)
            try storage.write(
                bytes.count <= byteCount - start ? bytes : Array(bytes.prefix(byteCount - start)),
                at: fileOffset + UInt64(start))
        }
        markAllClean()
    }
}
