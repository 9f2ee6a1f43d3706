/// A disk as its guest sees it: a range of bytes that reads, writes, zeroes and discards.
///
/// Offsets and sizes are bytes with no alignment demanded. Reads may come from several threads at once, also while one
/// thread writes; writes exclude each other inside the driver. A write is durable after `flush()` has returned.
public protocol BlockDevice: AnyObject, Sendable {
    /// Registered name of the format, for example `qcow2`.
    var formatName: String { get }
    /// The path the image was opened by.
    var path: String { get }
    /// Virtual size in bytes.
    var size: UInt64 { get }
    /// Whether writes are refused.
    var isReadOnly: Bool { get }
    /// Allocation unit in bytes, nil for formats without one.
    var clusterSize: Int? { get }
    /// The host files of this layer: image, external data file, extents.
    var hostFiles: [FileStorage] { get }

    /// Fills `buffer` from `offset`. Throws `.invalidArgument` when the range leaves the disk.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError)
    /// Writes all of `buffer` at `offset`.
    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError)
    /// Makes the range read as zeros, without writing them where the format can say so. With `mayUnmap` the host
    /// space is given back too.
    func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError)
    /// The guest no longer needs the range. A hint: afterwards it reads as zeros or as before.
    func discard(at offset: UInt64, count: UInt64) throws(ImageError)
    /// Everything written so far survives a crash once this returns.
    func flush() throws(ImageError)
    /// Flushes and releases the file and its lock. Later calls other than `close` fail.
    func close() throws(ImageError)

    /// Writes bytes that lie in a host file at `offset`, by reference or in the kernel where that can be done.
    func write(copying range: HostRange, at offset: UInt64) throws(ImageError)
    /// The file that the host offsets of this layer's data extents mean; nil where the bytes there are not the guest's
    /// (encryption) or lie in several files.
    var plainStorage: (any Storage)? { get }
    /// Whether the host file has anything but a hole at a place that an extent has named; nil where nobody asks for it
    /// because allocated blocks are as good as always data.
    func hostRun(at hostOffset: UInt64, limit: UInt64) throws(ImageError) -> (isData: Bool, length: UInt64)?

    /// What backs the bytes from `offset` on, looking at this layer only; at most `limit` bytes long, at least 1.
    func extent(at offset: UInt64, limit: UInt64) throws(ImageError) -> Extent

    /// The backing file as the image names it, nil for images that stand alone.
    var backingReference: BackingReference? { get }
    /// The opened backing file.
    var backing: (any BlockDevice)? { get }
    /// Joins an opened backing file; called once by `DiskImage.open`.
    func attach(backing: any BlockDevice) throws(ImageError)

    /// Facts for `info`: the format's own name for its data, and fields in display order.
    var formatDetails: FormatDetails? { get }
    /// Fields that `info` shows for every format.
    var summary: ImageSummary { get }

    /// The image takes whole compressed clusters in rising order and nothing else.
    var needsCompressedWrites: Bool { get }
    /// Stores one whole cluster compressed, if the format can: the bytes come from `compress`. The range must be a
    /// cluster (or the disk's last part) that holds nothing yet.
    func writeCompressed(_ payload: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError)
    /// Compresses one cluster for `writeCompressed`; nil when it would not get smaller. Safe from several threads.
    func compress(cluster: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int?
    /// Changes the virtual size.
    func resize(to newSize: UInt64, preallocation: Preallocation) throws(ImageError)
}

/// The part of the answer to `info` that does not depend on the format.
public struct ImageSummary: Sendable {
    /// Bytes allocated on the host, nil where it cannot be told.
    public var actualSize: UInt64?
    public var isEncrypted = false
    public var isCompressed = false
    public var isDirty = false
    public var snapshots: [SnapshotInfo] = []
    public init() {}
}

/// One internal snapshot as `snapshot -l` shows it.
public struct SnapshotInfo: Sendable, Hashable {
    public var id: String
    public var name: String
    /// Bytes of virtual machine state.
    public var vmStateSize: UInt64
    public var dateSeconds: UInt32
    public var dateNanoseconds: UInt32
    /// The guest's clock in nanoseconds.
    public var vmClockNanoseconds: UInt64
    /// Instruction count of record/replay, nil where none is recorded.
    public var icount: UInt64?
    public var diskSize: UInt64

    public init(
        id: String, name: String, vmStateSize: UInt64, dateSeconds: UInt32, dateNanoseconds: UInt32,
        vmClockNanoseconds: UInt64, icount: UInt64?, diskSize: UInt64
    ) {
        self.id = id
        self.name = name
        self.vmStateSize = vmStateSize
        self.dateSeconds = dateSeconds
        self.dateNanoseconds = dateNanoseconds
        self.vmClockNanoseconds = vmClockNanoseconds
        self.icount = icount
        self.diskSize = diskSize
    }
}

/// A run of bytes of one kind in one layer.
public struct Extent: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
        /// Stored here.
        case data
        /// Stored here, compressed.
        case compressed
        /// Reads as zeros by decision of this layer.
        case zero
        /// Not in this layer: the backing file's bytes, or zeros without one.
        case unallocated
    }

    public var kind: Kind
    /// Bytes from the offset that was asked for.
    public var length: UInt64
    /// Where the first byte lies in the file `hostPath`; nil where no plain copy exists.
    public var hostOffset: UInt64?
    /// The file that `hostOffset` is in, nil for the image's own.
    public var hostPath: String?
    /// Zero extents only: whether host space is set aside for them.
    public var isAllocated: Bool

    public init(_ kind: Kind, length: UInt64, hostOffset: UInt64? = nil, hostPath: String? = nil, isAllocated: Bool) {
        self.kind = kind
        self.length = length
        self.hostOffset = hostOffset
        self.hostPath = hostPath
        self.isAllocated = isAllocated
    }
}

/// How an image names its backing file.
public struct BackingReference: Sendable, Hashable {
    /// As recorded: relative names are meant from the image's own folder.
    public var file: String
    /// Recorded format, nil where the image format has no such field or it is empty.
    public var format: String?
    public init(file: String, format: String?) {
        self.file = file
        self.format = format
    }
}

/// A value in the answer to `info`; fields keep their order.
public indirect enum InfoValue: Sendable, Hashable {
    case bool(Bool)
    case integer(Int64)
    case string(String)
    case object([InfoField])
    case array([InfoValue])
}

/// One named value of `formatDetails`.
public struct InfoField: Sendable, Hashable {
    public var name: String
    public var value: InfoValue
    public init(_ name: String, _ value: InfoValue) {
        self.name = name
        self.value = value
    }
}

/// What `info` prints below "Format specific information".
public struct FormatDetails: Sendable, Hashable {
    public var type: String
    public var fields: [InfoField]
    public init(type: String, fields: [InfoField]) {
        self.type = type
        self.fields = fields
    }
}

extension BlockDevice {
    public var clusterSize: Int? { nil }
    public var backingReference: BackingReference? { nil }
    public var backing: (any BlockDevice)? { nil }
    public func attach(backing: any BlockDevice) throws(ImageError) {}
    public var plainStorage: (any Storage)? { nil }

    public func write(copying range: HostRange, at offset: UInt64) throws(ImageError) {
        let buffer = HeapBuffer(Int(min(range.count, UInt64(FileStorage.pieceBytes))), zeroed: false)
        var done: UInt64 = 0
        while done < range.count {
            let part = buffer.bytes.part(0, Int(min(UInt64(buffer.bytes.count), range.count - done)))
            try range.storage.read(into: part, at: range.offset + done)
            try write(from: UnsafeRawBufferPointer(part), at: offset + done)
            done += UInt64(part.count)
        }
    }

    public var needsCompressedWrites: Bool { false }
    public func hostRun(
        at hostOffset: UInt64, limit: UInt64
    ) throws(ImageError) -> (isData: Bool, length: UInt64)? { nil }
    public var formatDetails: FormatDetails? { nil }

    public func writeCompressed(_ payload: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        throw ImageError(
            .unsupported, "Compression not supported for this file format", format: formatName, path: path)
    }

    public func compress(
        cluster: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer
    ) throws(ImageError) -> Int? {
        throw ImageError(
            .unsupported, "Compression not supported for this file format", format: formatName, path: path)
    }

    public func resize(to newSize: UInt64, preallocation: Preallocation) throws(ImageError) {
        throw ImageError(.unsupported, "Image format driver does not support resize", format: formatName, path: path)
    }

    /// Refuses a request that leaves the disk.
    func checkRange(_ offset: UInt64, _ count: UInt64) throws(ImageError) {
        let (end, overflow) = offset.addingReportingOverflow(count)
        guard !overflow, end <= size else {
            throw ImageError(
                .invalidArgument,
                "request for \(count) bytes at \(offset) leaves the disk of \(size) bytes", format: formatName,
                path: path, offset: offset)
        }
    }

    func checkWritable() throws(ImageError) {
        guard !isReadOnly else {
            throw ImageError(.readOnly, "'\(path)' is open read-only", format: formatName, path: path)
        }
    }

    /// Reads `buffer` from the backing file; zeros past its end or without one.
    func readBacking(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        guard let backing, offset < backing.size else {
            buffer.zero(from: 0)
            return
        }
        let available = Int(min(UInt64(buffer.count), backing.size - offset))
        try backing.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<available]), at: offset)
        if available < buffer.count { buffer.zero(from: available) }
    }
}
