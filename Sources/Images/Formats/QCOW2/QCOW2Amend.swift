/// Changing an image's options after the fact: `amend`.
extension QCOW2Image: OptionAmendable {
    public func amend(_ request: AmendRequest) throws(ImageError) {
        let reader = OptionReader(request.options)
        func bad(_ message: String) -> ImageError { ImageError(.invalidArgument, message, format: "qcow2", path: path) }
        let plan = try amendment(reader)
        if request.options.keys.contains(where: { $0.hasPrefix("encrypt.") }) { try amendEncryption(request) }
        // What version 3 brings has to be there before a new size or refcount width, and may only go after them.
        try raise(to: plan)
        if let size = try reader.size("size") {
            try resize(to: size, preallocation: .off)
            if plan.version < header.version { try checkDowngrade() }
        }
        access.lockExclusive()
        defer { access.unlock() }
        try settle()
        var current = self
        if plan.refcountOrder != layout.refcountOrder {
            current = try withRefcountOrder(plan.refcountOrder, progress: request.progress)
        }
        if plan.version < header.version {
            try current.downgrade()
            header = current.header
        }
    }

    /// Writes the header as it shall be, but for what can only be less in the end.
    private func raise(to plan: QCOW2Header) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        try settle()
        // Version 3 wants more of a snapshot than version 2 does.
        if plan.version > header.version, !snapshots.isEmpty {
            try switchTables(to: NextTables(snapshots: snapshots, active: l1, size: header.size))
        }
        header.version = max(header.version, plan.version)
        header.dataFile = plan.dataFile
        header.autoclear = plan.autoclear | header.autoclear & QCOW2Header.autoclearBitmaps
        header.compatible = plan.compatible
        try writeHeader()
        try storage.sync()
    }

    /// The header fields as they shall be, judged against each other and the image.
    private func amendment(_ reader: OptionReader) throws(ImageError) -> QCOW2Header {
        func bad(_ message: String) -> ImageError { ImageError(.invalidArgument, message, format: "qcow2", path: path) }
        var plan = header
        let file = reader.text("backing_file"), format = reader.text("backing_fmt")
        if file != nil || format != nil, file != header.backingFile || format != header.backingFormat {
            throw bad("Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.")
        }
        switch reader.text("compat") {
        case nil: break
        case "0.10", "v2": plan.version = 2
        case "1.1", "v3": plan.version = 3
        case let other?: throw bad("Unknown compatibility level \(other)")
        }
        if let bits = try reader.number("refcount_bits") {
            guard bits.nonzeroBitCount == 1, bits <= 64 else {
                throw bad("Refcount width must be a power of two and may not exceed 64 bits")
            }
            plan.refcountOrder = bits.trailingZeroBitCount
        }
        if plan.version < 3, plan.refcountOrder != 4 {
            throw reader.text("refcount_bits") == nil
                ? bad("compat=0.10 requires refcount_bits=16")
                : bad(
                    "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or "
                        + "greater)")
        }
        if let dataFile = reader.text("data_file") {
            guard dataStorage !== storage else {
                throw bad("data-file can only be set for images that use an external data file")
            }
            plan.dataFile = dataFile
        }
        if let isRaw = try reader.bool("data_file_raw") {
            if isRaw, header.autoclear & QCOW2Header.autoclearRawData == 0 {
                throw bad("data-file-raw cannot be set on existing images")
            }
            if !isRaw { plan.autoclear &= ~QCOW2Header.autoclearRawData }
        }
        plan.autoclear &= QCOW2Header.autoclearRawData
        if let lazy = try reader.bool("lazy_refcounts") {
            guard !lazy || plan.version >= 3 else {
                throw bad(
                    "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)")
            }
            plan.compatible =
                lazy ? header.compatible | QCOW2Header.lazyRefcounts : header.compatible & ~QCOW2Header.lazyRefcounts
        }
        if plan.version < header.version { try checkDowngrade() }
        return plan
    }

    private func amendEncryption(_ request: AmendRequest) throws(ImageError) {
        guard header.cryptMethod != 0 else {
            throw ImageError(
                .invalidArgument, "Can't amend encryption options - encryption not present", format: "qcow2")
        }
        guard header.cryptMethod == 2, let place = header.cryptoHeader else {
            throw ImageError(
                .invalidArgument, "Only LUKS encryption options can be amended for qcow2", format: "qcow2", path: path)
        }
        try checkWritable()
        access.lockExclusive()
        defer { access.unlock() }
        try guardMetadata()
        let payload = try LUKSHeader(storage, at: place.offset).payloadOffset
        guard payload > 0, payload <= place.length else {
            throw corrupt("the LUKS header says that it has \(payload) bytes, the image \(place.length)", place.offset)
        }
        try LUKSHeader.amend(
            storage, at: place.offset, LUKSAmendment(request, prefix: "encrypt."), current: passphrase)
    }
}
