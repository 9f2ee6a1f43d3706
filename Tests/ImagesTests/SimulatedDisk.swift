import Glibc

@testable import Images

/// A file's bytes in pages that copies share; absent pages are holes.
struct PagedBytes: Sendable {
    static let pageBytes = 4096
    private var pages: [[UInt8]?] = []
    private(set) var count = 0

    func copy(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) {
        var done = 0
        while done < buffer.count {
            let position = offset + done
            let inPage = position % Self.pageBytes
            let length = min(buffer.count - done, Self.pageBytes - inPage)
            let part = buffer.part(done, length)
            if position / Self.pageBytes < pages.count, let page = pages[position / Self.pageBytes] {
                page.withUnsafeBytes { part.copyMemory(from: $0.part(inPage, length)) }
            } else {
                part.zero(from: 0)
            }
            done += length
        }
    }

    mutating func put(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        if offset + bytes.count > count { resize(to: offset + bytes.count) }
        change(offset, bytes.count) { page, inPage, done, length in
            if page == nil { page = [UInt8](repeating: 0, count: Self.pageBytes) }
            page?.withUnsafeMutableBytes { $0.part(inPage, length).copyMemory(from: bytes.part(done, length)) }
        }
    }

    mutating func zero(at offset: Int, count length: Int) {
        change(offset, max(0, min(length, count - offset))) { page, inPage, _, length in
            if length == Self.pageBytes {
                page = nil
            } else {
                page?.withUnsafeMutableBytes { $0.part(inPage, length).zero(from: 0) }
            }
        }
    }

    mutating func resize(to newCount: Int) {
        if newCount < count { zero(at: newCount, count: count - newCount) }
        let wanted = (newCount + Self.pageBytes - 1) / Self.pageBytes
        if wanted < pages.count {
            pages.removeLast(pages.count - wanted)
        } else {
            pages.append(contentsOf: repeatElement(nil, count: wanted - pages.count))
        }
        count = newCount
    }

    /// Whether `offset` lies in a page with bytes, and how far that holds.
    func run(at offset: Int) -> (isData: Bool, length: Int) {
        var page = offset / Self.pageBytes
        guard page < pages.count else { return (false, Int.max) }
        let isData = pages[page] != nil
        while page < pages.count, (pages[page] != nil) == isData { page += 1 }
        return (isData, page * Self.pageBytes - offset)
    }

    private mutating func change(_ offset: Int, _ length: Int, _ body: (inout [UInt8]?, Int, Int, Int) -> Void) {
        var done = 0
        while done < length {
            let inPage = (offset + done) % Self.pageBytes
            let part = min(length - done, Self.pageBytes - inPage)
            body(&pages[(offset + done) / Self.pageBytes], inPage, done, part)
            done += part
        }
    }
}

/// A host disk with named files that records every change and fails on demand.
final class SimulatedDisk: @unchecked Sendable {
    enum Change: Sendable {
        case write(offset: Int, bytes: [UInt8])
        case resize(Int)
        case zero(offset: Int, count: Int)
        case sync
    }

    struct Event: Sendable {
        var file: String
        var change: Change
    }

    private let lock = Lock()
    private(set) var files: [String: PagedBytes]
    private(set) var events: [Event] = []
    var isRecording = false
    /// Changes asked for so far, failed ones too.
    private(set) var changes = 0
    /// Changes with these numbers fail with the error number.
    var failing: Range<Int> = 0..<0
    var failure: Int32 = ENOSPC

    init(files: [String: PagedBytes] = [:]) { self.files = files }

    func storage(_ path: String, readOnly: Bool = false) -> SimulatedFile {
        locked { if files[path] == nil { files[path] = PagedBytes() } }
        return SimulatedFile(self, path, readOnly)
    }

    static func apply(_ change: Change, to bytes: inout PagedBytes) {
        switch change {
        case .write(let offset, let data): data.withUnsafeBytes { bytes.put($0, at: offset) }
        case .resize(let count): bytes.resize(to: count)
        case .zero(let offset, let count): bytes.zero(at: offset, count: count)
        case .sync: break
        }
    }

    fileprivate func perform(_ path: String, _ change: Change) throws(ImageError) {
        lock.lock()
        defer { lock.unlock() }
        changes += 1
        if failing.contains(changes - 1) { throw .system(failure, "Could not change '\(path)'", path: path) }
        if isRecording { events.append(Event(file: path, change: change)) }
        Self.apply(change, to: &files[path, default: PagedBytes()])
    }

    fileprivate func bytes(_ path: String) -> PagedBytes { locked { files[path] ?? PagedBytes() } }

    private func locked<T>(_ body: () -> T) -> T {
        lock.lock()
        defer { lock.unlock() }
        return body()
    }
}

/// One file of a `SimulatedDisk`.
final class SimulatedFile: Storage {
    private let disk: SimulatedDisk
    let path: String
    let isReadOnly: Bool

    fileprivate init(_ disk: SimulatedDisk, _ path: String, _ readOnly: Bool) {
        self.disk = disk
        self.path = path
        isReadOnly = readOnly
    }

    var byteCount: UInt64 { UInt64(disk.bytes(path).count) }
    var allocatedBytes: UInt64? { byteCount }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        disk.bytes(path).copy(into: buffer, at: Int(offset))
    }

    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try disk.perform(path, .write(offset: Int(offset), bytes: [UInt8](buffer)))
    }

    func resize(to byteCount: UInt64) throws(ImageError) {
        if byteCount != self.byteCount { try disk.perform(path, .resize(Int(byteCount))) }
    }

    func zero(at offset: UInt64, count: UInt64, unmap: Bool) throws(ImageError) {
        try allocate(at: offset, count: count)
        try disk.perform(path, .zero(offset: Int(offset), count: Int(count)))
    }

    func punch(at offset: UInt64, count: UInt64) {
        try? disk.perform(path, .zero(offset: Int(offset), count: Int(count)))
    }

    func allocate(at offset: UInt64, count: UInt64) throws(ImageError) {
        if offset + count > byteCount { try resize(to: offset + count) }
    }

    func dataRun(at offset: UInt64, limit: UInt64) -> (isData: Bool, length: UInt64) {
        guard offset < byteCount else { return (false, limit) }
        let run = disk.bytes(path).run(at: Int(offset))
        return (run.isData, min(limit, UInt64(run.length)))
    }

    func sync() throws(ImageError) { try disk.perform(path, .sync) }
    func close() {}
    func openSibling(_ path: String, create: Bool) throws(ImageError) -> any Storage {
        guard create || disk.files[path] != nil else { throw .system(ENOENT, "Could not open '\(path)'", path: path) }
        return disk.storage(path, readOnly: isReadOnly)
    }
}

/// What may be on the host disk after the power went at some instant of a recorded stream.
struct PowerCut {
    private let events: [SimulatedDisk.Event]
    /// Everything up to each file's last sync.
    private var durable: [String: PagedBytes]
    /// Changes issued after it.
    private var pending: [String: [SimulatedDisk.Change]] = [:]
    /// Events issued so far.
    private(set) var position = 0

    init(start: [String: PagedBytes], events: [SimulatedDisk.Event]) {
        durable = start
        self.events = events
    }

    /// The power stays on until `count` events have been issued.
    mutating func advance(to count: Int) {
        while position < count {
            let event = events[position]
            position += 1
            if case .sync = event.change {
                for change in pending.removeValue(forKey: event.file) ?? [] {
                    SimulatedDisk.apply(change, to: &durable[event.file, default: PagedBytes()])
                }
            } else {
                pending[event.file, default: []].append(event.change)
            }
        }
    }

    /// The disk if everything issued got through.
    func complete() -> [String: PagedBytes] { survivors { [$0] } }

    /// The disk if any part of what was not synced got through: whole writes are lost, or single sectors of them.
    func torn(_ random: inout SeededRandom) -> [String: PagedBytes] {
        let mood = Int.random(in: 0..<4, using: &random)
        var generator = random
        defer { random = generator }
        return survivors { change in
            switch Int.random(in: 0..<8, using: &generator) {
            case 0..<(mood * 2): return [change]
            case 7: return Self.sectors(of: change).filter { _ in Bool.random(using: &generator) }
            default: return []
            }
        }
    }

    private func survivors(
        _ keep: (SimulatedDisk.Change) -> [SimulatedDisk.Change]
    ) -> [String: PagedBytes] {
        var files = durable
        for (path, changes) in pending.sorted(by: { $0.key < $1.key }) {
            for change in changes {
                for part in keep(change) { SimulatedDisk.apply(part, to: &files[path, default: PagedBytes()]) }
            }
        }
        return files
    }

    /// A write in pieces that a disk writes as a whole.
    private static func sectors(of change: SimulatedDisk.Change) -> [SimulatedDisk.Change] {
        guard case .write(let offset, let bytes) = change else { return [change] }
        var parts: [SimulatedDisk.Change] = []
        var start = 0
        while start < bytes.count {
            let end = min(bytes.count, (offset + start) / 512 * 512 + 512 - offset)
            parts.append(.write(offset: offset + start, bytes: Array(bytes[start..<end])))
            start = end
        }
        return parts
    }
}
