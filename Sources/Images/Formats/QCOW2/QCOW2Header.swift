/// The qcow2 header (QEMU docs/interop/qcow2.txt, "Header").
///
///     offset size
///          0    4  magic "QFI\xfb"
///          4    4  version, 2 or 3
///          8    8  offset of the backing file name, 0 without one
///         16    4  length of that name, at most 1023, not terminated
///         20    4  cluster_bits, 9…21
///         24    8  virtual size in bytes
///         32    4  encryption: 0 none, 1 AES, 2 LUKS
///         36    4  entries of the active L1 table
///         40    8  offset of the active L1 table
///         48    8  offset of the refcount table
///         56    4  clusters of the refcount table
///         60    4  number of snapshots
///         64    8  offset of the snapshot table
///     version 3:
///         72    8  incompatible features (0 dirty, 1 corrupt, 2 external data, 3 compression type, 4 extended L2)
///         80    8  compatible features (0 lazy refcounts)
///         88    8  autoclear features (0 bitmaps consistent, 1 external data file is raw)
///         96    4  refcount_order: a refcount has 1 << order bits
///        100    4  header length
///        104    1  compression type: 0 zlib, 1 zstd (only with incompatible bit 3)
///
/// Extensions follow: type (4), length (4), data padded to 8; type 0 ends them. Then the backing file name.
struct QCOW2Header: Sendable {
    static let magic: UInt32 = 0x5146_49fb

    enum Extension {
        static let end: UInt32 = 0
        static let backingFormat: UInt32 = 0xe279_2aca
        static let featureNames: UInt32 = 0x6803_f857
        static let bitmaps: UInt32 = 0x2385_2875
        static let crypto: UInt32 = 0x0537_be77
        static let dataFile: UInt32 = 0x4441_5441
    }

    enum Incompatible {
        static let dirty: UInt64 = 1 << 0
        static let corrupt: UInt64 = 1 << 1
        static let dataFile: UInt64 = 1 << 2
        static let compressionType: UInt64 = 1 << 3
        static let extendedL2: UInt64 = 1 << 4
        static let known: UInt64 = 0x1f
    }

    /// What a disk writes as a whole.
    static let sectorBytes = 512
    static let lazyRefcounts: UInt64 = 1 << 0
    static let autoclearBitmaps: UInt64 = 1 << 0
    static let autoclearRawData: UInt64 = 1 << 1

    enum Compression: UInt8, Sendable { case zlib = 0, zstd = 1 }

    var version: UInt32 = 3
    var clusterBits: Int = 16
    var size: UInt64 = 0
    var cryptMethod: UInt32 = 0
    var l1Size: UInt32 = 0
    var l1Offset: UInt64 = 0
    var refcountTableOffset: UInt64 = 0
    var refcountTableClusters: UInt32 = 0
    /// Why the image's refcount table is of no use; it is not looked at then, and the image can only be read or repaired.
    var refcountTableProblem: String?
    var snapshotCount: UInt32 = 0
    var snapshotsOffset: UInt64 = 0
    /// Snapshots that the header counts above what the format allows; they are not looked at.
    var surplusSnapshots: UInt32 = 0
    /// Why there is no snapshot table to be read; what the disk holds can be read all the same.
    var snapshotTableProblem: String?
    var incompatible: UInt64 = 0
    var compatible: UInt64 = 0
    var autoclear: UInt64 = 0
    var refcountOrder: Int = 4
    var headerLength: Int = 112
    var compression: Compression = .zlib
    /// Header bytes past those we know, kept when the header is written again.
    var trailingFields: [UInt8] = []

    var backingFile: String?
    var backingFormat: String?
    var dataFile: String?
    /// LUKS header: offset and length in the file.
    var cryptoHeader: (offset: UInt64, length: UInt64)?
    /// Bitmap extension: count, directory size and offset.
    var bitmaps: (count: UInt32, directorySize: UInt64, directoryOffset: UInt64)?
    /// Extensions we do not know, kept.
    var unknownExtensions: [(type: UInt32, data: [UInt8])] = []

    var layout: QCOW2Layout {
        QCOW2Layout(
            clusterBits: clusterBits, refcountOrder: refcountOrder,
            isExtended: incompatible & Incompatible.extendedL2 != 0)
    }

    /// Names for the feature table that every v3 image carries: type, bit, name.
    static let featureNames: [(type: UInt8, bit: UInt8, name: String)] = [
        (0, 0, "dirty bit"), (0, 1, "corrupt bit"), (0, 2, "external data file"), (0, 3, "compression type"),
        (0, 4, "extended L2 entries"), (1, 0, "lazy refcounts"), (2, 0, "bitmaps"), (2, 1, "raw external data"),
    ]

    /// The whole header as it lies at offset 0: fields, extensions, backing file name.
    /// Throws `.invalidArgument` when it does not fit one cluster.
    func encoded() throws(ImageError) -> [UInt8] {
        let full = encoded(withFeatureNames: version >= 3)
        // The feature names are for people. A header of one sector is written at one instant, so it rather does without.
        let out = full.count <= Self.sectorBytes ? full : encoded(withFeatureNames: false)
        if let name = backingFile, name.utf8.count > QCOW2Layout.maximumBackingName {
            throw ImageError(
                .invalidArgument, "Backing file name is \(name.utf8.count) bytes long, at most 1023 fit",
                format: "qcow2")
        }
        guard out.count <= 1 << clusterBits else {
            throw ImageError(
                .invalidArgument,
                "The header needs \(out.count) bytes and does not fit a cluster of \(1 << clusterBits)", format: "qcow2"
            )
        }
        return out
    }

    private func encoded(withFeatureNames: Bool) -> [UInt8] {
        var out: [UInt8] = []
        out.putBE(Self.magic)
        out.putBE(version)
        out.putBE(UInt64(0))  // backing file offset and length are filled in last
        out.putBE(UInt32(0))
        out.putBE(UInt32(clusterBits))
        out.putBE(size)
        out.putBE(cryptMethod)
        out.putBE(l1Size)
        out.putBE(l1Offset)
        out.putBE(refcountTableOffset)
        out.putBE(refcountTableClusters)
        out.putBE(snapshotCount)
        out.putBE(snapshotsOffset)
        if version >= 3 {
            out.putBE(incompatible)
            out.putBE(compatible)
            out.putBE(autoclear)
            out.putBE(UInt32(refcountOrder))
            out.putBE(UInt32(112 + trailingFields.count))
            out += [compression.rawValue, 0, 0, 0, 0, 0, 0, 0]
            out += trailingFields
        }
        if let backingFormat { out.putExtension(Extension.backingFormat, [UInt8](backingFormat.utf8)) }
        if let dataFile { out.putExtension(Extension.dataFile, [UInt8](dataFile.utf8)) }
        if let cryptoHeader {
            var data: [UInt8] = []
            data.putBE(cryptoHeader.offset)
            data.putBE(cryptoHeader.length)
            out.putExtension(Extension.crypto, data)
        }
        if withFeatureNames {
            var table: [UInt8] = []
            for feature in Self.featureNames {
                table += [feature.type, feature.bit] + [UInt8](feature.name.utf8)
                table += [UInt8](repeating: 0, count: 46 - feature.name.utf8.count)
            }
            out.putExtension(Extension.featureNames, table)
        }
        if let bitmaps {
            var data: [UInt8] = []
            data.putBE(bitmaps.count)
            data.putBE(UInt32(0))
            data.putBE(bitmaps.directorySize)
            data.putBE(bitmaps.directoryOffset)
            out.putExtension(Extension.bitmaps, data)
        }
        for unknown in unknownExtensions { out.putExtension(unknown.type, unknown.data) }
        out.putExtension(Extension.end, [])
        if let backingFile {
            let name = [UInt8](backingFile.utf8)
            var place: [UInt8] = []
            place.putBE(UInt64(out.count))
            place.putBE(UInt32(name.count))
            out.replaceSubrange(8..<20, with: place)
            out += name
        }
        return out
    }
}

extension [UInt8] {
    mutating func putBE<T: FixedWidthInteger>(_ value: T) {
        for shift in stride(from: T.bitWidth - 8, through: 0, by: -8) {
            append(UInt8(truncatingIfNeeded: value >> T(shift)))
        }
    }

    fileprivate mutating func putExtension(_ type: UInt32, _ data: [UInt8]) {
        putBE(type)
        putBE(UInt32(data.count))
        append(contentsOf: data)
        append(contentsOf: repeatElement(0, count: (8 - data.count % 8) % 8))
    }
}
