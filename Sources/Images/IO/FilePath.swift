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

    /// The extension in lower case without its dot.
    static func suffix(of path: String) -> String {
        let name = name(of: path)
        guard let dot = name.utf8.lastIndex(of: UInt8(ascii: ".")) else { return "" }
        return name[name.utf8.index(after: dot)...].lowercased()
    }
}
