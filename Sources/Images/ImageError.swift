import Glibc

/// What went wrong with an image: a stable kind for programs and a sentence for people.
public struct ImageError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The stable kinds; callers switch on these, never on message text.
    public enum Kind: String, Sendable, Hashable {
        case notFound, permission, locked, corrupt, unsupported, invalidArgument, outOfSpace, io, exists, readOnly
    }

    public let kind: Kind
    /// A sentence with the value that was wrong and what was expected.
    public let message: String
    /// Format name as registered, where a format driver found the fault.
    public let format: String?
    /// Path of the file at fault.
    public let path: String?
    /// Byte offset in the file (or in the disk, for requests) of the field at fault.
    public let offset: UInt64?
    /// The operating system's error number, 0 where there was none.
    public let code: Int32

    public init(
        _ kind: Kind, _ message: String, format: String? = nil, path: String? = nil, offset: UInt64? = nil,
        code: Int32 = 0
    ) {
        self.kind = kind
        self.message = message
        self.format = format
        self.path = path
        self.offset = offset
        self.code = code
    }

    public var description: String { message }

    /// The message, with the file at fault before it where it does not name it itself.
    public var sentence: String {
        guard let path, !path.isEmpty, !message.contains(path) else { return message }
        return "\(path): \(message)"
    }

    /// The message in qemu-img's words where it is about the request, and where it is about what a file holds the
    /// sentence; `file` is the file meant where the error does not know.
    public func naming(_ file: String) -> String {
        guard kind == .corrupt || kind == .io || offset != nil else { return message }
        return ImageError(kind, message, path: path ?? file).sentence
    }

    /// The error for a failed system call; `what` says what was being done ("Could not open 'x'").
    public static func system(_ code: Int32, _ what: String, path: String? = nil, offset: UInt64? = nil) -> ImageError {
        let kind: Kind
        switch code {
        case ENOENT, ENOTDIR: kind = .notFound
        case EACCES, EPERM: kind = .permission
        case EROFS: kind = .readOnly
        case EAGAIN, EBUSY: kind = .locked
        case ENOSPC, EDQUOT, EFBIG: kind = .outOfSpace
        case EEXIST: kind = .exists
        case EINVAL: kind = .invalidArgument
        case EOPNOTSUPP, ENOSYS: kind = .unsupported
        default: kind = .io
        }
        return ImageError(kind, "\(what): \(systemMessage(code))", path: path, offset: offset, code: code)
    }

    static func systemMessage(_ code: Int32) -> String {
        guard let text = strerror(code) else { return "error \(code)" }
        return String(cString: text)
    }
}

extension UInt64 {
    /// Hexadecimal with prefix, as error messages show offsets.
    var hex: String { "0x" + String(self, radix: 16) }
}
