/// Which host clusters hold metadata (QEMU docs/interop/qcow2.txt; QEMU's option `overlap-check`).
///
/// A refcount says whether a cluster is used, not for what. Damage can make it say "free" of a table, or an L2 entry call
/// a table guest data: who writes there destroys what is left. So every cluster that is about to be handed out or written
/// as guest data is looked up here first.
struct QCOW2MetadataMap {
    /// What a cluster holds.
    enum Structure: UInt8 {
        case header, activeL1, refcountTable, snapshotTable, bitmapDirectory, encryptionHeader
        case refcountBlock, inactiveL1, bitmap
        /// An L2 table that the active L1 table alone names, and one that it names together with others.
        case activeL2, sharedL2
        case inactiveL2

        /// As QEMU calls it.
        var name: String {
            switch self {
            case .header: "qcow2_header"
            case .activeL1: "active L1 table"
            case .refcountTable: "refcount table"
            case .snapshotTable: "snapshot table"
            case .bitmapDirectory: "bitmap directory"
            case .encryptionHeader: "LUKS header"
            case .refcountBlock: "refcount block"
            case .inactiveL1: "inactive L1 table"
            case .bitmap: "bitmap"
            case .activeL2, .sharedL2: "active L2 table"
            case .inactiveL2: "inactive L2 table"
            }
        }

        /// The least thorough mode that looks at it.
        var mode: OverlapCheck {
            switch self {
            case .header, .activeL1, .refcountTable, .snapshotTable, .bitmapDirectory, .encryptionHeader: .constant
            // Snapshots' L2 tables get here where that is cheap, or asked for with `all`.
            case .refcountBlock, .inactiveL1, .bitmap, .activeL2, .sharedL2, .inactiveL2: .cached
            }
        }

        fileprivate func mayShare(with other: Structure) -> Bool {
            switch (self, other) {
            case (.sharedL2, .sharedL2), (.sharedL2, .inactiveL2), (.inactiveL2, .sharedL2), (.inactiveL2, .inactiveL2),
                (.inactiveL1, .inactiveL1):
                true
            default: false
            }
        }
    }

    /// Two structures in one cluster: whatever is written to one of them destroys the other.
    struct Conflict {
        var cluster: UInt64
        var structures: (Structure, Structure)
    }

    private let clusterBits: Int
    private var clusters: [UInt64: Structure] = [:]
    private(set) var conflicts: [Conflict] = []

    init(clusterBits: Int, expecting count: Int) {
        self.clusterBits = clusterBits
        clusters.reserveCapacity(count)
    }

    /// What lies in a host cluster; nil where no metadata does.
    @inline(__always) subscript(cluster: UInt64) -> Structure? { clusters[cluster] }

    /// Notes that `bytes` from `offset` on hold a structure.
    mutating func insert(_ structure: Structure, at offset: UInt64, bytes: UInt64) {
        guard bytes > 0, offset <= 1 << 56, bytes <= 1 << 32 else { return }
        for cluster in offset >> UInt64(clusterBits)...(offset + bytes - 1) >> UInt64(clusterBits) {
            if let known = clusters[cluster] {
                if !structure.mayShare(with: known), conflicts.count < 16 {
                    conflicts.append(Conflict(cluster: cluster, structures: (known, structure)))
                }
            } else {
                clusters[cluster] = structure
            }
        }
    }

    /// All clusters that hold something.
    var occupied: Dictionary<UInt64, Structure>.Keys { clusters.keys }

    /// The cluster is free.
    mutating func remove(_ cluster: UInt64) { clusters[cluster] = nil }
}

/// How much metadata is looked at before guest data is written in place (QEMU's `overlap-check`).
public enum OverlapCheck: String, Sendable, CaseIterable, Comparable {
    /// Nothing is.
    case none
    /// What keeps its place while an image is open: header, active L1 table, refcount table, snapshot table, bitmaps.
    case constant
    /// And all that is in memory anyway: L2 tables, refcount blocks, places of the snapshots' L1 tables. The default.
    case cached
    /// And the snapshots' L2 tables, which have to be read for it.
    case all

    private var level: Int {
        switch self {
        case .none: 0
        case .constant: 1
        case .cached: 2
        case .all: 3
        }
    }

    public static func < (one: OverlapCheck, other: OverlapCheck) -> Bool { one.level < other.level }
}

extension QCOW2Image {
    /// Snapshots' L1 tables up to this many bytes altogether are read for their L2 tables in every mode.
    private static let cheapInactiveBytes: UInt64 = 1 << 20
    /// Clusters of snapshots' L1 tables that are kept account of; a table of garbage must not fill memory.
    private static let inactiveL1Limit: UInt64 = 1 << 20

    /// The map of all metadata, made where there is none. Caller holds `access` exclusively.
    func metadataMap() throws(ImageError) -> QCOW2MetadataMap {
        if let metadata { return metadata }
        let bits = layout.clusterBits
        let cluster = UInt64(layout.clusterSize)
        var map = QCOW2MetadataMap(clusterBits: bits, expecting: l1.count { $0 & QCOW2Layout.offsetMask != 0 })
        map.insert(.header, at: 0, bytes: 1)
        map.insert(.activeL1, at: header.l1Offset, bytes: UInt64(header.l1Size) * 8)
        map.insert(
            .refcountTable, at: header.refcountTableOffset, bytes: UInt64(header.refcountTableClusters) * cluster)
        if header.snapshotCount > 0 {
            map.insert(.snapshotTable, at: header.snapshotsOffset, bytes: snapshotTableBytes)
        }
        if let crypto = header.cryptoHeader {
            map.insert(.encryptionHeader, at: crypto.offset, bytes: crypto.length)
        }
        for entry in refcountTable where entry & QCOW2Layout.refcountOffsetMask != 0 {
            map.insert(.refcountBlock, at: entry & QCOW2Layout.refcountOffsetMask, bytes: cluster)
        }
        if hasConsistentBitmaps, let place = header.bitmaps, let bitmaps = try? QCOW2Bitmap.readDirectory(self) {
            map.insert(.bitmapDirectory, at: place.directoryOffset, bytes: place.directorySize)
            for bitmap in bitmaps {
                for range in (try? ranges(of: bitmap)) ?? [] { map.insert(.bitmap, at: range.0, bytes: range.1) }
            }
        }
        // Those of our own first: then a table that a snapshot names too stands out.
        for isOurs in [true, false] {
            for entry in l1 where entry & QCOW2Layout.offsetMask != 0 && (entry & QCOW2Layout.copied != 0) == isOurs {
                map.insert(isOurs ? .activeL2 : .sharedL2, at: entry & QCOW2Layout.offsetMask, bytes: cluster)
            }
        }
        try insertSnapshots(into: &map)
        metadata = map
        return map
    }

    private func insertSnapshots(into map: inout QCOW2MetadataMap) throws(ImageError) {
        let tables = Set(
            snapshots.filter(\.hasUsableL1).map { QCOW2TablePlace(offset: $0.l1Offset, entries: $0.l1Size) })
        var left = Self.inactiveL1Limit
        for table in tables {
            let clusters = layout.clusters(table.byteCount)
            guard clusters <= left else { break }
            left -= clusters
            map.insert(.inactiveL1, at: table.offset, bytes: table.byteCount)
        }
        let isCheap = tables.reduce(UInt64(0)) { $0 + $1.byteCount } <= Self.cheapInactiveBytes
        guard overlapCheck == .all || isCheap else { return }
        for table in tables where table.offset < storage.byteCount {
            for entry in try Self.readTable(storage, at: table.offset, entries: Int(table.entries))
            where entry & QCOW2Layout.offsetMask != 0 {
                map.insert(.inactiveL2, at: entry & QCOW2Layout.offsetMask, bytes: UInt64(layout.clusterSize))
            }
        }
    }
}

/// Where a table of 8-byte entries lies.
struct QCOW2TablePlace: Hashable {
    var offset: UInt64
    var entries: UInt32
    var byteCount: UInt64 { UInt64(entries) * 8 }
}
