/// A disk whose image lies inside another file, an archive or a compressed stream: read only, and the places of its bytes
/// are not places in that file.
protocol ContainedDisk: CheckableImage {
    /// The file that is open.
    var storage: any Storage { get }
    /// The image inside.
    var disk: any BlockDevice { get }
}

extension ContainedDisk {
    var path: String { storage.path }
    var size: UInt64 { disk.size }
    var isReadOnly: Bool { true }
    var hostFiles: [FileStorage] { storage.hostFiles }
    var clusterSize: Int? { disk.clusterSize }

    var summary: ImageSummary {
        var summary = disk.summary
        summary.actualSize = storage.allocatedBytes
        return summary
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try disk.read(into: buffer, at: offset)
    }

    func extent(at offset: UInt64, limit: UInt64) throws(ImageError) -> Extent {
        var extent = try disk.extent(at: offset, limit: limit)
        extent.hostOffset = nil
        return extent
    }

    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) { try checkWritable() }
    func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) { try checkWritable() }
    func discard(at offset: UInt64, count: UInt64) throws(ImageError) { try checkWritable() }
    func flush() throws(ImageError) {}

    func close() throws(ImageError) {
        try disk.close()
        storage.close()
    }
}

extension OpenOptions {
    /// Opens the image in `part`, which `outer` found in a file of format `container` and calls `what`.
    ///
    /// Its format is recognised: by its beginning, and where `looksAtEnd` by the footer of a fixed VHD too. A container in a
    /// container of its own kind is refused, so that files made to contain themselves come to an end.
    func openInner(
        _ part: any Storage, called what: String, in container: String, looksAtEnd: Bool
    ) throws(ImageError) -> any BlockDevice {
        func bad(_ kind: ImageError.Kind, _ message: String) -> ImageError {
            ImageError(kind, message, format: container, path: part.path)
        }
        var format = try FormatRegistry.probe(part)
        if format.name == "raw", looksAtEnd, try VHDFooter.endsFixedDisk(part) { format = VHDFormat() }
        var inside = self
        inside.containers.append(container)
        guard !inside.containers.contains(format.name) else {
            throw bad(
                .unsupported,
                "\(what) is a \(format.name) file inside a \(format.name) file; unpack the outer one first")
        }
        inside.readOnly = true
        inside.format = format.name
        inside.member = nil
        let device: any BlockDevice
        do throws(ImageError) {
            device = try format.open(storage: part, options: inside)
        } catch {
            throw ImageError(
                error.kind, "\(what) (\(format.name) inside \(container)): \(error.message)", format: format.name,
                path: error.path, offset: error.offset, code: error.code)
        }
        guard let reference = device.backingReference else { return device }
        throw bad(
            .unsupported,
            "\(what) (\(format.name) inside \(container)) needs the backing file '\(reference.file)', which it cannot have "
                + "there; unpack it first")
    }
}
