/// An image in memory. Records its write stream on demand, so that a crash can be replayed at every write.
public final class MemoryStorage: Storage, @unchecked Sendable {
    /// One step of the recorded stream.
    public enum Event: Sendable {
        case write(offset: UInt64, bytes: [UInt8])
        case resize(UInt64)
        case punch(offset: UInt64, count: UInt64)
        case sync
    }

    public let path: String
    public let isReadOnly: Bool
    private let lock = ReadWriteLock()
    private var content: [UInt8]
    private var events: [Event] = []
    /// Whether `recorded` grows.
    public var isRecording = false

    public init(path: String = "memory", content: [UInt8] = [], readOnly: Bool = false) {
        self.path = path
        self.content = content
        isReadOnly = readOnly
    }

    public var recorded: [Event] { events }
    public var bytes: [UInt8] { content }
    public var byteCount: UInt64 { UInt64(content.count) }
    public var allocatedBytes: UInt64? { UInt64(content.count) }

    /// The file as it was after the first `count` recorded events, applied to `start`.
    public static func replay(_ events: ArraySlice<Event>, onto start: [UInt8]) -> MemoryStorage {
        let storage = MemoryStorage(content: start)
        for event in events { storage.apply(event) }
        return storage
    }

    private func apply(_ event: Event) {
        switch event {
        case .write(let offset, let bytes):
            let end = Int(offset) + bytes.count
            if end > content.count { content.append(contentsOf: repeatElement(0, count: end - content.count)) }
            content.replaceSubrange(Int(offset)..<end, with: bytes)
        case .resize(let count):
            if Int(count) < content.count {
                content.removeLast(content.count - Int(count))
            } else {
                content.append(contentsOf: repeatElement(0, count: Int(count) - content.count))
            }
        case .punch(let offset, let count):
            let start = min(Int(offset), content.count)
            let end = min(start + Int(count), content.count)
            content.replaceSubrange(start..<end, with: repeatElement(0, count: end - start))
        case .sync: break
        }
    }

    private func perform(_ event: Event) {
        lock.lockExclusive()
        defer { lock.unlock() }
        if isRecording { events.append(event) }
        apply(event)
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        lock.lockShared()
        defer { lock.unlock() }
        let start = Int(min(offset, UInt64(content.count)))
        let count = min(buffer.count, content.count - start)
        content.withUnsafeBytes { buffer.copyMemory(from: $0.part(start, count)) }
        buffer.zero(from: count)
    }

    public func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        perform(.write(offset: offset, bytes: [UInt8](buffer)))
    }

    public func resize(to byteCount: UInt64) throws(ImageError) { perform(.resize(byteCount)) }

    public func zero(at offset: UInt64, count: UInt64, unmap: Bool) throws(ImageError) {
        if offset + count > byteCount { perform(.resize(offset + count)) }
        perform(.punch(offset: offset, count: count))
    }

    public func punch(at offset: UInt64, count: UInt64) { perform(.punch(offset: offset, count: count)) }
    public func allocate(at offset: UInt64, count: UInt64) throws(ImageError) {
        if offset + count > byteCount { perform(.resize(offset + count)) }
    }

    public func dataRun(at offset: UInt64, limit: UInt64) -> (isData: Bool, length: UInt64) {
        offset < byteCount ? (true, min(limit, byteCount - offset)) : (false, limit)
    }

    public func sync() throws(ImageError) { perform(.sync) }
    public func close() {}
    public func openSibling(_ path: String, create: Bool) throws(ImageError) -> any Storage {
        throw ImageError(.unsupported, "an image in memory has no companion files", path: path)
    }
}
