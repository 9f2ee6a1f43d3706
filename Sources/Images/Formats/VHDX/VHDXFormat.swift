/// Hyper-V disks of Windows Server 2012 and newer: dynamic, fixed, differencing, with log.
public struct VHDXFormat: ImageFormat {
    public init() {}
    public var name: String { "vhdx" }
    public var capabilities: FormatCapabilities { [.read, .write, .create, .backing, .check, .zeroes] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size; max of 64TB."),
            CreateOption("log_size", .size, default: "1048576", "Log size; min 1MB."),
            CreateOption(
                "block_size", .size, default: "0",
                "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size."),
            CreateOption(
                "subformat", .string, "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'."),
            CreateOption(
                "block_state_zero", .bool,
                "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using 'qemu-img convert' with subformat=dynamic."
            ),
            CreateOption("backing_file", .string, "Parent of a differencing image"),
            CreateOption("backing_fmt", .string, "Must be 'vhdx' if present"),
        ]
    }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        head.count >= 8 && VHDXHeader.signature.elementsEqual(head.prefix(8)) ? 100 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        var header = try VHDXHeader(storage)
        var storage = storage
        let hadLog = header.log != .zero
        if hadLog {
            let changes = try VHDXLog.changes(storage, header)
            if storage.isReadOnly {
                storage = OverlayStorage(storage, pages: changes.pages, byteCount: changes.byteCount)
            } else {
                if changes.byteCount > storage.byteCount { try storage.resize(to: changes.byteCount) }
                for page in changes.pages.keys.sorted() {
                    try storage.write(changes.pages[page] ?? [], at: page * 4096)
                }
                try storage.sync()
                header.log = .zero
                try header.write(to: storage)
            }
        }
        let regions = try VHDXHeader.regions(storage)
        guard let metadataRegion = regions[VHDXHeader.metadataRegion], let batRegion = regions[VHDXHeader.batRegion]
        else {
            throw ImageError(
                .corrupt, "the region table lacks the metadata or the block table", format: name, path: storage.path,
                offset: VHDXHeader.regionOffsets[0])
        }
        let metadata = try VHDXMetadata(storage, region: metadataRegion)
        let image = try VHDXImage(
            storage, header: header, metadata: metadata, bat: batRegion, metadataRegion: metadataRegion)
        image.hadLog = hadLog
        return image
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        let options = OptionReader(request.options)
        func bad(_ message: String) -> ImageError { ImageError(.invalidArgument, message, format: name) }
        let size = (request.size + 511) & ~511
        guard size <= 64 << 40 else { throw bad("Image size too large; max of 64TB") }
        let subformat = options.text("subformat") ?? "dynamic"
        guard subformat == "dynamic" || subformat == "fixed" else { throw bad("Invalid subformat '\(subformat)'") }
        let logBytes = try options.size("log_size") ?? 1 << 20
        guard logBytes >= 1 << 20, logBytes % (1 << 20) == 0, logBytes <= UInt64(VHDXHeader.maximumLog) else {
            throw bad("Log size must be a multiple of 1 MB, from 1 MB to 256 MB")
        }
        var blockBytes = try options.size("block_size") ?? 0
        if blockBytes == 0 {
            blockBytes = size > 32 << 40 ? 64 << 20 : size > 100 << 30 ? 32 << 20 : size > 1 << 30 ? 16 << 20 : 8 << 20
        }
        guard blockBytes >= 1 << 20, blockBytes <= 256 << 20, blockBytes.nonzeroBitCount == 1 else {
            throw bad("Block size must be a power of two from 1 MB to 256 MB")
        }
        var metadata = VHDXMetadata(blockBytes: UInt32(blockBytes), size: size)
        metadata.leavesBlocksAllocated = subformat == "fixed"
        if let backing = request.backing {
            guard subformat == "dynamic" else { throw bad("a fixed VHDX has no parent") }
            metadata.hasParent = true
            metadata.parent = try parentLocator(backing, request)
        }
        let logOffset: UInt64 = 1 << 20
        let metadataOffset = logOffset + logBytes
        let batOffset = metadataOffset + 1 << 20
        let entries = VHDXImage.batEntries(metadata)
        let batBytes = max(1 << 20, (UInt64(entries) * 8).rounded(toMultipleOf: 1 << 20))
        let dataOffset = batOffset + batBytes
        let isFixed = subformat == "fixed"
        let blocks = (size + blockBytes - 1) / blockBytes
        try storage.resize(to: dataOffset + (isFixed ? blocks * blockBytes : 0))
        var identifier = VHDXHeader.signature
        for unit in "labctl".utf16 { identifier.putLE(unit) }
        var regions = Array("regi".utf8)
        regions.putLE(UInt32(0))
        regions.putLE(UInt32(2))
        regions.putLE(UInt32(0))
        for (region, offset, length) in [
            (VHDXHeader.batRegion, batOffset, batBytes), (VHDXHeader.metadataRegion, metadataOffset, UInt64(1 << 20)),
        ] {
            regions += region.bytes
            regions.putLE(offset)
            regions.putLE(UInt32(length))
            regions.putLE(UInt32(1))
        }
        regions += [UInt8](repeating: 0, count: 65536 - regions.count)
        CRC32C.seal(&regions, at: 4)
        for offset in VHDXHeader.regionOffsets { try storage.write(regions, at: offset) }
        try storage.write(metadata.encoded(), at: metadataOffset)
        if isFixed {
            let table = HeapBuffer(Int(batBytes))
            let ratio = (UInt64(1) << 23) * 512 / blockBytes
            for block in 0..<blocks {
                table.base.putLE64((dataOffset + block * blockBytes) | 6, Int(block + block / ratio) * 8)
            }
            try storage.write(from: table.readable, at: batOffset)
        }
        var header = VHDXHeader(
            sequence: 0, fileWrite: .random(), dataWrite: .random(), log: .zero, logLength: UInt32(logBytes),
            logOffset: logOffset)
        try storage.write(header.encoded(), at: VHDXHeader.offsets[0])
        header.slot = 0
        try header.write(to: storage)
        try storage.write(identifier, at: 0)
    }

    private func parentLocator(_ backing: BackingReference, _ request: CreateRequest) throws(ImageError) -> [String:
        String]
    {
        if let format = backing.format, format != "vhdx" {
            throw ImageError(.invalidArgument, "the parent of a differencing VHDX must be a VHDX", format: name)
        }
        let path = FilePath.resolve(backing.file, from: request.path)
        let below = try DiskImage.open(
            path, options: OpenOptions(format: "vhdx", lock: .forceShare, openBacking: false))
        defer { try? below.close() }
        guard let parent = below as? VHDXImage else {
            throw ImageError(.invalidArgument, "the parent '\(path)' is not a VHDX", format: name)
        }
        let windows = (backing.file.hasPrefix("/") ? "" : ".\\") + backing.file.replacing("/", with: "\\")
        return [
            "parent_linkage": parent.dataWrite.mixedEndianText,
            backing.file.hasPrefix("/") ? "absolute_win32_path" : "relative_path": windows,
        ]
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }
}
