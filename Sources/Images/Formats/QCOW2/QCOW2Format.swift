/// qcow2 versions 2 and 3 (QEMU docs/interop/qcow2.txt).
public struct QCOW2Format: ImageFormat {
    public init() {}
    public var name: String { "qcow2" }
    public var capabilities: FormatCapabilities {
        [.read, .write, .create, .backing, .compress, .snapshots, .encryption, .resize, .check, .zeroes]
    }

    public var options: [CreateOption] {
        [
            CreateOption(
                "encryption", .bool, "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
            CreateOption("encrypt.format", .string, "Encrypt the image, format choices: 'aes', 'luks'"),
            CreateOption("encrypt.key-secret", .string, "ID of secret providing qcow AES key or LUKS passphrase"),
        ] + LUKSParameters.options.map { CreateOption("encrypt." + $0.name, $0.kind, $0.help) } + [
            CreateOption("cluster_size", .size, default: "65536", "qcow2 cluster size"),
            CreateOption("extended_l2", .bool, default: "off", "Extended L2 tables"),
            CreateOption("preallocation", .string, "Preallocation mode (allowed values: off, metadata, falloc, full)"),
            CreateOption(
                "compression_type", .string, default: "zlib", "Compression method used for image cluster compression"),
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption("compat", .string, "Compatibility level (v2 [0.10] or v3 [1.1])"),
            CreateOption("backing_file", .string, "File name of a base image"),
            CreateOption("backing_fmt", .string, "Image format of the base image"),
            CreateOption("data_file", .string, "File name of an external data file"),
            CreateOption("data_file_raw", .bool, "The external data file must stay valid as a raw image"),
            CreateOption("lazy_refcounts", .bool, default: "off", "Postpone refcount updates"),
            CreateOption("refcount_bits", .number, default: "16", "Width of a reference count entry in bits"),
        ]
    }

    public var amendOptions: [CreateOption] {
        let names = [
            "backing_file", "backing_fmt", "compat", "data_file", "data_file_raw", "lazy_refcounts", "refcount_bits",
            "size",
        ]
        return options.filter { names.contains($0.name) }
            + LUKSAmendment.options.map { CreateOption("encrypt." + $0.name, $0.kind, $0.help) }
    }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        guard head.count >= 24, let base = head.baseAddress else { return 0 }
        return base.be32(0) == QCOW2Header.magic && base.be32(4) >= 2 ? 100 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        // Reading and checking bear with what only writers need.
        let forWriting = !options.readOnly && !options.forCheck
        let header = try QCOW2Header(parsing: storage, forWriting: forWriting)
        if header.incompatible & QCOW2Header.Incompatible.corrupt != 0, !options.readOnly, !options.forCheck {
            throw ImageError(
                .corrupt, "qcow2: Image is corrupt; cannot be opened read/write", format: name, path: storage.path)
        }
        var dataStorage: (any Storage)?
        guard options.dataFile == nil || header.incompatible & QCOW2Header.Incompatible.dataFile != 0 else {
            throw ImageError(
                .invalidArgument, "'data-file' can only be set for images with an external data file", format: name,
                path: storage.path)
        }
        if header.incompatible & QCOW2Header.Incompatible.dataFile != 0, !options.metadataOnly {
            let path: String
            if let file = options.dataFile {
                path = file
            } else if let file = header.dataFile {
                path = try DiskImage.resolve(BackingReference(file: file, format: nil), from: storage.path)
            } else {
                throw ImageError(
                    .corrupt, "'data-file' is required for this image", format: name, path: storage.path)
            }
            try options.confine(path, namedBy: storage.path, as: "Data file")
            // `info` and `check` need not follow what a stranger's image names.
            let looksOnly = options.readOnly && options.forCheck && !options.openBacking
            dataStorage = looksOnly ? UnopenedStorage(path: path) : try storage.openSibling(path, create: false)
        }
        let image = try QCOW2Image(
            storage: storage, dataStorage: dataStorage, header: header, forWriting: forWriting)
        image.overlapCheck = options.overlapCheck
        if header.cryptMethod != 0, !options.metadataOnly {
            image.cipher = try unlock(header, storage, options)
            image.passphrase = options.passphrase()
        }
        if header.incompatible & QCOW2Header.Incompatible.dirty != 0, !options.readOnly, !options.forCheck {
            var checker = try QCOW2Check(image)
            let result = try checker.run(repair: .all, verifyData: false)
            guard result.corruptions == 0 else {
                throw ImageError(
                    .corrupt,
                    "Could not repair dirty image: \(result.corruptions) errors cannot be mended; opened read-only it "
                        + "can still be read", format: name, path: storage.path)
            }
        }
        return image
    }

    /// The cipher of an encrypted image; nil where no secret was given and none is needed.
    private func unlock(
        _ header: QCOW2Header, _ storage: any Storage, _ options: OpenOptions
    ) throws(ImageError) -> SectorCipher? {
        guard let passphrase = options.passphrase() else {
            if options.forCheck { return nil }
            throw ImageError(
                .permission, "Parameter 'encrypt.key-secret' is required for cipher", format: name, path: storage.path)
        }
        if header.cryptMethod == 1 { return try SectorCipher.legacy(password: passphrase) }
        guard let place = header.cryptoHeader, place.offset < storage.byteCount else {
            throw ImageError(
                .corrupt, "CRYPTO header for LUKS encrypted qcow2 is missing", format: name, path: storage.path)
        }
        return try LUKSHeader(storage, at: place.offset).unlock(passphrase, storage, at: place.offset)
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        var settings = try QCOW2Create.settings(request)
        try QCOW2Create.write(&settings, to: storage)
        if settings.header.cryptMethod == 2 { try addLUKS(settings, storage, request) }
        if let file = settings.header.dataFile {
            let data = try storage.openSibling(FilePath.resolve(file, from: storage.path), create: true)
            try data.resize(to: settings.header.size)
            data.close()
        }
        if settings.preallocation != .off {
            let options = OpenOptions(format: name, readOnly: false, openBacking: false, forCheck: true)
            let device = try open(storage: storage, options: options)
            guard let image = device as? QCOW2Image else { return }
            try image.preallocate(from: 0, to: image.size, mode: settings.preallocation)
            try image.flush()
            try image.flush()
        }
    }

    /// Puts a LUKS header and its key material into a new image.
    private func addLUKS(
        _ settings: QCOW2Create.Settings, _ storage: any Storage, _ request: CreateRequest
    ) throws(ImageError) {
        let options = OptionReader(request.options)
        let passphrase = try request.secret(options.text("encrypt.key-secret"), option: "encrypt.key-secret")
        let area = try LUKSHeader.create(passphrase, LUKSParameters(options, prefix: "encrypt."))
        let image = try QCOW2Image(storage: storage, dataStorage: nil, header: settings.header)
        let offset = try image.allocateContiguous(Int(image.layout.clusters(UInt64(area.count))))
        try storage.write(area, at: offset)
        try image.settle()
        image.header.cryptoHeader = (offset, UInt64(area.count))
        try image.writeHeader()
    }

    public func hasCompanionFiles(_ request: CreateRequest) -> Bool { request.options["data_file"] != nil }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }
}
