/// What a differencing VHD says about its parent.
struct VHDParent {
    var uuid: [UInt8]
    var timestamp: UInt32
    /// Path as the image gives it, with forward slashes; relative to the image's folder.
    var path: String

    /// Platform codes of locators: relative and absolute Windows paths in UTF-16LE.
    private static let relative = Array("W2ru".utf8)
    private static let absolute = Array("W2ku".utf8)

    init(_ storage: any Storage, header: [UInt8]) throws(ImageError) {
        uuid = Array(header[40..<56])
        timestamp = header.be32(56)
        var found: [[UInt8]: String] = [:]
        for slot in 0..<8 {
            let at = 576 + slot * 24
            let length = Int(header.be32(at + 8)), offset = header.be64(at + 16)
            guard length > 0, length <= 4096, offset < storage.byteCount else { continue }
            let text = try storage.readBytes(at: offset, count: length & ~1)
            found[Array(header[at..<at + 4])] = String(
                decoding: stride(from: 0, to: text.count, by: 2).map { text.le16($0) }, as: UTF16.self)
        }
        let unicode = stride(from: 64, to: 576, by: 2).map { header.be16($0) }.prefix { $0 != 0 }
        let name = found[Self.relative] ?? found[Self.absolute] ?? String(decoding: unicode, as: UTF16.self)
        var slashed = name.replacing("\\", with: "/").replacing("\0", with: "")
        if slashed.hasPrefix("./") { slashed.removeFirst(2) }
        path = slashed
        guard !path.isEmpty else {
            throw ImageError(
                .corrupt, "the differencing image does not name its parent", format: "vpc", path: storage.path)
        }
    }

    /// Fills in the parent's fields of a dynamic header; returns the locator data to be written.
    static func describe(
        _ backing: BackingReference, _ request: CreateRequest, into header: inout [UInt8], at offset: UInt64
    ) throws(ImageError) -> [(offset: UInt64, bytes: [UInt8])] {
        let parentPath = FilePath.resolve(backing.file, from: request.path)
        let parent = try FileStorage.open(parentPath, readOnly: true, lock: .none)
        defer { parent.close() }
        guard let footer = try VHDFooter(parent) else {
            throw ImageError(
                .invalidArgument, "the parent of a differencing VHD must be a VHD, which '\(parentPath)' is not",
                format: "vpc",
                path: parentPath)
        }
        header.replaceSubrange(40..<56, with: footer.uuid)
        var time: [UInt8] = []
        time.putBE(footer.timestamp)
        header.replaceSubrange(56..<60, with: time)
        var name: [UInt8] = []
        for unit in FilePath.name(of: backing.file).utf16.prefix(255) { name.putBE(unit) }
        header.replaceSubrange(64..<64 + name.count, with: name)
        let isAbsolute = backing.file.hasPrefix("/")
        let windows = (isAbsolute ? "" : ".\\") + backing.file.replacing("/", with: "\\")
        let text = windows.utf16.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
        guard text.count <= 512 else {
            throw ImageError(.invalidArgument, "the parent's path is too long for a locator", format: "vpc")
        }
        var locator = isAbsolute ? absolute : relative
        locator.putBE(UInt32(512))
        locator.putBE(UInt32(text.count))
        locator.putBE(UInt32(0))
        locator.putBE(offset)
        header.replaceSubrange(576..<600, with: locator)
        return [(offset, text + [UInt8](repeating: 0, count: 512 - text.count))]
    }
}
