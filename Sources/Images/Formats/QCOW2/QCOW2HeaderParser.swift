/// Reading and judging a qcow2 header. Nothing in it is trusted: sizes, offsets and counts are checked against the
/// format's limits and the file's length before anything is allocated or followed.
extension QCOW2Header {
    /// Parses the header in `storage`. Throws `.corrupt` or `.unsupported` with field and value. `forWriting` false bears
    /// with what only writers need: then contents can be saved, and the image repaired.
    init(parsing storage: any Storage, forWriting: Bool = true) throws(ImageError) {
        let path = storage.path
        func bad(_ kind: ImageError.Kind, _ message: String, _ offset: UInt64) -> ImageError {
            ImageError(kind, message, format: "qcow2", path: path, offset: offset)
        }
        let fixed = HeapBuffer(112)
        try storage.read(into: fixed.bytes, at: 0)
        let raw = UnsafeRawPointer(fixed.base)
        guard raw.be32(0) == Self.magic else { throw bad(.corrupt, "Image is not in qcow2 format", 0) }
        guard storage.byteCount >= 72 else {
            throw bad(.corrupt, "The file of \(storage.byteCount) bytes is shorter than a qcow2 header", 0)
        }
        version = raw.be32(4)
        guard version == 2 || version == 3 else { throw bad(.unsupported, "Unsupported qcow2 version \(version)", 4) }
        let bits = raw.be32(20)
        guard (9...21).contains(bits) else {
            throw bad(.corrupt, "Unsupported cluster size: 2^\(bits) (cluster_bits must be 9 to 21)", 20)
        }
        clusterBits = Int(bits)
        let clusterSize = UInt64(1) << UInt64(bits)
        size = raw.be64(24)
        cryptMethod = raw.be32(32)
        l1Size = raw.be32(36)
        l1Offset = raw.be64(40)
        refcountTableOffset = raw.be64(48)
        refcountTableClusters = raw.be32(56)
        snapshotCount = raw.be32(60)
        snapshotsOffset = raw.be64(64)
        headerLength = 72
        if version == 3 {
            incompatible = raw.be64(72)
            compatible = raw.be64(80)
            autoclear = raw.be64(88)
            let order = raw.be32(96)
            guard order <= 6 else {
                throw bad(.corrupt, "Reference count entry width too large: order \(order), may not exceed 6", 96)
            }
            refcountOrder = Int(order)
            let length = raw.be32(100)
            guard length >= 104, length % 8 == 0 else {
                throw bad(.corrupt, "qcow2 header length \(length) is below 104 or not a multiple of 8", 100)
            }
            guard UInt64(length) <= clusterSize else {
                throw bad(.corrupt, "qcow2 header exceeds cluster size: length \(length)", 100)
            }
            headerLength = Int(length)
            if headerLength > 112 {
                trailingFields = try storage.readBytes(at: 112, count: headerLength - 112)
            }
            let unknown = incompatible & ~Incompatible.known
            if unknown == 0, incompatible & Incompatible.compressionType != 0 || headerLength > 104 {
                let type = headerLength > 104 ? fixed.bytes[104] : 0
                guard let known = Compression(rawValue: type) else {
                    throw bad(.unsupported, "Unknown compression type \(type)", 104)
                }
                guard (known == .zlib) == (incompatible & Incompatible.compressionType == 0) else {
                    throw bad(
                        .corrupt, "Compression type \(type) and its incompatible feature bit disagree", 104)
                }
                compression = known
            }
        }
        let features = try parseExtensions(storage, clusterSize: clusterSize)
        let unknown = incompatible & ~Incompatible.known
        if unknown != 0 {
            var names: [String] = []
            var nameless: UInt64 = 0
            for bit in UInt64(0)..<64 where (unknown >> bit) & 1 != 0 {
                if let name = features[UInt8(bit)] { names.append(name) } else { nameless |= 1 << bit }
            }
            if nameless != 0 { names.append("Unknown incompatible feature: \(String(nameless, radix: 16))") }
            throw bad(.unsupported, "Unsupported qcow2 feature(s): \(names.joined(separator: ", "))", 72)
        }
        try parseBackingName(storage, offset: raw.be64(8), length: raw.be32(16), clusterSize: clusterSize)
        try validate(storage, forWriting: forWriting)
    }

    /// Reads the extensions; returns the incompatible features that the image names itself.
    private mutating func parseExtensions(
        _ storage: any Storage, clusterSize: UInt64
    ) throws(ImageError) -> [UInt8: String] {
        var named: [UInt8: String] = [:]
        // A version 2 header may be followed directly by the backing file name: the extensions end there.
        let backing = try storage.readBytes(at: 8, count: 8)
        let backingOffset = backing.be64(0)
        let end = backingOffset >= UInt64(headerLength) && backingOffset <= clusterSize ? backingOffset : clusterSize
        let area = try storage.readBytes(at: 0, count: Int(end))
        var position = headerLength
        while position + 8 <= area.count {
            let type = area.be32(position)
            let length = Int(area.be32(position + 4))
            position += 8
            if type == Extension.end { break }
            guard length <= area.count - position else {
                throw ImageError(
                    .corrupt, "Header extension \(UInt64(type).hex) of \(length) bytes is too large", format: "qcow2",
                    path: storage.path, offset: UInt64(position - 4))
            }
            let data = [UInt8](area[position..<position + length])
            switch type {
            case Extension.backingFormat:
                guard length < 16 else {
                    throw ImageError(
                        .corrupt, "ERROR: ext_backing_format: len=\(length) too large (>=16)", format: "qcow2",
                        path: storage.path, offset: UInt64(position - 4))
                }
                backingFormat = String(decoding: data, as: UTF8.self)
            case Extension.dataFile: dataFile = String(decoding: data, as: UTF8.self)
            case Extension.crypto where length == 16: cryptoHeader = (data.be64(0), data.be64(8))
            case Extension.bitmaps where length == 24: bitmaps = (data.be32(0), data.be64(8), data.be64(16))
            case Extension.featureNames:
                // The last name need not be filled up to its 46 bytes.
                for entry in stride(from: 0, to: length - 2, by: 48) where data[entry] == 0 {
                    let name = data[entry + 2..<min(entry + 48, length)].prefix { $0 != 0 }
                    named[data[entry + 1]] = String(decoding: name, as: UTF8.self)
                }
            default: unknownExtensions.append((type, data))
            }
            position += (length + 7) & ~7
        }
        return named
    }

    private mutating func parseBackingName(
        _ storage: any Storage, offset: UInt64, length: UInt32, clusterSize: UInt64
    ) throws(ImageError) {
        guard offset != 0 else { return }
        guard length <= UInt32(QCOW2Layout.maximumBackingName), offset >= 72, offset <= clusterSize,
            UInt64(length) <= clusterSize - offset
        else {
            throw ImageError(
                .corrupt, "Invalid backing file name: offset \(offset.hex), length \(length)", format: "qcow2",
                path: storage.path, offset: 8)
        }
        guard length > 0 else { return }
        backingFile = String(decoding: try storage.readBytes(at: offset, count: Int(length)), as: UTF8.self)
    }

    /// Tables must be aligned, within the limits, and inside what a file can hold.
    private mutating func validate(_ storage: any Storage, forWriting: Bool) throws(ImageError) {
        let layout = layout
        func bad(_ message: String, _ offset: UInt64) -> ImageError {
            ImageError(.corrupt, message, format: "qcow2", path: storage.path, offset: offset)
        }
        func checkTable(
            _ name: String, _ offset: UInt64, _ bytes: UInt64, limit: UInt64, field: UInt64
        ) throws(ImageError) {
            guard bytes <= limit else { throw bad("\(name) too large: \(bytes) bytes, at most \(limit)", field) }
            guard offset & layout.clusterMask == 0, offset <= UInt64(Int64.max) - bytes else {
                throw bad("\(name) offset invalid: \(offset.hex)", field)
            }
            guard bytes == 0 || offset != 0 else { throw bad("\(name) offset invalid: 0", field) }
            guard bytes == 0 || offset < storage.byteCount else {
                throw bad("\(name) at \(offset.hex) lies beyond the file of \(storage.byteCount) bytes", field)
            }
        }
        if layout.isExtended, clusterBits < 14 {
            throw bad("Extended L2 entries need clusters of at least 16 KiB, not \(layout.clusterSize) bytes", 72)
        }
        guard cryptMethod <= 2 else {
            throw ImageError(
                .unsupported, "Unsupported encryption method \(cryptMethod)", format: "qcow2", path: storage.path,
                offset: 32)
        }
        do throws(ImageError) {
            guard refcountTableClusters > 0 else { throw bad("Image does not contain a reference count table", 56) }
            try checkTable(
                "Reference count table", refcountTableOffset, UInt64(refcountTableClusters) << UInt64(clusterBits),
                limit: QCOW2Layout.maximumRefcountTableBytes, field: 48)
        } catch {
            if forWriting { throw error }
            refcountTableProblem = error.message
            (refcountTableOffset, refcountTableClusters) = (0, 0)
        }
        try checkTable(
            "Active L1 table", l1Offset, UInt64(l1Size) * 8, limit: QCOW2Layout.maximumL1Bytes, field: 36)
        guard layout.l1Entries(forSize: size) <= UInt64(l1Size) else {
            throw bad(
                "L1 table is too small: \(l1Size) entries, \(layout.l1Entries(forSize: size)) needed for \(size) bytes",
                36)
        }
        if snapshotCount > QCOW2Layout.maximumSnapshots {
            if forWriting { throw bad("Snapshot table too large: \(snapshotCount) snapshots, at most 65536", 60) }
            surplusSnapshots = snapshotCount - QCOW2Layout.maximumSnapshots
            snapshotCount = QCOW2Layout.maximumSnapshots
        }
        do throws(ImageError) {
            try checkTable(
                "Snapshot table", snapshotsOffset, UInt64(snapshotCount) * 40, limit: 65536 * 40, field: 64)
        } catch {
            if forWriting { throw error }
            snapshotTableProblem = error.message
            (snapshotsOffset, snapshotCount) = (0, 0)
        }
        if incompatible & Incompatible.dataFile == 0, autoclear & Self.autoclearRawData != 0 {
            throw bad("data-file-raw is set without an external data file", 88)
        }
    }
}

extension [UInt8] {
    /// Big-endian fields; the caller has checked the bounds.
    func be16(_ at: Int) -> UInt16 { UInt16(self[at]) << 8 | UInt16(self[at + 1]) }
    func be32(_ at: Int) -> UInt32 { UInt32(be16(at)) << 16 | UInt32(be16(at + 2)) }
    func be64(_ at: Int) -> UInt64 { UInt64(be32(at)) << 32 | UInt64(be32(at + 4)) }
}
