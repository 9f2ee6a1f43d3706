/// The decoded bytes of a compressed stream as a file, in which an image of another format lies.
final class DecodedStorage: UnwritableStorage, @unchecked Sendable {
    private let layer: CompressedRawImage

    init(_ layer: CompressedRawImage) { self.layer = layer }

    var path: String { layer.path }
    var byteCount: UInt64 { layer.stream.byteCount }
    var allocatedBytes: UInt64? { layer.storage.allocatedBytes }
    var hostFiles: [FileStorage] { layer.storage.hostFiles }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        let count = offset < byteCount ? Int(min(UInt64(buffer.count), byteCount - offset)) : 0
        if count > 0 { try layer.read(into: buffer.part(0, count), at: offset) }
        buffer.zero(from: count)
    }

    func dataRun(at offset: UInt64, limit: UInt64) -> (isData: Bool, length: UInt64) {
        offset < byteCount ? (true, min(limit, byteCount - offset)) : (false, limit)
    }

    var refusal: ImageError { ImageError(.readOnly, "'\(path)' is open read-only", path: path) }
    /// The stream belongs to the image, which closes it.
    func close() {}
    func openSibling(_ path: String, create: Bool) throws(ImageError) -> any Storage {
        throw ImageError(
            .unsupported, "the image inside '\(self.path)' names another file, '\(path)'; unpack it first",
            path: self.path)
    }
}

/// An image of another format inside a compressed stream.
final class CompressedImage: ContainedDisk {
    let storage: any Storage
    private let layer: CompressedRawImage
    let disk: any BlockDevice

    init(_ storage: any Storage, layer: CompressedRawImage, disk: any BlockDevice) {
        self.storage = storage
        self.layer = layer
        self.disk = disk
    }

    var formatName: String { layer.formatName }

    var summary: ImageSummary {
        var summary = disk.summary
        summary.actualSize = storage.allocatedBytes
        summary.isCompressed = true
        return summary
    }

    var formatDetails: FormatDetails? {
        FormatDetails(
            type: formatName,
            fields: layer.stream.details + [InfoField("disk-format", .string(disk.formatName))])
    }

    /// Checks the stream, as `CompressedRawImage` does, then the image inside.
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var result = try layer.check(repair: .none, verifyData: verifyData)
        guard result.corruptions == 0 else { return result }
        if let image = disk as? any CheckableImage {
            result = try image.check(repair: .none, verifyData: verifyData)
            let inside = result.scope.map { " " + $0 } ?? ""
            result.scope = "Checked: the \(layer.layerName) layer and the \(disk.formatName) file inside.\(inside)"
        } else {
            result.scope =
                "Checked: the \(layer.layerName) layer only; the \(disk.formatName) image inside has no check of its own."
        }
        return result
    }
}
