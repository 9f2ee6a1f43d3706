/// The answer of `measure`, in bytes.
public struct Measurement: Sendable, Hashable {
    /// What the image needs for the data that is there.
    public var required: UInt64
    /// What it needs once everything has been written.
    public var fullyAllocated: UInt64
    /// Persistent bitmaps, where a source with such was measured.
    public var bitmaps: UInt64?
}

extension DiskImage {
    /// How large an image of `format` becomes for an empty disk of `size` bytes, or for the content of `source`.
    public static func measure(
        format: String, options: [String: String], size: UInt64, source: (any BlockDevice)?,
        secrets: [String: [UInt8]] = [:]
    ) throws(ImageError) -> Measurement {
        let driver = try FormatRegistry.require(format)
        switch driver.name {
        case "raw":
            let rounded = (size + 511) & ~511
            return Measurement(required: rounded, fullyAllocated: rounded)
        case "qcow2":
            var request = CreateRequest(path: "", size: size, options: options)
            request.secrets = secrets
            if let file = request.options.removeValue(forKey: "backing_file") {
                request.backing = BackingReference(file: file, format: nil)
            }
            request.options["backing_fmt"] = nil
            return try QCOW2Measure.measure(request, source)
        case "luks":
            let reader = OptionReader(options)
            var request = CreateRequest(path: "", size: size)
            request.secrets = secrets
            _ = try request.secret(reader.text("key-secret"), option: "key-secret")
            let whole = try LUKSParameters(reader).areaBytes + (size + 511) & ~511
            return Measurement(required: whole, fullyAllocated: whole)
        default:
            throw ImageError(.unsupported, "Block driver '\(format)' does not support size measurement", format: format)
        }
    }
}

/// qcow2's sizes: header, mapping tables for everything, and refcounts for all of it.
enum QCOW2Measure {
    static func measure(_ request: CreateRequest, _ source: (any BlockDevice)?) throws(ImageError) -> Measurement {
        let settings = try QCOW2Create.settings(request)
        let layout = settings.header.layout
        let cluster = UInt64(layout.clusterSize)
        let whole = layout.clusters(settings.header.size) * cluster
        let l2Bytes = (whole / cluster).rounded(toMultipleOf: UInt64(layout.l2Entries)) * UInt64(layout.entryBytes)
        let l1Bytes = (l2Bytes / cluster).rounded(toMultipleOf: cluster / 8) * 8
        guard l1Bytes <= QCOW2Layout.maximumL1Bytes else {
            throw ImageError(.invalidArgument, "The image size is too large (try using a larger cluster size)")
        }
        var mapping = cluster + l2Bytes + l1Bytes
        if settings.header.cryptMethod == 2 {
            let luks = try LUKSParameters(OptionReader(request.options), prefix: "encrypt.")
            mapping += luks.areaBytes.rounded(toMultipleOf: cluster)
        }
        let meta = mapping + refcountBytes(clusters: (mapping + whole) / cluster, layout)
        var data: UInt64 = 0
        // Of an overlay nobody knows what its backing file will already hold.
        if settings.preallocation == .full || settings.preallocation == .falloc || request.backing != nil {
            data = whole
        } else if let source {
            data = try dataBytes(source, cluster)
        }
        return Measurement(
            required: meta + data, fullyAllocated: meta + whole,
            // Version 2 cannot keep them.
            bitmaps: settings.header.version < 3
                ? nil : source.flatMap { DiskImage.bitmapBytes($0, clusterSize: cluster) })
    }

    /// Refcount blocks and table that count `clusters` clusters and themselves.
    private static func refcountBytes(clusters: UInt64, _ layout: QCOW2Layout) -> UInt64 {
        let cluster = UInt64(layout.clusterSize)
        var (table, blocks, total, last) = (UInt64(0), UInt64(0), clusters, UInt64(0))
        while total != last {
            last = total
            blocks =
                (clusters + table + blocks).rounded(toMultipleOf: UInt64(layout.refblockEntries))
                / UInt64(layout.refblockEntries)
            table = blocks.rounded(toMultipleOf: cluster / 8) / (cluster / 8)
            total = clusters + blocks + table
        }
        return (blocks + table) * cluster
    }

    /// Clusters that hold data somewhere in the chain.
    private static func dataBytes(_ source: any BlockDevice, _ cluster: UInt64) throws(ImageError) -> UInt64 {
        var total: UInt64 = 0
        var lastCounted = UInt64.max
        var position: UInt64 = 0
        while position < source.size {
            let extent = try DiskImage.entry(in: source, at: position, limit: source.size - position)
            if !extent.isZero {
                let first = position / cluster
                let last = (position + extent.length - 1) / cluster
                // A cluster that an earlier run has counted is not counted again.
                let counted = lastCounted == first
                total += (last - first + (counted ? 0 : 1)) * cluster
                lastCounted = last
            }
            position += extent.length
        }
        return total
    }
}

extension UInt64 {
    /// The next multiple of `unit` from here on.
    func rounded(toMultipleOf unit: UInt64) -> UInt64 { (self + unit - 1) / unit * unit }
}
