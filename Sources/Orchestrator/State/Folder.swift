import Glibc
import VMProtocol

/// Folders of our own: private to the user, made with their parents, removed with their content.
public enum Folder {
    /// Makes a folder and its parents.
    /// - Returns: what went wrong, if anything.
    @discardableResult
    public static func make(_ path: String, mode: mode_t = 0o700) -> HostError? {
        if HostCall.makeFolder(path, mode: mode) { return nil }
        if errno == EEXIST { return isFolder(path) ? nil : HostError("make folder", path, code: ENOTDIR) }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
            return HostError("make folder", path)
        }
        if let error = make(String(path[..<slash]), mode: mode) { return error }
        if HostCall.makeFolder(path, mode: mode) || errno == EEXIST { return nil }
        return HostError("make folder", path)
    }

    /// Whether there is a folder of that name.
    public static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Whether there is a file, folder or anything else of that name.
    public static func exists(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0
    }

    /// A path with all symbolic links followed; nil where there is nothing.
    public static func real(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// The absolute path of something that may be gone: its folder's real path and its name.
    public static func absolute(_ path: String) -> String {
        let slash = path.lastIndex(of: "/")
        let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let name = slash.map { path[path.index(after: $0)...] } ?? path[...]
        guard let real = real(folder) else { return path }
        return real == "/" ? "/\(name)" : "\(real)/\(name)"
    }

    /// Where a symbolic link points; nil for anything else.
    public static func link(_ path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let length = readlink(path, &buffer, buffer.count - 1)
        guard length >= 0 else { return nil }
        return String(decoding: buffer[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Names in a folder, sorted; empty when there is no such folder.
    public static func names(in path: String) -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Removes a file, or a folder with all that is in it; symbolic links are removed, never followed.
    /// - Returns: what could not be removed.
    @discardableResult
    public static func remove(_ path: String) -> HostError? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return errno == ENOENT ? nil : HostError("remove", path) }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            return HostCall.unlink(path) ? nil : HostError("remove", path)
        }
        for name in names(in: path) {
            if let error = remove("\(path)/\(name)") { return error }
        }
        return rmdir(path) == 0 || errno == ENOENT ? nil : HostError("remove", path)
    }

    /// Bytes on the host's disk of a file or of everything in a folder.
    public static func allocatedBytes(_ path: String) -> UInt64 {
        var status = stat()
        guard lstat(path, &status) == 0 else { return 0 }
        guard status.st_mode & S_IFMT == S_IFDIR else { return UInt64(max(0, status.st_blocks)) * 512 }
        return names(in: path).reduce(0) { $0 + allocatedBytes("\(path)/\($1)") }
    }
}
