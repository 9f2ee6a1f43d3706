import CLinux
import Glibc
import Synchronization

/// A host file, block device or CD drive as `Storage`, by pread and pwrite on one descriptor.
public final class FileStorage: Storage, @unchecked Sendable {
    public let path: String
    public let isReadOnly: Bool
    let descriptor: Int32
    private let length: Atomic<UInt64>
    private let isOpen = Atomic<Bool>(true)
    private let unwritten = Atomic<Int>(0)
    private static let writebackBytes = 64 << 20
    /// What is copied from file to file at a time: large enough for the kernel to be called seldom, small enough that a
    /// piece stays in the processor's cache and the page cache takes it in pages it has at hand (docs/decisions/0402).
    static let pieceBytes = 512 << 10
    private let skipSync: Bool
    private let writesBackEarly: Bool
    private let isDevice: Bool
    /// The last run of data: SEEK_HOLE walks a run page by page on some file systems (tmpfs; XFS where extents are
    /// unwritten). Only data is remembered: a byte taken for data that has become a hole still reads right.
    private let knownData = Mutex(0..<UInt64(0))
    private let lock: LockMode
    /// What this file was made with; its companions are too.
    private var attributes = FileAttributes()
    /// Files that neither this one nor a companion may be, should it be written.
    private let protectedFiles: Set<FileIdentity>
    /// Device and inode: tells whether two paths are one file.
    public let identity: FileIdentity

    /// Identity of an open file on this host.
    public struct FileIdentity: Hashable, Sendable {
        public let device: UInt64
        public let inode: UInt64

        /// As `stat` tells it.
        public init(device: UInt64, inode: UInt64) {
            self.device = device
            self.inode = inode
        }

        init(_ status: stat) {
            device = UInt64(status.st_dev)
            inode = UInt64(status.st_ino)
        }

        /// What a path leads to, symbolic links followed; nil where there is nothing.
        init?(of path: String) {
            var status = stat()
            guard stat(path, &status) == 0 else { return nil }
            self.init(status)
        }
    }

    /// Opens an existing file and takes the image lock that `lock` asks for. One of `protectedFiles` is not opened for
    /// writing, nor is it as a companion of this one.
    public static func open(
        _ path: String, readOnly: Bool, lock: LockMode = .normal, unsafeCache: Bool = false, syncsAtEnd: Bool = false,
        protectedFiles: Set<FileIdentity> = []
    ) throws(ImageError) -> FileStorage {
        // A process in its sandbox may not even look at a path: it does so only where that decides something.
        if !readOnly, !protectedFiles.isEmpty { try protect(protectedFiles, FileIdentity(of: path), path) }
        // A pipe of that name must not keep us waiting; files and devices do not mind.
        let flags = (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK
        let fault = HostFaults.failure(.open, path)
        let descriptor = fault == nil ? HandedDescriptors.open(path) ?? Glibc.open(path, flags) : -1
        guard descriptor >= 0 else {
            let code = fault ?? errno
            if code == ENOENT { try FilePath.checkEncoding(path) }
            throw .system(code, "Could not open '\(path)'", path: path)
        }
        return try FileStorage(
            adopting: descriptor, path: path, readOnly: readOnly, lock: lock, unsafeCache: unsafeCache,
            syncsAtEnd: syncsAtEnd, protectedFiles: protectedFiles)
    }

    private static func protect(
        _ files: Set<FileIdentity>, _ identity: FileIdentity?, _ path: String
    ) throws(ImageError) {
        guard let identity, files.contains(identity) else { return }
        throw ImageError(
            .permission, "'\(path)' is a file of a golden image, which is never opened for writing", path: path)
    }

    /// Makes an empty file, or empties an existing one after its lock has been had.
    public static func create(
        _ path: String, exclusive: Bool = false, unsafeCache: Bool = false, protectedFiles: Set<FileIdentity> = []
    ) throws(ImageError) -> FileStorage {
        try create(
            path, exclusive: exclusive, unsafeCache: unsafeCache, protectedFiles: protectedFiles,
            attributes: FileAttributes())
    }

    /// The same, with what the file system is to be told about the file.
    static func create(
        _ path: String, exclusive: Bool = false, unsafeCache: Bool, protectedFiles: Set<FileIdentity> = [],
        attributes: FileAttributes
    ) throws(ImageError) -> FileStorage {
        try FilePath.checkEncoding(path)
        try protect(protectedFiles, FileIdentity(of: path), path)
        let flags = O_RDWR | O_CREAT | O_CLOEXEC | (exclusive ? O_EXCL : 0)
        if let code = HostFaults.failure(.open, path) { throw .system(code, "Could not create '\(path)'", path: path) }
        let descriptor = Glibc.open(path, flags, 0o644)
        guard descriptor >= 0 else { throw .system(errno, "Could not create '\(path)'", path: path) }
        let storage = try FileStorage(
            adopting: descriptor, path: path, readOnly: false, lock: .normal, unsafeCache: unsafeCache,
            protectedFiles: protectedFiles)
        if !storage.isDevice {
            // A file that was made just now is empty: what need not be done cannot fail and leave it behind.
            if storage.byteCount > 0 { try storage.resize(to: 0) }
            attributes.apply(to: descriptor)
        }
        storage.attributes = attributes
        return storage
    }

    private init(
        adopting descriptor: Int32, path: String, readOnly: Bool, lock: LockMode, unsafeCache: Bool,
        syncsAtEnd: Bool = false, protectedFiles: Set<FileIdentity>
    ) throws(ImageError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let code = errno
            Glibc.close(descriptor)
            throw .system(code, "Could not open '\(path)'", path: path)
        }
        let type = status.st_mode & S_IFMT
        guard type == S_IFREG || type == S_IFBLK || type == S_IFCHR else {
            Glibc.close(descriptor)
            throw ImageError(.invalidArgument, "'file' driver requires '\(path)' to be a regular file", path: path)
        }
        isDevice = type != S_IFREG
        self.path = path
        self.descriptor = descriptor
        isReadOnly = readOnly
        skipSync = unsafeCache
        writesBackEarly = unsafeCache && syncsAtEnd
        self.lock = lock
        self.protectedFiles = protectedFiles
        identity = FileIdentity(status)
        var bytes = UInt64(status.st_size)
        if isDevice {
            let end = lseek(descriptor, 0, Int32(SEEK_END))
            bytes = end > 0 ? UInt64(end) : 0
        }
        length = Atomic(bytes)
        if type == S_IFREG {
            do throws(ImageError) {
                // The path may lead elsewhere by now than when it was looked at.
                if !readOnly { try Self.protect(protectedFiles, identity, path) }
                try ImageLock.take(descriptor: descriptor, path: path, readOnly: readOnly, mode: lock)
            } catch {
                close()
                throw error
            }
        }
    }

    deinit { close() }

    /// Refuses a file that is not what one of QEMU's names for file and device says.
    func checkKind(asDriver name: String) throws(ImageError) {
        let demand = isDevice ? "a regular file" : "either a character or block device"
        guard ImageName.protocols.contains(name), isDevice != (name == "host_device") else { return }
        throw ImageError(.invalidArgument, "'\(name)' driver requires '\(path)' to be \(demand)", path: path)
    }

    public func close() {
        guard isOpen.exchange(false, ordering: .acquiringAndReleasing) else { return }
        // A child process between fork and exec shares the open file; its copy must not keep the lock.
        ImageLock.release(descriptor: descriptor)
        Glibc.close(descriptor)
    }

    public var hostFiles: [FileStorage] { [self] }
    public var byteCount: UInt64 { length.load(ordering: .acquiring) }

    public var allocatedBytes: UInt64? {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return nil }
        return UInt64(status.st_blocks) * 512
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        var done = 0
        while done < buffer.count {
            // SAFETY: the range [done, count) lies in the caller's buffer.
            let got = pread(
                descriptor, buffer.baseAddress.unsafelyUnwrapped + done, buffer.count - done,
                off_t(truncatingIfNeeded: offset + UInt64(done)))
            if got > 0 {
                done += got
            } else if got == 0 {
                buffer.zero(from: done)
                return
            } else if errno != EINTR {
                throw .system(errno, "Could not read '\(path)' at \(offset)", path: path, offset: offset)
            }
        }
    }

    public func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        var done = 0
        if let code = HostFaults.failure(.write, path) {
            // What failed may have got half of its way.
            _ = pwrite(descriptor, buffer.baseAddress, buffer.count / 2 & ~511, off_t(truncatingIfNeeded: offset))
            throw .system(code, "Could not write '\(path)' at \(offset)", path: path, offset: offset)
        }
        while done < buffer.count {
            // SAFETY: the range [done, count) lies in the caller's buffer.
            let put = pwrite(
                descriptor, buffer.baseAddress.unsafelyUnwrapped + done, buffer.count - done,
                off_t(truncatingIfNeeded: offset + UInt64(done)))
            if put > 0 {
                done += put
            } else if put == 0 || errno != EINTR {
                let code = put == 0 ? EIO : errno
                throw .system(code, "Could not write '\(path)' at \(offset)", path: path, offset: offset)
            }
        }
        didWrite(done, upTo: offset + UInt64(done))
    }

    /// Keeps account of `count` bytes that have been written up to `end`.
    func didWrite(_ count: Int, upTo end: UInt64) {
        raiseLength(to: end)
        if writesBackEarly { startWriteback(count) }
    }

    /// Files that are synced once at the end are handed to the disk while they are being written, so that the last
    /// step has little left to wait for.
    private func startWriteback(_ bytes: Int) {
        let total = unwritten.add(bytes, ordering: .relaxed).newValue
        guard total >= Self.writebackBytes else { return }
        unwritten.store(0, ordering: .relaxed)
        _ = sync_file_range(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE)
    }

    private func raiseLength(to end: UInt64) {
        if end > length.load(ordering: .relaxed) { length.max(end, ordering: .acquiringAndReleasing) }
    }

    public func resize(to byteCount: UInt64) throws(ImageError) {
        if isDevice {
            guard byteCount <= self.byteCount else {
                throw ImageError(.invalidArgument, "Cannot grow device files", path: path)
            }
            return
        }
        if let code = HostFaults.failure(.resize, path) {
            throw .system(code, "Could not resize '\(path)' to \(byteCount) bytes", path: path)
        }
        guard byteCount <= UInt64(Int64.max), ftruncate(descriptor, off_t(byteCount)) == 0 else {
            throw .system(
                byteCount <= UInt64(Int64.max) ? errno : EFBIG, "Could not resize '\(path)' to \(byteCount) bytes",
                path: path)
        }
        length.store(byteCount, ordering: .releasing)
        forgetData()
    }

    private func forgetData() { knownData.withLock { $0 = 0..<0 } }

    public func zero(at offset: UInt64, count: UInt64, unmap: Bool) throws(ImageError) {
        guard count > 0 else { return }
        defer { forgetData() }
        let end = offset + count
        if !isDevice {
            if end > byteCount {
                let oldEnd = byteCount
                try resize(to: end)
                if offset >= oldEnd { return }
            }
            let mode = (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE
            // Where that fails zeros are written.
            if HostFaults.failure(.allocate, path) == nil,
                fallocate(descriptor, mode, off_t(offset), off_t(count)) == 0
            {
                return
            }
        }
        let chunk = HeapBuffer(Int(min(count, 1 << 20)))
        var position = offset
        while position < end {
            let part = Int(min(UInt64(chunk.bytes.count), end - position))
            try write(from: chunk.readable.part(0, part), at: position)
            position += UInt64(part)
        }
    }

    public func punch(at offset: UInt64, count: UInt64) {
        guard count > 0, !isDevice else { return }
        _ = fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off_t(offset), off_t(count))
        forgetData()
    }

    public func allocate(at offset: UInt64, count: UInt64) throws(ImageError) {
        guard count > 0 else { return }
        let code =
            HostFaults.failure(.allocate, path) ?? posix_fallocate(descriptor, off_t(offset), off_t(count))
        guard code == 0 else {
            throw .system(code, "Could not preallocate \(count) bytes in '\(path)'", path: path)
        }
        raiseLength(to: offset + count)
    }

    public func dataRun(at offset: UInt64, limit: UInt64) -> (isData: Bool, length: UInt64) {
        let end = byteCount
        guard offset < end else { return (false, limit) }
        let known = knownData.withLock { $0 }
        if known.contains(offset) { return (true, min(limit, min(known.upperBound, end) - offset)) }
        let data = lseek(descriptor, off_t(offset), SEEK_DATA)
        if data < 0 {
            // ENXIO: only a hole up to the end. Anything else: this file system cannot tell.
            return errno == ENXIO ? (false, limit) : (true, limit)
        }
        if UInt64(data) > offset { return (false, min(UInt64(data) - offset, limit)) }
        let hole = lseek(descriptor, off_t(offset), SEEK_HOLE)
        guard hole > data else { return (true, min(limit, end - offset)) }
        knownData.withLock { $0 = offset..<UInt64(hole) }
        return (true, min(UInt64(hole) - offset, limit))
    }

    public func sync() throws(ImageError) {
        if skipSync { return }
        try syncAlways()
    }

    /// Syncs also where the cache mode says to skip it: the last step before a rename.
    public func syncAlways() throws(ImageError) {
        if let code = HostFaults.failure(.sync, path) { throw .system(code, "Could not flush '\(path)'", path: path) }
        guard fdatasync(descriptor) == 0 || errno == EINVAL || errno == EROFS else {
            throw .system(errno, "Could not flush '\(path)'", path: path)
        }
    }

    public func openSibling(_ path: String, create: Bool) throws(ImageError) -> any Storage {
        if create {
            return try FileStorage.create(
                path, unsafeCache: skipSync, protectedFiles: protectedFiles, attributes: attributes)
        }
        return try FileStorage.open(
            path, readOnly: isReadOnly, lock: lock, unsafeCache: skipSync, protectedFiles: protectedFiles)
    }
}

// From <linux/falloc.h>, <fcntl.h> and <unistd.h>, which the Glibc module does not export.
let SEEK_DATA: Int32 = 3
let SEEK_HOLE: Int32 = 4
let O_TMPFILE: Int32 = 0o20_000_000 | O_DIRECTORY
let FALLOC_FL_KEEP_SIZE: Int32 = 0x01
let SYNC_FILE_RANGE_WRITE: UInt32 = 2
let FALLOC_FL_PUNCH_HOLE: Int32 = 0x02
let FALLOC_FL_ZERO_RANGE: Int32 = 0x10
