/// Making an empty qcow2 image: header, refcount table, refcount blocks and L1 table, one behind the other, in one write.
enum QCOW2Create {
    /// The options of one image, parsed and judged.
    struct Settings {
        var header = QCOW2Header()
        var preallocation = Preallocation.off
        var dataFileRaw = false
    }

    static func settings(_ request: CreateRequest) throws(ImageError) -> Settings {
        var settings = Settings()
        var header = QCOW2Header()
        func bad(_ message: String) -> ImageError { ImageError(.invalidArgument, message, format: "qcow2") }
        let options = OptionReader(request.options)
        switch options.text("compat") ?? "1.1" {
        case "0.10", "v2": header.version = 2
        case "1.1", "v3": header.version = 3
        case let other: throw bad("Parameter 'version' does not accept value '\(other)'")
        }
        let clusterSize = try options.size("cluster_size") ?? 65536
        guard clusterSize.nonzeroBitCount == 1, (512...2 << 20).contains(clusterSize) else {
            throw bad("Cluster size must be a power of two between 512 and 2048k")
        }
        header.clusterBits = clusterSize.trailingZeroBitCount
        let refcountBits = try options.number("refcount_bits") ?? 16
        guard refcountBits.nonzeroBitCount == 1, refcountBits <= 64 else {
            throw bad("Refcount width must be a power of two and may not exceed 64 bits")
        }
        header.refcountOrder = refcountBits.trailingZeroBitCount
        if try options.bool("lazy_refcounts") ?? false { header.compatible |= QCOW2Header.lazyRefcounts }
        if try options.bool("extended_l2") ?? false {
            header.incompatible |= QCOW2Header.Incompatible.extendedL2
            guard header.version >= 3 else {
                throw bad(
                    "Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or "
                        + "greater)")
            }
            guard header.clusterBits >= 14 else {
                throw bad("Extended L2 entries are only supported with cluster sizes of at least 16384 bytes")
            }
        }
        switch options.text("compression_type") ?? "zlib" {
        case "zlib": break
        case "zstd":
            header.compression = .zstd
            header.incompatible |= QCOW2Header.Incompatible.compressionType
        case let other: throw bad("Parameter 'compression-type' does not accept value '\(other)'")
        }
        if header.version < 3 {
            guard header.refcountOrder == 4 else {
                throw bad(
                    "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)"
                )
            }
            guard header.compatible == 0 else {
                throw bad(
                    "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)")
            }
            guard header.compression == .zlib else {
                throw bad(
                    "Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)"
                )
            }
        }
        if let dataFile = options.text("data_file") {
            guard header.version >= 3 else {
                throw bad(
                    "External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)"
                )
            }
            header.dataFile = dataFile
            header.incompatible |= QCOW2Header.Incompatible.dataFile
        }
        if try options.bool("data_file_raw") ?? false {
            guard header.dataFile != nil else { throw bad("data-file-raw requires data-file") }
            guard request.backing == nil else {
                throw bad("Backing file and data-file-raw cannot be used at the same time")
            }
            header.autoclear |= QCOW2Header.autoclearRawData
        }
        header.cryptMethod = try cryptMethod(options)
        if header.cryptMethod != 0 {
            _ = try request.secret(options.text("encrypt.key-secret"), option: "encrypt.key-secret")
            if header.cryptMethod == 2 { _ = try LUKSParameters(options, prefix: "encrypt.") }
        }
        settings.preallocation = try Preallocation.parse(
            request.options["preallocation"], allowed: Preallocation.allCases)
        if request.backing != nil, settings.preallocation != .off, !header.layout.isExtended {
            throw bad("Backing file and preallocation can only be used at the same time if extended_l2 is on")
        }
        header.size = (request.size + 511) & ~511
        header.backingFile = request.backing?.file
        header.backingFormat = request.backing?.format
        if header.version < 3 { header.headerLength = 72 }
        settings.header = header
        return settings
    }

    private static func cryptMethod(_ options: OptionReader) throws(ImageError) -> UInt32 {
        func bad(_ message: String) -> ImageError { ImageError(.invalidArgument, message, format: "qcow2") }
        let legacy = try options.bool("encryption")
        guard let format = options.text("encrypt.format") else {
            if legacy == true { return 1 }
            let others = LUKSParameters.options.map(\.name) + ["key-secret"]
            if others.contains(where: { options.text("encrypt." + $0) != nil }) {
                throw bad("Parameter 'encrypt.format' is missing")
            }
            return 0
        }
        guard legacy == nil else {
            throw bad("'encrypt.format' and its alias 'encryption' can't be used at the same time")
        }
        switch format {
        case "aes": return 1
        case "luks": return 2
        default: throw bad("Parameter 'format' does not accept value '\(format)'")
        }
    }

    /// Lays the metadata out and writes it.
    static func write(_ settings: inout Settings, to storage: any Storage) throws(ImageError) {
        let layout = settings.header.layout
        let l1Entries = layout.l1Entries(forSize: settings.header.size)
        guard l1Entries * 8 <= QCOW2Layout.maximumL1Bytes else {
            throw ImageError(
                .invalidArgument,
                "The image size is too large for file format 'qcow2' (try using a larger cluster size)",
                format: "qcow2")
        }
        let l1Clusters = Int(layout.clusters(l1Entries * 8))
        var blocks = 1
        var tableClusters = 1
        while true {
            let total = 1 + tableClusters + blocks + l1Clusters
            let neededBlocks = (total + layout.refblockEntries - 1) / layout.refblockEntries
            let neededTable = (neededBlocks * 8 + layout.clusterSize - 1) / layout.clusterSize
            if neededBlocks <= blocks, neededTable <= tableClusters { break }
            (blocks, tableClusters) = (max(blocks, neededBlocks), max(tableClusters, neededTable))
        }
        let total = 1 + tableClusters + blocks + l1Clusters
        let size = UInt64(layout.clusterSize)
        settings.header.refcountTableOffset = size
        settings.header.refcountTableClusters = UInt32(tableClusters)
        settings.header.l1Offset = size * UInt64(1 + tableClusters + blocks)
        settings.header.l1Size = UInt32(l1Entries)
        let refcounts = HeapBuffer((tableClusters + blocks) * layout.clusterSize)
        for block in 0..<blocks {
            refcounts.base.putBE64(size * UInt64(1 + tableClusters + block), block * 8)
            let place = refcounts.base + (tableClusters + block) * layout.clusterSize
            let first = block * layout.refblockEntries
            for entry in 0..<min(layout.refblockEntries, total - first) { layout.setRefcount(place, entry, 1) }
        }
        try storage.resize(to: UInt64(total) * size)
        // Only what is not zero is written; the header comes last and makes the file an image.
        try storage.write(from: refcounts.readable, at: size)
        try storage.write(try settings.header.encoded(), at: 0)
    }
}
