import CLinux
import Glibc

/// What the host's file system is told about a new image file: options of `-o` that every format takes, as in QEMU.
struct FileAttributes: Sendable {
    /// btrfs: blocks are overwritten in place (chattr +C).
    var isNoCopyOnWrite = false
    /// XFS: space is set aside in units of so many bytes; 0 for no hint.
    var extentSizeHint: UInt32?
    /// Told when the file system does not take the hint.
    var warn: (@Sendable (String) -> Void)?

    static let options = [
        CreateOption("nocow", .bool, "Turn off copy-on-write (valid only on btrfs)"),
        CreateOption("extent_size_hint", .size, "Extent size hint for the image file, 0 to disable"),
    ]

    init() {}

    /// Takes the options out of `values`.
    init(taking values: inout [String: String]) throws(ImageError) {
        let reader = OptionReader(values)
        isNoCopyOnWrite = try reader.bool("nocow") ?? false
        if let hint = try reader.size("extent_size_hint") {
            guard let bytes = UInt32(exactly: hint) else {
                throw ImageError(
                    .invalidArgument, "Extent size hint is too large: \(hint) bytes, at most \(UInt32.max)")
            }
            extentSizeHint = bytes
        }
        for option in Self.options { values[option.name] = nil }
    }

    /// Sets them on an empty file. Where the file system has no such thing the file is as good without.
    func apply(to descriptor: Int32) {
        if isNoCopyOnWrite { _ = linux_set_no_copy_on_write(descriptor) }
        if let extentSizeHint, extentSizeHint > 0, linux_set_extent_size_hint(descriptor, extentSizeHint) != 0 {
            warn?("Failed to set extent size hint: \(ImageError.systemMessage(errno))")
        }
    }
}
