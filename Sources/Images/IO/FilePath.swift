import Glibc

/// Path arithmetic as image formats need it, on strings, without touching the file system.
enum FilePath {
    /// The folder part with its slash, empty for a bare name.
    static func folder(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "" }
        return String(path[...slash])
    }

    /// The last component.
    static func name(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return path }
        return String(path[path.utf8.index(after: slash)...])
    }

    /// A name found inside an image, as a path: relative names are meant from the image's own folder.
    static func resolve(_ name: String, from image: String) -> String {
        name.hasPrefix("/") ? name : folder(of: image) + name
    }

    /// The scheme of a name such as `nbd:…` or `json:…`, nil for plain paths. A slash before the colon means a path.
    static func scheme(of name: String) -> String? {
        guard let colon = name.utf8.firstIndex(of: UInt8(ascii: ":")) else { return nil }
        let head = name[..<colon]
        return head.utf8.contains(UInt8(ascii: "/")) || head.isEmpty ? nil : String(head)
    }

    /// The path with symbolic links resolved, nil where it does not exist.
    static func real(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// The path that a chain of symbolic links ends at, whether or not there is a file; `path` itself where it is no link.
    /// Throws where the links never end.
    static func followingLinks(_ path: String) throws(ImageError) -> String {
        var path = path
        // As many as the kernel follows.
        for _ in 0...40 {
            var target = [CChar](repeating: 0, count: Int(PATH_MAX))
            let count = readlink(path, &target, target.count)
            if count <= 0 { return path }
            path = resolve(
                String(decoding: target.prefix(count).lazy.map(UInt8.init(bitPattern:)), as: UTF8.self), from: path)
        }
        throw .system(ELOOP, "Could not create '\(path)'", path: path)
    }

    /// Refuses a name that has lost bytes on its way into a string: it would mean another file.
    static func checkEncoding(_ path: String) throws(ImageError) {
        guard path.unicodeScalars.contains("\u{fffd}") else { return }
        throw ImageError(
            .invalidArgument, "the name '\(path)' is not UTF-8, as names of images have to be; rename the file",
            path: path)
    }

    /// The extension in lower case without its dot.
    static func suffix(of path: String) -> String {
        let name = name(of: path)
        guard let dot = name.utf8.lastIndex(of: UInt8(ascii: ".")) else { return "" }
        return name[name.utf8.index(after: dot)...].lowercased()
    }
}
