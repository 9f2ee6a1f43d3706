import Glibc

/// How an image file is locked while it is open.
public enum LockMode: Sendable {
    /// Writers exclude each other and readers; readers share with readers.
    case normal
    /// Read although somebody may be writing (`-U`).
    case forceShare
    /// No lock at all (the file is private to this process).
    case none
}

/// QEMU's image locking (block/file-posix.c, "image locking" in QEMU's documentation), so that QEMU and labctl see each
/// other: open-file-description locks on single bytes that need not exist in the file.
///
///     byte 100 + n   held shared by whoever uses permission n
///     byte 200 + n   held shared by whoever does not let others use permission n
///     n: 0 consistent read, 1 write, 2 write unchanged, 3 resize
///
/// A process first marks its own bytes, then looks whether anybody holds the opposite one.
enum ImageLock {
    private static let permissionBase: off_t = 100
    private static let unsharedBase: off_t = 200
    private static let names = ["consistent read", "write", "write unchanged", "resize"]

    // From <fcntl.h>, which Swift does not import: open-file-description locks.
    private static let F_OFD_GETLK: Int32 = 36
    private static let F_OFD_SETLK: Int32 = 37

    static func take(descriptor: Int32, path: String, readOnly: Bool, mode: LockMode) throws(ImageError) {
        let used: [Int]
        let refused: [Int]
        switch mode {
        case .none: return
        case .forceShare: (used, refused) = ([0], [])
        case .normal: (used, refused) = (readOnly ? [0] : [0, 1, 3], [1, 3])
        }
        for bit in used { try mark(descriptor, permissionBase + off_t(bit), path) }
        for bit in refused { try mark(descriptor, unsharedBase + off_t(bit), path) }
        for bit in used where isHeld(descriptor, unsharedBase + off_t(bit)) {
            throw conflict("Failed to get \"\(names[bit])\" lock", path)
        }
        for bit in refused where isHeld(descriptor, permissionBase + off_t(bit)) {
            throw conflict("Failed to get shared \"\(names[bit])\" lock", path)
        }
    }

    /// Gives all bytes back.
    static func release(descriptor: Int32) {
        var region = flock()
        region.l_type = Int16(F_UNLCK)
        region.l_whence = Int16(SEEK_SET)
        region.l_start = permissionBase
        region.l_len = 200
        // SAFETY: the struct outlives the call.
        _ = withUnsafeMutablePointer(to: &region) { fcntl(descriptor, F_OFD_SETLK, $0) }
    }

    private static func conflict(_ what: String, _ path: String) -> ImageError {
        ImageError(.locked, "\(what)\nIs another process using the image [\(path)]?", path: path, code: EAGAIN)
    }

    private static func mark(_ descriptor: Int32, _ byte: off_t, _ path: String) throws(ImageError) {
        var region = flock()
        region.l_type = Int16(F_RDLCK)
        region.l_whence = Int16(SEEK_SET)
        region.l_start = byte
        region.l_len = 1
        // SAFETY: the struct outlives the call.
        let result = withUnsafeMutablePointer(to: &region) { fcntl(descriptor, F_OFD_SETLK, $0) }
        // File systems without locks (ENOLCK, EINVAL) work unprotected, as QEMU does by default.
        if result != 0, errno == EAGAIN || errno == EACCES { throw conflict("Failed to lock byte \(byte)", path) }
    }

    private static func isHeld(_ descriptor: Int32, _ byte: off_t) -> Bool {
        var region = flock()
        region.l_type = Int16(F_WRLCK)
        region.l_whence = Int16(SEEK_SET)
        region.l_start = byte
        region.l_len = 1
        // SAFETY: the struct outlives the call.
        let result = withUnsafeMutablePointer(to: &region) { fcntl(descriptor, F_OFD_GETLK, $0) }
        return result == 0 && region.l_type != Int16(F_UNLCK)
    }
}
