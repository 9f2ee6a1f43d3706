import Glibc

/// Where a state is written to: a file, or the room for states in a disk image. What is never written reads as zeros.
public protocol StateSink: AnyObject {
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskBackendError)
}

/// Where a state is read from.
public protocol StateSource: AnyObject {
    var sizeBytes: UInt64 { get }
    /// Fills the buffer, which lies inside `sizeBytes`.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskBackendError)
    /// A file that holds the state from its byte 0 and may be mapped, so that memory is read when it is used; nil: it is read now.
    /// What is mapped must not be cut while a machine runs from it.
    var mappableDescriptor: Int32? { get }
}

/// A state in a file of its own.
public final class SavedStateFile: StateSink, StateSource {
    private let descriptor: Int32
    private let path: String
    public let sizeBytes: UInt64
    public var mappableDescriptor: Int32? { descriptor }

    /// Opens a state to restore it.
    public init(reading path: String) throws(MachineError) {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .badFile(path: path, reason: "cannot be opened: \(Self.text(errno))") }
        let size = lseek(descriptor, 0, SEEK_END)
        guard size >= 0 else {
            close(descriptor)
            throw .badFile(path: path, reason: "is no file that can be read at any place")
        }
        sizeBytes = UInt64(size)
    }

    /// A new file, for `write(to:)`.
    private init(creating path: String) throws(MachineError) {
        self.path = path
        sizeBytes = 0
        descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .badFile(path: path, reason: "cannot be written: \(Self.text(errno))") }
    }

    /// Takes over an open, empty file.
    private init(adopting descriptor: Int32, named path: String) {
        self.path = path
        self.descriptor = descriptor
        sizeBytes = 0
    }

    deinit { close(descriptor) }

    /// Writes a state into an empty file that is open. Whoever opened it makes it durable and gives it its name.
    static func fill(
        _ descriptor: Int32, _ body: (SavedStateFile) throws(MachineError) -> UInt64
    ) throws(MachineError) {
        let path = "the file of the state"
        let own = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
        guard own >= 0 else { throw .badFile(path: path, reason: "cannot be written: \(text(errno))") }
        let file = SavedStateFile(adopting: own, named: path)
        let length = try body(file)
        guard ftruncate(own, off_t(length)) == 0 else {
            throw .badFile(path: path, reason: "cannot be written: \(text(errno))")
        }
    }

    /// Writes a state beside `path` and puts it there when it is whole and durable: a kill at any moment leaves the old one.
    static func write(to path: String, _ body: (SavedStateFile) throws(MachineError) -> UInt64) throws(MachineError) {
        let draft = "\(path).\(getpid()).new"
        do throws(MachineError) {
            let file = try SavedStateFile(creating: draft)
            let length = try body(file)
            // Holes at the end count, too: what is mapped must exist.
            guard ftruncate(file.descriptor, Int(length)) == 0, fsync(file.descriptor) == 0, rename(draft, path) == 0
            else { throw MachineError.badFile(path: path, reason: "cannot be written: \(text(errno))") }
        } catch {
            unlink(draft)
            throw error
        }
    }

    public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        var done = 0
        while done < bytes.count, let base = bytes.baseAddress {
            // SAFETY: `done` stays below the buffer's size.
            let count = pwrite(descriptor, base + done, bytes.count - done, off_t(offset) + off_t(done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw DiskBackendError("\(path) cannot be written: \(Self.text(errno))") }
            done += count
        }
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        var done = 0
        while done < buffer.count, let base = buffer.baseAddress {
            // SAFETY: as in `write`.
            let count = pread(descriptor, base + done, buffer.count - done, off_t(offset) + off_t(done))
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw DiskBackendError("\(path) cannot be read: \(Self.text(errno))") }
            guard count > 0 else { throw DiskBackendError("\(path) ends at byte \(offset + UInt64(done))") }
            done += count
        }
    }

    private static func text(_ code: Int32) -> String { String(cString: strerror(code)) }
}
