import Emulator
import Images
import Synchronization
import VMProtocol

/// Joins an image to the PC's idea of a disk. A host error becomes the guest's I/O error and a line in the log.
final class DiskAdapter: DiskBackend {
    private let device: any BlockDevice
    /// Something was written since the last flush.
    private let isDirty = Atomic<Bool>(false)
    let sizeBytes: UInt64
    let isReadOnly: Bool

    init(_ device: any BlockDevice) {
        self.device = device
        // A disk has whole sectors; what lies past the image's end reads as zeros.
        sizeBytes = (device.size + 511) & ~511
        isReadOnly = device.isReadOnly
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        let available = offset < device.size ? Int(min(UInt64(buffer.count), device.size - offset)) : 0
        if available > 0 {
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<available])
            try attempt("reading") { () throws(ImageError) in try device.read(into: part, at: offset) }
        }
        if available < buffer.count {
            UnsafeMutableRawBufferPointer(rebasing: buffer[available...]).initializeMemory(as: UInt8.self, repeating: 0)
        }
    }

    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        let available = offset < device.size ? Int(min(UInt64(buffer.count), device.size - offset)) : 0
        guard available > 0 else { return }
        let part = UnsafeRawBufferPointer(rebasing: buffer[..<available])
        isDirty.store(true, ordering: .relaxed)
        try attempt("writing") { () throws(ImageError) in try device.write(from: part, at: offset) }
    }

    func flush() throws(DiskBackendError) {
        isDirty.store(false, ordering: .relaxed)
        try attempt("flushing") { () throws(ImageError) in try device.flush() }
    }

    func discard(at offset: UInt64, length: UInt64) throws(DiskBackendError) {
        guard offset < device.size else { return }
        let count = min(length, device.size - offset)
        try attempt("discarding") { () throws(ImageError) in try device.discard(at: offset, count: count) }
    }

    /// Flushes what a guest wrote and has not flushed, so that a killed process loses little. Drivers order their
    /// writes themselves: this may run beside the guest's own requests.
    func flushIfDirty() {
        guard isDirty.exchange(false, ordering: .relaxed) else { return }
        // A failure has been logged; the guest hears of it at its own next flush.
        try? attempt("flushing") { () throws(ImageError) in try device.flush() }
    }

    private func attempt(_ what: String, _ body: () throws(ImageError) -> Void) throws(DiskBackendError) {
        do {
            try body()
        } catch {
            let message = "\(what) \(device.path) failed: \(error.message)"
            ProcessLog.say(message)
            throw DiskBackendError(message)
        }
    }
}
