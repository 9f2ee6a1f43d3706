/// Names of labs, images, networks and VMs, and the paths beside them.
import Glibc

/// Letters, digits, `-` and `_`, a letter or digit first. Names become folder names, socket names and arguments.
enum Names {
    static let maximumLength = 48
    static let regex = "^[A-Za-z0-9][A-Za-z0-9_-]{0,47}$"

    /// Whether `name` is a name; reports why not.
    static func check(_ name: String, at span: SourceSpan, _ scope: DecodingScope) -> Bool {
        let scalars = name.unicodeScalars
        func isPlain(_ scalar: Unicode.Scalar) -> Bool {
            scalar.isASCII && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil)
        }
        guard let first = scalars.first else {
            scope.report(.badName, "a name is empty", at: span)
            return false
        }
        if let bad = scalars.first(where: { !isPlain($0) && $0 != "-" && $0 != "_" }) {
            scope.report(
                .badName,
                "the name '\(name.clippedForMessage)' has the character '\(String(bad).clippedForMessage)' in it",
                at: span, help: "names are made of letters, digits, '-' and '_'")
            return false
        }
        if !isPlain(first) {
            scope.report(
                .badName, "the name '\(name.clippedForMessage)' begins with '\(first)'", at: span,
                help: "names begin with a letter or a digit")
            return false
        }
        if scalars.count > maximumLength {
            scope.report(
                .badName, "the name '\(name.clippedForMessage)' is longer than \(maximumLength) characters", at: span)
            return false
        }
        return true
    }
}

/// Paths of the lab file: absolute ones stay, `~/` is the user's home, all others start at the lab file's folder.
enum Paths {
    /// Nil for what cannot be a path; reported.
    static func resolve(_ written: String, at span: SourceSpan, _ scope: DecodingScope) -> LabPath? {
        if written.unicodeScalars.contains("\0") {
            scope.report(.wrongType, "a path cannot contain a zero byte", at: span)
            return nil
        }
        if written.contains("://") {
            scope.report(
                .wrongType, "'\(scope.key)' in \(scope.place) is a path, not an address of the network", at: span,
                help: adviceForAddress(scope.key))
            return nil
        }
        if written == "~" || written.hasPrefix("~/") {
            guard let home = scope.home else {
                scope.report(.variable, "'~' cannot be replaced: HOME is not set", at: span)
                return nil
            }
            return LabPath(written: written, absolute: normalized(home + written.dropFirst()))
        }
        if written.hasPrefix("~") {
            let user = written.dropFirst().prefix { $0 != "/" }
            scope.report(
                .wrongType, "'~\(String(user).clippedForMessage)' is not replaced: only '~/' is, by your own home",
                at: span,
                help: "write the folder's whole path, or './\(written.clippedForMessage)' for a file of that name")
            return nil
        }
        if written.hasPrefix("$"), !written.hasPrefix("${") {
            let name = written.dropFirst().prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
            if !name.isEmpty {
                scope.report(
                    .variable, "'$\(name)' is not replaced: only '${\(name)}' is", at: span,
                    help: "write `${\(name)}\(String(written.dropFirst(name.count + 1)).clippedForMessage)`")
                return nil
            }
        }
        return LabPath(written: written, absolute: absolute(written, in: scope.folder))
    }

    /// What to do with an address where a path stands.
    private static func adviceForAddress(_ key: String) -> String {
        switch key {
        case "path": "write `url` in place of `path`, and `sha256` beside it"
        case "base", "image", "from", "cdrom", "fda":
            "declare it under `images` with `url` and `sha256`, and refer to it by its name"
        default: "download the file first, and give its path"
        }
    }

    /// `path` seen from `folder`, without `.` and double slashes. `..` stays: a folder before it may be a link.
    static func absolute(_ path: String, in folder: String) -> String {
        normalized(path.hasPrefix("/") ? path : folder + "/" + path)
    }

    private static func normalized(_ path: String) -> String {
        "/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
    }

    /// The path with all links followed; nil when nothing is there.
    static func real(_ path: String) -> String? {
        // SAFETY: realpath returns null or a malloc'ed string, which is copied and freed here.
        guard let pointer = realpath(path, nil) else { return nil }
        defer { free(pointer) }
        return String(cString: pointer)
    }

    static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    static func lastComponent(_ path: String) -> String {
        path.lastIndex(of: "/").map { String(path[path.index(after: $0)...]) } ?? path
    }
}
