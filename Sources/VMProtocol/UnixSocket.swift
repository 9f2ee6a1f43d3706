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
        let descriptor = Descriptor(owning: raw)
        descriptor.setNonBlocking()
        return descriptor
    }

    private static func make(for path: String) throws(HostError) -> Descriptor {
        guard path.utf8.count <= longestPath else {
            throw HostError(
                "use", path, code: 0,
                reason: "a socket's path has at most \(longestPath) bytes, this one has \(path.utf8.count)")
        }
        let raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard raw >= 0 else { throw HostError("make a socket for", path) }
        return Descriptor(owning: raw)
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
