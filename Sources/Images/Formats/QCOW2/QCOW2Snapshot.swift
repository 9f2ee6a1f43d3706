/// One entry of the snapshot table (QEMU docs/interop/qcow2.txt, "Snapshots"):
///
///     offset size
///          0    8  offset of the snapshot's L1 table
///          8    4  entries of that table
///         12    2  length of the id         14   2  length of the name
///         16    4  date, seconds            20   4  date, nanoseconds
///         24    8  guest clock, nanoseconds
///         32    4  size of the VM state     36   4  length of the extra data
///         40       extra data: 8 size of the VM state, 8 virtual disk size, 8 instruction count
///                  then id, name, padding to 8
struct QCOW2Snapshot: Sendable {
    var l1Offset: UInt64
    var l1Size: UInt32
    var info: SnapshotInfo
    /// Extra data past the fields we know, kept.
    var trailingExtra: [UInt8] = []

    static let fixedBytes = 40
    static let maximumExtra = 1024
    /// Of new snapshots: QEMU compares no more.
    static let maximumName = 255

    /// Reads the whole table, bounded by the format's limits.
    static func readTable(_ storage: any Storage, header: QCOW2Header) throws(ImageError) -> [QCOW2Snapshot] {
        var snapshots: [QCOW2Snapshot] = []
        var position = header.snapshotsOffset
        func bad(_ message: String) -> ImageError {
            ImageError(.corrupt, message, format: "qcow2", path: storage.path, offset: position)
        }
        let layout = header.layout
        for index in 0..<Int(header.snapshotCount) {
            guard position + UInt64(fixedBytes) <= storage.byteCount else {
                throw bad("Snapshot table entry \(index) at \(position.hex) lies beyond the file")
            }
            let fixed = try storage.readBytes(at: position, count: fixedBytes)
            let idLength = Int(fixed.be16(12)), nameLength = Int(fixed.be16(14)), extraLength = Int(fixed.be32(36))
            guard extraLength <= maximumExtra else {
                throw bad("Too much extra metadata in snapshot table entry \(index): \(extraLength) bytes")
            }
            let variable = try storage.readBytes(
                at: position + UInt64(fixedBytes), count: extraLength + idLength + nameLength)
            let l1Size = fixed.be32(8), l1Offset = fixed.be64(0)
            guard UInt64(l1Size) * 8 <= QCOW2Layout.maximumL1Bytes, l1Offset & layout.clusterMask == 0,
                l1Offset <= UInt64(Int64.max) - QCOW2Layout.maximumL1Bytes
            else {
                throw bad("Snapshot \(index) L1 table of \(l1Size) entries at \(l1Offset.hex) is invalid")
            }
            var info = SnapshotInfo(
                id: String(decoding: variable[extraLength..<extraLength + idLength], as: UTF8.self),
                name: String(decoding: variable[(extraLength + idLength)...], as: UTF8.self),
                vmStateSize: UInt64(fixed.be32(32)), dateSeconds: fixed.be32(16), dateNanoseconds: fixed.be32(20),
                vmClockNanoseconds: fixed.be64(24), icount: nil, diskSize: header.size)
            if extraLength >= 8 { info.vmStateSize = variable.be64(0) }
            if extraLength >= 16 { info.diskSize = variable.be64(8) }
            if extraLength >= 24, variable.be64(16) != UInt64.max { info.icount = variable.be64(16) }
            snapshots.append(
                QCOW2Snapshot(
                    l1Offset: l1Offset, l1Size: l1Size, info: info,
                    trailingExtra: extraLength > 24 ? [UInt8](variable[24..<extraLength]) : []))
            position += UInt64(fixedBytes + extraLength + idLength + nameLength + 7) & ~7
            guard position - header.snapshotsOffset <= UInt64(QCOW2Layout.maximumSnapshotTableBytes) else {
                throw bad("Snapshot table is larger than \(QCOW2Layout.maximumSnapshotTableBytes) bytes")
            }
        }
        return snapshots
    }
}

extension QCOW2Snapshot {
    /// The table as it lies in the file.
    static func encode(_ snapshots: [QCOW2Snapshot], version: UInt32) throws(ImageError) -> [UInt8] {
        var out: [UInt8] = []
        for snapshot in snapshots {
            let id = [UInt8](snapshot.info.id.utf8), name = [UInt8](snapshot.info.name.utf8)
            guard id.count <= 65535, name.count <= 65535 else {
                throw ImageError(.invalidArgument, "snapshot name of \(name.count) bytes is too long", format: "qcow2")
            }
            var extra: [UInt8] = []
            extra.putBE(snapshot.info.vmStateSize)
            extra.putBE(snapshot.info.diskSize)
            extra.putBE(snapshot.info.icount ?? UInt64.max)
            extra += snapshot.trailingExtra
            out.putBE(snapshot.l1Offset)
            out.putBE(snapshot.l1Size)
            out.putBE(UInt16(id.count))
            out.putBE(UInt16(name.count))
            out.putBE(snapshot.info.dateSeconds)
            out.putBE(snapshot.info.dateNanoseconds)
            out.putBE(snapshot.info.vmClockNanoseconds)
            out.putBE(UInt32(truncatingIfNeeded: min(snapshot.info.vmStateSize, UInt64(UInt32.max))))
            out.putBE(UInt32(extra.count))
            out += extra + id + name
            out += [UInt8](repeating: 0, count: (8 - out.count % 8) % 8)
        }
        return out
    }
}

extension QCOW2Image: SnapshotCapable {
    /// The index of the snapshot that a selector means: an id or a name, ids first.
    func snapshotIndex(_ selector: String) -> Int? {
        var id: String?
        var name: String?
        for item in selector.split(separator: ",") {
            if item.hasPrefix("snapshot.id=") { id = String(item.dropFirst(12)) }
            if item.hasPrefix("snapshot.name=") { name = String(item.dropFirst(14)) }
        }
        if id != nil || name != nil {
            return snapshots.firstIndex { (id == nil || $0.info.id == id) && (name == nil || $0.info.name == name) }
        }
        return snapshots.firstIndex { $0.info.id == selector } ?? snapshots.firstIndex { $0.info.name == selector }
    }

    public func loadSnapshot(_ selector: String) throws(ImageError) {
        guard isReadOnly else {
            throw ImageError(.invalidArgument, "a snapshot can only be read from an image opened read-only", path: path)
        }
        guard let index = snapshotIndex(selector) else {
            throw ImageError(.notFound, "Can't find snapshot", format: "qcow2", path: path)
        }
        let snapshot = snapshots[index]
        guard layout.l1Entries(forSize: snapshot.info.diskSize) <= UInt64(snapshot.l1Size) else {
            throw corrupt("Snapshot L1 table is too small for \(snapshot.info.diskSize) bytes", snapshot.l1Offset)
        }
        access.lockExclusive()
        defer { access.unlock() }
        l1 = try Self.readTable(storage, at: snapshot.l1Offset, entries: Int(snapshot.l1Size))
        header.size = snapshot.info.diskSize
        l2Cache.dropAll()
        decompressed.removeAll()
    }
}
