import Glibc

/// Small files that are whole or not there: written beside the final name, synced, renamed.
public enum StateFile {
    /// Larger files than this are not ours.
    public static let largestBytes = 16 << 20

    /// Replaces or makes `path`.
    public static func replace(_ path: String, with bytes: [UInt8]) throws(HostError) {
        let temporary = "\(path).\(getpid()).tmp"
        let file = try Descriptor.open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
        guard file.writeAll(bytes), HostCall.sync(file.raw), HostCall.rename(temporary, to: path) else {
            let code = errno
            HostCall.unlink(temporary)
            throw HostError("write", path, code: code)
        }
    }

    /// The whole file; nil when there is none.
    public static func read(_ path: String) throws(HostError) -> [UInt8]? {
        let raw = HostCall.open(path, O_RDONLY)
        guard raw >= 0 else {
            if errno == ENOENT { return nil }
            throw HostError("read", path)
        }
        let file = Descriptor(owning: raw)
        var content: [UInt8] = []
        while true {
            switch file.read() {
            case .bytes(let bytes):
                content += bytes
                guard content.count <= largestBytes else {
                    throw HostError("read", path, code: 0, reason: "it is larger than \(largestBytes) bytes")
                }
            case .endOfFile: return content
            case .wouldBlock: continue
            case .failed(let code): throw HostError("read", path, code: code)
            }
        }
    }

}

/// An advisory lock on a file, held by an open descriptor and whoever inherits it; gone when the last of them is.
public final class FileLock: Sendable {
    /// The descriptor that carries the lock.
    public let descriptor: Descriptor

    /// Takes over a locked descriptor that another process handed down.
    public init(inherited descriptor: Descriptor) { self.descriptor = descriptor }

    /// Tries to lock, without waiting.
    /// - Returns: nil when another process holds it.
    public static func tryLock(_ path: String) throws(HostError) -> FileLock? {
        let descriptor = try Descriptor.open(path, O_RDWR | O_CREAT)
        guard flock(descriptor.raw, LOCK_EX | LOCK_NB) == 0 else {
            if errno == EWOULDBLOCK { return nil }
            throw HostError("lock", path)
        }
        return FileLock(inherited: descriptor)
    }

    /// Whether the locked file is the one that has this name.
    public func holds(_ path: String) -> Bool {
        var mine = stat()
        var named = stat()
        return fstat(descriptor.raw, &mine) == 0 && stat(path, &named) == 0 && mine.st_ino == named.st_ino
            && mine.st_dev == named.st_dev
    }

    /// Whether some process holds the lock. Takes it shared for a moment and never makes the file.
    public static func isHeld(_ path: String) -> Bool {
        let raw = open(path, O_RDONLY | O_CLOEXEC)
        guard raw >= 0 else { return false }
        let descriptor = Descriptor(owning: raw)
        return flock(descriptor.raw, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK
    }

    /// Replaces the file's text (who holds it, for people to read).
    public func annotate(_ text: String) {
        guard HostCall.truncate(descriptor.raw, to: 0) else { return }
        _ = Array(text.utf8).withUnsafeBytes { pwrite(descriptor.raw, $0.baseAddress, $0.count, 0) }
    }
}
