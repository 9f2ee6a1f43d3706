import Emulator
import Glibc
import Images
import Synchronization
import VMProtocol

/// Joins an image to the PC's idea of a disk. A host error becomes the guest's I/O error and a line in the log.
final class DiskAdapter: DiskBackend {
    private let current: Mutex<any BlockDevice>
    /// The image behind the disk.
    var device: any BlockDevice { current.withLock { $0 } }
    private let policy: VMDescription.WriteErrorPolicy
    private let hold: GuestHold?
    /// QEMU's name of the drive, for its events.
    private let driveName: String
    /// A failing disk is told of so often; a guest that goes on trying does not fill the log.
    private let sentencesLeft = Atomic<Int>(100)
    /// Something was written since the last flush.
    private let isDirty = Atomic<Bool>(false)
    let sizeBytes: UInt64
    let isReadOnly: Bool

    /// - Parameter hold: who pauses the guest while the host cannot write; nil reports every error to it.
    init(
        _ device: any BlockDevice, named driveName: String, policy: VMDescription.WriteErrorPolicy = .enospc,
        hold: GuestHold? = nil
    ) {
        current = Mutex(device)
        self.driveName = driveName
        self.policy = policy
        self.hold = hold
        // A disk has whole sectors; what lies past the image's end reads as zeros.
        sizeBytes = (device.size + 511) & ~511
        isReadOnly = device.isReadOnly
    }

    /// Puts another image behind the disk, one that reads the same. The guest stands still meanwhile.
    func change(to device: any BlockDevice) { current.withLock { $0 = device } }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        let device = device
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
        let device = device
        let available = offset < device.size ? Int(min(UInt64(buffer.count), device.size - offset)) : 0
        guard available > 0 else { return }
        let part = UnsafeRawBufferPointer(rebasing: buffer[..<available])
        isDirty.store(true, ordering: .relaxed)
        try attemptWrite("writing") { () throws(ImageError) in try device.write(from: part, at: offset) }
    }

    func flush() throws(DiskBackendError) {
        isDirty.store(false, ordering: .relaxed)
        try attemptWrite("flushing") { () throws(ImageError) in try device.flush() }
    }

    func discard(at offset: UInt64, length: UInt64) throws(DiskBackendError) {
        let device = device
        guard offset < device.size else { return }
        let count = min(length, device.size - offset)
        try attempt("discarding") { () throws(ImageError) in try device.discard(at: offset, count: count) }
    }

    /// Flushes what a guest wrote and has not flushed, so that a killed process loses little. Drivers order their
    /// writes themselves: this may run beside the guest's own requests.
    func flushIfDirty() {
        guard isDirty.exchange(false, ordering: .relaxed) else { return }
        // A failure has been logged; it is tried again, and the guest hears of it at its own next flush.
        do throws(DiskBackendError) {
            try attempt("flushing") { () throws(ImageError) in try device.flush() }
        } catch {
            isDirty.store(true, ordering: .relaxed)
        }
    }

    /// Does what changes the disk, and what the drive's policy says when the host cannot. Waits on the guest's own thread:
    /// the guest does not run on as long as that lasts.
    private func attemptWrite(_ what: String, _ body: () throws(ImageError) -> Void) throws(DiskBackendError) {
        while true {
            do throws(ImageError) {
                try body()
                return hold?.release() ?? ()
            } catch {
                let message = "\(what) \(device.path) failed: \(error.message)"
                say(message)
                // Not EFBIG, nor a limit of the format: waiting frees nothing there.
                let isFull = error.code == ENOSPC || error.code == EDQUOT
                switch policy {
                case .ignore: return
                case .report: throw DiskBackendError(message)
                case .enospc where !isFull: throw DiskBackendError(message)
                case .enospc, .stop: break
                }
                let trouble = GuestHold.Trouble(drive: driveName, sentence: message, isFull: isFull)
                guard let hold, hold.waitForBetter(trouble) else { throw DiskBackendError(message) }
            }
        }
    }

    private func say(_ message: String) {
        let left = sentencesLeft.wrappingSubtract(1, ordering: .relaxed).newValue
        if left >= 0 { ProcessLog.say(message + (left == 0 ? "; no more of this is told" : "")) }
    }

    private func attempt(_ what: String, _ body: () throws(ImageError) -> Void) throws(DiskBackendError) {
        do {
            try body()
        } catch {
            let message = "\(what) \(device.path) failed: \(error.message)"
            say(message)
            throw DiskBackendError(message)
        }
    }
}
