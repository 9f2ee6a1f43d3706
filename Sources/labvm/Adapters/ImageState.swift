import Emulator
import Images

/// The room for a VM's state in an image's snapshot, as the emulator writes it.
final class ImageStateSink: StateSink {
    private let image: any VMStateCapable
    init(_ image: any VMStateCapable) { self.image = image }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        do throws(ImageError) { try image.writeVMState(from: bytes, at: offset) } catch {
            throw DiskBackendError(error.sentence)
        }
    }
}

/// The same as the emulator reads it. Clusters lie anywhere in the image: nothing can be mapped.
final class ImageStateSource: StateSource {
    private let state: any VMStateReading
    init(_ state: any VMStateReading) { self.state = state }

    var sizeBytes: UInt64 { state.byteCount }
    var mappableDescriptor: Int32? { nil }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        do throws(ImageError) { try state.read(into: buffer, at: offset) } catch {
            throw DiskBackendError(error.sentence)
        }
    }
}
