/// VMware disks: a descriptor and its extents.
public struct VMDKFormat: ImageFormat {
    static let subformats = [
        "monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized",
    ]
    /// Bytes of disk in one file of the split kinds: 2 GiB less 64 KiB, as QEMU cuts them.
    static let splitBytes: UInt64 = 0x8000_0000 - 0x10000

    public init() {}
    public var name: String { "vmdk" }
    public var capabilities: FormatCapabilities { [.read, .write, .create, .backing, .compress, .check, .zeroes] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption(
                "adapter_type", .string,
                "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX"),
            CreateOption("backing_file", .string, "File name of a base image"),
            CreateOption("backing_fmt", .string, "Must be 'vmdk' if present"),
            CreateOption("compat6", .bool, default: "off", "VMDK version 6 image"),
            CreateOption("hwversion", .string, default: "undefined", "VMDK hardware version"),
            CreateOption("toolsversion", .string, "VMware guest tools version"),
            CreateOption(
                "subformat", .string,
                "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} "
            ),
            CreateOption("zeroed_grain", .bool, "Enable efficient zero writes using the zeroed-grain GTE feature"),
        ]
    }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        guard head.count >= 4 else { return 0 }
        let magic = String(decoding: head.prefix(4), as: UTF8.self)
        if magic == "KDMV" || magic == "COWD" { return 100 }
        if SESparseExtent.matches(head) { return 100 }
        let text = String(decoding: head.prefix(512), as: UTF8.self)
        // Comments and empty lines may come before the version.
        for line in text.split(whereSeparator: { $0 == "\n" || $0 == "\r\n" }) {
            if line.hasPrefix("#") || line.allSatisfy({ $0 == " " }) { continue }
            return text.hasPrefix("# Disk DescriptorFile") && line.lowercased().hasPrefix("version=") ? 100 : 0
        }
        return 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        let magic = String(decoding: try storage.readBytes(at: 0, count: 4), as: UTF8.self)
        if magic == "KDMV" || magic == "COWD" { return try openMonolithic(storage, options, magic) }
        if SESparseExtent.matches(try storage.readBytes(at: 0, count: 16)) { return try openBareSESparse(storage) }
        guard storage.byteCount <= UInt64(VMDKDescriptor.maximumBytes) else {
            throw ImageError(
                .corrupt, "Image not in VMDK format (a descriptor has at most 1 MiB)", format: name, path: storage.path)
        }
        let bytes = try storage.readBytes(at: 0, count: Int(storage.byteCount))
        let descriptor = try VMDKDescriptor(parsing: String(decoding: bytes, as: UTF8.self), path: storage.path)
        var parts: [VMDKImage.Part] = []
        var start: UInt64 = 0
        var sparseFiles: Set<FileStorage.FileIdentity> = []
        for extent in descriptor.extents {
            let part = try openExtent(extent, at: start, storage, options)
            // Flat extents may be pieces of one file. A sparse one is a file; thousands of one would fill memory with tables.
            if let file = (part.device as? BlockMappedImage)?.storage as? FileStorage,
                !sparseFiles.insert(file.identity).inserted
            {
                throw ImageError(
                    .corrupt, "the extent '\(part.path)' is listed twice", format: name, path: storage.path, offset: 0)
            }
            parts.append(part)
            start += part.size
            guard start < 1 << 60 else {
                throw ImageError(
                    .corrupt, "the extents make a disk of more than 2^60 bytes", format: name, path: storage.path)
            }
        }
        guard !parts.isEmpty else {
            throw ImageError(.corrupt, "the VMDK descriptor lists no extents", format: name, path: storage.path)
        }
        return VMDKImage(storage, descriptor, place: (0, 0), parts: parts)
    }

    private func openMonolithic(
        _ storage: any Storage, _ options: OpenOptions, _ magic: String
    ) throws(ImageError) -> any BlockDevice {
        let extent = try VMDKSparseExtent(storage, readOnly: options.readOnly)
        let header = extent.header
        let room = min(header.descriptorSectors, 1 << 40) * 512
        let descriptor: VMDKDescriptor
        if magic == "KDMV", header.descriptorOffset > 0, room > 0 {
            guard room <= UInt64(VMDKDescriptor.maximumBytes), header.descriptorOffset < 1 << 40 else {
                throw ImageError(
                    .corrupt, "the embedded descriptor of \(room) bytes is too large", format: name, path: storage.path,
                    offset: 36)
            }
            let bytes = try storage.readBytes(at: header.descriptorOffset * 512, count: Int(room)).prefix { $0 != 0 }
            descriptor = try VMDKDescriptor(parsing: String(decoding: bytes, as: UTF8.self), path: storage.path)
        } else {
            descriptor = try VMDKDescriptor(
                parsing: "# Disk DescriptorFile\ncreateType=\"vmfsSparse\"", path: storage.path)
        }
        let line =
            descriptor.extents.first
            ?? VMDKDescriptor.Extent(access: "RW", sectors: header.capacity, type: "SPARSE", file: nil, offset: 0)
        let part = VMDKImage.Part(
            start: 0, size: header.capacity * 512, description: line, path: storage.path, device: extent)
        return VMDKImage(
            storage, descriptor, place: (min(header.descriptorOffset, 1 << 40) * 512, Int(room)), parts: [part])
    }

    /// An extent of ESX that is opened without its descriptor: the disk, as far as it has grains.
    private func openBareSESparse(_ storage: any Storage) throws(ImageError) -> any BlockDevice {
        let extent = try SESparseExtent(storage)
        let line = VMDKDescriptor.Extent(
            access: "RDONLY", sectors: extent.size / 512, type: "SESPARSE", file: nil, offset: 0)
        let descriptor = try VMDKDescriptor(
            parsing: "# Disk DescriptorFile\ncreateType=\"seSparse\"", path: storage.path)
        let part = VMDKImage.Part(
            start: 0, size: extent.size, description: line, path: storage.path, device: extent)
        return VMDKImage(storage, descriptor, place: (0, 0), parts: [part])
    }

    private func openExtent(
        _ extent: VMDKDescriptor.Extent, at start: UInt64, _ storage: any Storage, _ options: OpenOptions
    ) throws(ImageError) -> VMDKImage.Part {
        func bad(_ kind: ImageError.Kind, _ message: String) -> ImageError {
            ImageError(kind, message, format: name, path: storage.path)
        }
        guard extent.sectors > 0, extent.sectors < 1 << 48 else {
            throw bad(.corrupt, "extent of \(extent.sectors) sectors is invalid")
        }
        let size = extent.sectors * 512
        if extent.type == "ZERO" {
            let device = ZeroDevice(size: size, path: storage.path)
            return VMDKImage.Part(start: start, size: size, description: extent, path: storage.path, device: device)
        }
        guard let file = extent.file, !file.isEmpty else {
            throw bad(.corrupt, "a \(extent.type) extent names no file")
        }
        // An image may only be made of files beside it: a descriptor is text that anybody can write.
        guard !file.contains("/"), FilePath.scheme(of: file) == nil else {
            throw bad(.permission, "Cannot use extent '\(file)': it lies outside the folder of '\(storage.path)'")
        }
        let path = FilePath.folder(of: storage.path) + file
        try options.confine(path, namedBy: storage.path, as: "Extent")
        let below = try storage.openSibling(path, create: false)
        let device: any BlockDevice
        switch extent.type {
        case "FLAT", "VMFS":
            guard extent.offset < 1 << 48 else {
                throw bad(
                    .corrupt, "the extent '\(file)' begins at sector \(extent.offset), which is no place in a file")
            }
            guard extent.offset * 512 + size <= below.byteCount else {
                throw bad(
                    .corrupt,
                    "the extent '\(file)' has \(below.byteCount) bytes, \(extent.offset * 512 + size) are needed")
            }
            device = RawImage(storage: below, wasProbed: false)
            return VMDKImage.Part(
                start: start, size: size, description: extent, path: path, device: device, base: extent.offset * 512)
        case "SPARSE", "VMFSSPARSE":
            device = try VMDKSparseExtent(below, readOnly: options.readOnly)
        case "SESPARSE":
            device = try SESparseExtent(below)
        default: throw bad(.unsupported, "Unsupported extent type '\(extent.type)'")
        }
        guard device.size >= size else {
            throw bad(.corrupt, "the extent '\(file)' maps \(device.size) bytes, the descriptor says \(size)")
        }
        return VMDKImage.Part(start: start, size: size, description: extent, path: path, device: device)
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }

    public func hasCompanionFiles(_ request: CreateRequest) -> Bool {
        ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"].contains(request.options["subformat"] ?? "")
    }
}

/// A stretch of zeros that cannot be written.
final class ZeroDevice: BlockDevice {
    let size: UInt64
    let path: String
    init(size: UInt64, path: String) {
        self.size = size
        self.path = path
    }
    var formatName: String { "vmdk" }
    var isReadOnly: Bool { true }
    var hostFiles: [FileStorage] { [] }
    var summary: ImageSummary { ImageSummary() }
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) { buffer.zero(from: 0) }
    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) { try checkWritable() }
    func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) {}
    func discard(at offset: UInt64, count: UInt64) throws(ImageError) {}
    func flush() throws(ImageError) {}
    func close() throws(ImageError) {}
    func extent(at offset: UInt64, limit: UInt64) throws(ImageError) -> Extent {
        Extent(.zero, length: min(limit, size - offset), isAllocated: false)
    }
}
