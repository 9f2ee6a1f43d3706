/// Where a disk's or CD's bytes come from. `labvm` joins it to an image; tests use memory.
///
/// Offsets are bytes from the start of the disk. The devices check every request against `sizeBytes` first. Calls may
/// come from one thread other than the one that opened the backend, never from two at once.
public protocol DiskBackend: AnyObject, Sendable {
    var sizeBytes: UInt64 { get }
    var isReadOnly: Bool { get }
    /// Fills the buffer; bytes past the end of the image are zero.
    /// - Throws: when the host cannot read; the guest sees an uncorrectable data error.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskBackendError)
    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskBackendError)
    /// Makes everything written so far durable.
    func flush() throws(DiskBackendError)
    /// The range's content is no longer needed (TRIM).
    func discard(at offset: UInt64, length: UInt64) throws(DiskBackendError)
}

/// A host-side failure of a guest disk; `message` is for the log, the guest gets a device error.
public struct DiskBackendError: Error, Sendable {
    public let message: String
    public init(_ message: String) { self.message = message }
}
