/// The bytes of one image file, below any format: a host file, or memory in tests.
public protocol Storage: AnyObject, Sendable {
    /// Path for messages and for names relative to it.
    var path: String { get }
    /// Length in bytes.
    var byteCount: UInt64 { get }
    var isReadOnly: Bool { get }
    /// Bytes allocated on the host, nil where unknown.
    var allocatedBytes: UInt64? { get }

    /// Fills the buffer; bytes past the end of the file read as zeros.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError)
    /// Writes the whole buffer, growing the file where needed.
    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError)
    /// Sets the length. New bytes are zeros.
    func resize(to byteCount: UInt64) throws(ImageError)
    /// Makes a range zero, as a hole if `unmap`, growing the file where needed.
    func zero(at offset: UInt64, count: UInt64, unmap: Bool) throws(ImageError)
    /// Gives host space back. A hint: failures are swallowed.
    func punch(at offset: UInt64, count: UInt64)
    /// Sets host space aside without changing contents.
    func allocate(at offset: UInt64, count: UInt64) throws(ImageError)
    /// Whether the bytes from `offset` are data (false: a hole), and for how long, at most `limit`.
    func dataRun(at offset: UInt64, limit: UInt64) -> (isData: Bool, length: UInt64)
    /// Waits until all written bytes are on stable storage.
    func sync() throws(ImageError)
    /// Releases the file and its lock.
    func close()
    /// Opens a companion file (external data, extents) with this one's access mode.
    func openSibling(_ path: String, create: Bool) throws(ImageError) -> any Storage
    /// The files of the host that the bytes lie in; none for memory.
    var hostFiles: [FileStorage] { get }
}

extension Storage {
    public var hostFiles: [FileStorage] { [] }

    /// Reads `count` bytes into a fresh array. `count` has been bounded by the caller.
    func readBytes(at offset: UInt64, count: Int) throws(ImageError) -> [UInt8] {
        let buffer = HeapBuffer(count, zeroed: false)
        try read(into: buffer.bytes.part(0, count), at: offset)
        return [UInt8](buffer.readable.part(0, count))
    }

    func write(_ bytes: [UInt8], at offset: UInt64) throws(ImageError) {
        let span = bytes.span
        try span.withUnsafeBytes { (raw) throws(ImageError) in try self.write(from: raw, at: offset) }
    }
}
