import Glibc

/// A file of the host that the machine loads: firmware, a kernel, an initial RAM disk.
final class HostFile {
    let path: String
    let sizeBytes: Int
    private let descriptor: Int32

    /// - Throws: `badFile` with the host's reason.
    init(_ path: String) throws(MachineError) {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            sizeBytes = 0
            throw .badFile(path: path, reason: String(cString: strerror(errno)))
        }
        var status = stat()
        let result = fstat(descriptor, &status)
        sizeBytes = Int(status.st_size)
        guard result == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw .badFile(path: path, reason: "not a regular file")
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Fills the buffer from `offset` on.
    /// - Throws: `badFile` when the file is shorter or the host cannot read it.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(MachineError) {
        var done = 0
        while done < buffer.count {
            // SAFETY: done stays below the buffer's size.
            let got = pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + done))
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw .badFile(path: path, reason: String(cString: strerror(errno))) }
            guard got > 0 else { throw .badFile(path: path, reason: "the file ends at byte \(offset + done)") }
            done += got
        }
    }

    /// - Returns: at most `count` bytes, fewer at the end of the file.
    func read(_ count: Int, at offset: Int) throws(MachineError) -> [UInt8] {
        var contents = [UInt8](repeating: 0, count: max(0, min(count, sizeBytes - offset)))
        var failure: MachineError?
        contents.withUnsafeMutableBytes { buffer in
            do throws(MachineError) { try read(into: buffer, at: offset) } catch { failure = error }
        }
        if let failure { throw failure }
        return contents
    }

    /// The whole file.
    /// - Throws: `badFile` also when it is longer than `maximumBytes`.
    static func contents(of path: String, maximumBytes: Int) throws(MachineError) -> [UInt8] {
        let file = try HostFile(path)
        guard file.sizeBytes <= maximumBytes else {
            throw .badFile(
                path: path, reason: "\(file.sizeBytes) bytes long, at most \(maximumBytes) are possible here")
        }
        return try file.read(file.sizeBytes, at: 0)
    }
}
