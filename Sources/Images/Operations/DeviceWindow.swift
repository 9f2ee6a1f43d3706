/// A part of a disk as a read-only disk of its own.
public final class DeviceWindow: BlockDevice {
    private let device: any BlockDevice
    private let start: UInt64
    public let size: UInt64

    /// The `length` bytes of `device` from `start` on; the range must lie inside.
    public init(_ device: any BlockDevice, start: UInt64, length: UInt64) {
        self.device = device
        self.start = min(start, device.size)
        size = min(length, device.size - self.start)
    }

    public var formatName: String { device.formatName }
    public var path: String { device.path }
    public var isReadOnly: Bool { true }
    public var hostFiles: [FileStorage] { device.hostFiles }
    public var summary: ImageSummary { device.summary }

    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try checkRange(offset, UInt64(buffer.count))
        try device.read(into: buffer, at: start + offset)
    }

    public func extent(at offset: UInt64, limit: UInt64) throws(ImageError) -> Extent {
        let found = try device.chainExtent(at: start + offset, limit: min(limit, size - offset))
        return Extent(found.isZero ? .zero : .data, length: found.length, isAllocated: true)
    }

    public func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) { try checkWritable() }
    public func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) { try checkWritable() }
    public func discard(at offset: UInt64, count: UInt64) throws(ImageError) { try checkWritable() }
    public func flush() throws(ImageError) {}
    public func close() throws(ImageError) { try device.close() }
}
