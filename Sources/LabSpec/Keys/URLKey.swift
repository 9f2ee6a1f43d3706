/// `url` of an image: where a download comes from, and what its name says about what it is.

/// How a download is packed.
public enum Packing: String, Sendable, Hashable, CaseIterable {
    case none = ""
    /// By the endings that the programs give.
    case gzip = "gz"
    case xz
    case zstd = "zst"
}

extension ValueType where Value == String {
    private static let addressShape = ValueShape.pattern(
        regex: "^(https?|file)://", example: "https://example.org/disk.qcow2")

    /// An address of `http`, `https` or `file`.
    static let url = ValueType(addressShape) { node, scope in
        guard let text = string(node, addressShape, scope) else { return nil }
        func bad(_ why: String, help: String? = nil) {
            scope.report(
                .badAddress, "'\(text.clippedForMessage)' in '\(scope.key)' of \(scope.place) \(why)", at: node.span,
                help: help)
        }
        let parts = text.split(separator: "://", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else {
            bad("is no address", help: "write https://HOST/FILE, or `path` for a file of this host")
            return nil
        }
        guard let scheme = ImageAddress.Scheme(rawValue: parts[0].lowercased()) else {
            bad("cannot be downloaded", help: "addresses begin with https://, http:// or file:///")
            return nil
        }
        guard text.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value != 0x7F }) else {
            bad("has a space or a control character in it", help: "write %20 for a space")
            return nil
        }
        let isPath = parts[1].hasPrefix("/") || parts[1].hasPrefix("localhost/")
        if scheme == .file, !isPath {
            bad("names another host", help: "a file of this host is file:///PATH, with three slashes")
            return nil
        }
        if scheme != .file, parts[1].isEmpty || parts[1].hasPrefix("/") {
            bad("has no host in it", help: "write https://HOST/FILE")
            return nil
        }
        return scheme.rawValue + "://" + parts[1]
    }
}

/// What the text of an address says.
public struct ImageAddress: Sendable, Hashable {
    public enum Scheme: String, Sendable { case http, https, file }

    public let text: String

    public init(_ text: String) { self.text = text }

    /// The last part of its path, without query and fragment.
    public var fileName: String {
        let path = text.prefix { $0 != "?" && $0 != "#" }
        return path.split(separator: "/").last.map(String.init) ?? ""
    }

    /// The absolute path of a `file:` address, with `%20` and its like replaced; nil for all others.
    public var localPath: String? {
        guard text.hasPrefix("file://") else { return nil }
        let rest = text.dropFirst("file://".count)
        return ImageAddress.unescaped(rest.hasPrefix("localhost/") ? rest.dropFirst("localhost".count) : rest)
    }

    /// How the file is packed, by its name.
    public var packing: Packing {
        let ending = fileName.lowercased().split(separator: ".").dropFirst().last.map(String.init) ?? ""
        return Packing(rawValue: ending) ?? .none
    }

    /// The format that the name without the packing has; nil where it says nothing that can be relied on.
    public var format: DiskFormat? {
        var parts = fileName.lowercased().split(separator: ".").dropFirst()
        if packing != .none { parts = parts.dropLast() }
        return switch parts.last.map(String.init) {
        case "qcow2": .qcow2
        case "vmdk": .vmdk
        case "vdi": .vdi
        case "vhdx": .vhdx
        case "vhd", "vpc": .vpc
        case "iso": .raw
        default: nil
        }
    }

    private static func unescaped(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
