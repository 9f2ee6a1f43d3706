import CLinux
import Glibc

/// Stream sockets with a name in the file system.
public enum UnixSocket {
    /// `sun_path` has 108 bytes with the terminating zero.
    public static let longestPath = 107

    /// Listens at `path`, replacing a socket that a killed process left. Only this user can connect.
    public static func listen(at path: String, backlog: Int32 = 16) throws(HostError) -> Descriptor {
        let socket = try make(for: path)
        unlink(path)
        let previous = umask(0o177)
        let bound = withAddress(path) { bind(socket.raw, $0, $1) }
        let code = errno
        umask(previous)
        guard bound == 0 else { throw HostError("listen at", path, code: code) }
        guard Glibc.listen(socket.raw, backlog) == 0 else { throw HostError("listen at", path) }
        socket.setNonBlocking()
        return socket
    }

    /// Connects to a socket that somebody listens at; the descriptor is blocking.
    public static func connect(to path: String) throws(HostError) -> Descriptor {
        let socket = try make(for: path)
        guard withAddress(path, { Glibc.connect(socket.raw, $0, $1) }) == 0 else { throw HostError("connect to", path) }
        return socket
    }

    /// The next waiting connection, non-blocking; nil when there is none.
    public static func accept(on listener: Descriptor) -> Descriptor? {
        let raw = Glibc.accept(listener.raw, nil, nil)
        guard raw >= 0 else { return nil }
        _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
        let descriptor = Descriptor(owning: raw, isSocket: true)
        descriptor.setNonBlocking()
        return descriptor
    }

    /// Reads once, with the descriptors that the other side hands over (SCM_RIGHTS, unix(7)).
    public static func receive(
        on socket: Descriptor, limit: Int
    ) -> (outcome: Descriptor.ReadOutcome, files: [Descriptor]) {
        var numbers = [Int32](repeating: -1, count: 8)
        var count: Int32 = 0
        var got = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, initialized in
            repeat {
                got = linux_receive(socket.raw, buffer.baseAddress, limit, &numbers, &count)
            } while got < 0 && errno == EINTR
            initialized = max(0, got)
        }
        let code = errno
        let files = numbers.prefix(Int(count)).map { Descriptor(owning: $0) }
        if got > 0 { return (.bytes(bytes), files) }
        if got == 0 { return (.endOfFile, files) }
        return (code == EAGAIN || code == EWOULDBLOCK ? .wouldBlock : .failed(code), files)
    }

    /// Writes bytes with a descriptor that goes along with the first of them.
    /// - Returns: whether all were taken. For blocking sockets, or messages that fit into the socket's buffer.
    public static func send(_ bytes: [UInt8], with file: Descriptor, on socket: Descriptor) -> Bool {
        var count = 0
        repeat {
            count = linux_send_descriptor(socket.raw, bytes, bytes.count, file.raw)
        } while count < 0 && errno == EINTR
        return count == bytes.count
    }

    private static func make(for path: String) throws(HostError) -> Descriptor {
        guard path.utf8.count <= longestPath else {
            throw HostError(
                "use", path, code: 0,
                reason: "a socket's path has at most \(longestPath) bytes, this one has \(path.utf8.count)")
        }
        let raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard raw >= 0 else { throw HostError("make a socket for", path) }
        return Descriptor(owning: raw, isSocket: true)
    }

    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        return withUnsafePointer(to: &address) { pointer in
            // SAFETY: every address family's structure begins with sockaddr's fields; the length names the real one.
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
