/// Changing an image's options after the fact: `amend`.
extension QCOW2Image {
    func amend(_ options: [String: String]) throws(ImageError) {
        let reader = OptionReader(options)
        func bad(_ message: String) -> ImageError { ImageError(.invalidArgument, message, format: "qcow2", path: path) }
        if let file = reader.text("backing_file"), file != header.backingFile {
            throw bad("Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.")
        }
        if let bits = try reader.number("refcount_bits"), bits != UInt64(layout.refcountBits) {
            throw ImageError(
                .unsupported, "Changing the refcount width is not supported; convert the image instead",
                format: "qcow2", path: path)
        }
        var version = header.version
        switch reader.text("compat") {
        case nil: break
        case "0.10", "v2": version = 2
        case "1.1", "v3": version = 3
        case let other?: throw bad("Unknown compatibility level \(other)")
        }
        if let size = try reader.size("size") { try resize(to: size, preallocation: .off) }
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        try settle()
        if let lazy = try reader.bool("lazy_refcounts") {
            guard !lazy || version >= 3 else {
                throw bad(
                    "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)")
            }
            header.compatible =
                lazy ? header.compatible | QCOW2Header.lazyRefcounts : header.compatible & ~QCOW2Header.lazyRefcounts
        }
        if version < header.version { try downgrade() }
        header.version = version
        try writeHeader()
        try storage.sync()
    }

    /// Removes what version 2 does not know: zero flags become unmapped clusters or written zeros.
    private func downgrade() throws(ImageError) {
        func refuse(_ what: String) -> ImageError {
            ImageError(.unsupported, "compat=0.10 does not support \(what)", format: "qcow2", path: path)
        }
        guard layout.refcountBits == 16 else { throw refuse("refcounts of \(layout.refcountBits) bits") }
        guard !layout.isExtended else { throw refuse("extended L2 entries") }
        guard dataStorage === storage else { throw refuse("an external data file") }
        guard header.compression == .zlib else { throw refuse("zstd compression") }
        guard header.bitmaps == nil else { throw refuse("persistent bitmaps") }
        guard snapshots.isEmpty else {
            throw refuse("zero clusters that snapshots may hold; delete the snapshots first")
        }
        header.compatible = 0
        let zeros = HeapBuffer(layout.clusterSize)
        var position: UInt64 = 0
        while position < header.size {
            let mapping = try map(position, limit: UInt64(layout.clusterSize))
            if mapping.kind == .zeroPlain || mapping.kind == .zeroAllocated {
                let slot = try writableL2(layout.l1Index(position))
                if header.backingFile == nil {
                    setEntry(slot, layout.l2Index(position), 0, bitmap: 0)
                } else {
                    let owned = mapping.kind == .zeroAllocated && mapping.isCopied
                    let host = owned ? mapping.hostOffset : try allocate(upTo: 1).offset
                    try writeData(from: zeros.readable, host: host, at: position)
                    let again = try writableL2(layout.l1Index(position))
                    setEntry(again, layout.l2Index(position), host | QCOW2Layout.copied, bitmap: 0)
                }
            }
            position += UInt64(layout.clusterSize)
        }
        try settle()
    }
}

extension DiskImage {
    /// Changes options of an existing image; qcow2 only.
    public static func amend(_ device: any BlockDevice, _ options: [String: String]) throws(ImageError) {
        guard let image = device as? QCOW2Image else {
            throw ImageError(
                .unsupported, "Format driver '\(device.formatName)' does not support option amendment",
                path: device.path)
        }
        try image.amend(options)
    }

    /// Options that `amend` can change.
    public static let amendableOptions = [
        "backing_file", "backing_fmt", "compat", "data_file", "data_file_raw", "lazy_refcounts", "refcount_bits",
        "size",
    ]
}
