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

    /// Whether offset and size of the L1 table are possible ones.
    var isL1Valid = true
    /// More extra data than the format allows is left out.
    var hasExcessExtra = false
    /// Whether there is an L1 table that can be followed.
    var hasUsableL1: Bool { l1Size > 0 && isL1Valid }

    static let fixedBytes = 40
    static let maximumExtra = 1024
    /// Of new snapshots: QEMU compares no more.
    static let maximumName = 255

    /// What of a table could be read.
    struct Table {
        var snapshots: [QCOW2Snapshot] = []
        /// Length in the file of the entries that were read.
        var byteCount: UInt64 = 0
        /// What is wrong with it, and whether writing `snapshots` anew mends that.
        var findings: [(message: String, isRepairable: Bool)] = []
    }

    /// Reads the whole table, bounded by the format's limits. `forWriting` false bears with entries that cannot be read.
    static func readTable(
        _ storage: any Storage, header: QCOW2Header, forWriting: Bool
    ) throws(ImageError) -> Table {
        var table = Table()
        if let problem = header.snapshotTableProblem { table.findings.append((problem, false)) }
        for index in 0..<Int(header.snapshotCount) {
            do throws(ImageError) {
                try table.readEntry(index, storage, header: header)
            } catch {
                if forWriting { throw error }
                table.findings.append((error.message, false))
                return table
            }
            guard table.byteCount <= UInt64(QCOW2Layout.maximumSnapshotTableBytes) else {
                let message = "Snapshot table is larger than \(QCOW2Layout.maximumSnapshotTableBytes) bytes"
                if forWriting { throw header.badSnapshots(message, storage, table.byteCount) }
                table.findings.append((message + ": discarding \(Int(header.snapshotCount) - index) snapshots", true))
                table.snapshots.removeLast()
                return table
            }
        }
        if header.surplusSnapshots > 0 {
            table.findings.append(
                (
                    "Snapshot table too large: discarding \(header.surplusSnapshots) snapshots above "
                        + "\(QCOW2Layout.maximumSnapshots)", true
                ))
        }
        let tooMuch = table.snapshots.contains { $0.hasExcessExtra }
        if forWriting, tooMuch, let index = table.snapshots.firstIndex(where: \.hasExcessExtra) {
            throw header.badSnapshots(
                "Too much extra metadata in snapshot table entry \(index); 'check -r all' removes it", storage, 0)
        }
        return table
    }
}

extension QCOW2Snapshot.Table {
    /// Reads the entry that lies behind those read before.
    fileprivate mutating func readEntry(
        _ index: Int, _ storage: any Storage, header: QCOW2Header
    ) throws(ImageError) {
        let position = header.snapshotsOffset + byteCount
        let fixedBytes = QCOW2Snapshot.fixedBytes
        guard position + UInt64(fixedBytes) <= storage.byteCount else {
            throw header.badSnapshots(
                "Snapshot table entry \(index) at \(position.hex) lies beyond the file", storage, byteCount)
        }
        let fixed = try storage.readBytes(at: position, count: fixedBytes)
        let idLength = Int(fixed.be16(12)), nameLength = Int(fixed.be16(14)), extraLength = Int(fixed.be32(36))
        guard UInt64(extraLength) <= storage.byteCount else {
            throw header.badSnapshots(
                "Snapshot table entry \(index) has \(extraLength) bytes of extra metadata, more than the file",
                storage, byteCount)
        }
        let kept = min(extraLength, QCOW2Snapshot.maximumExtra)
        let extra = try storage.readBytes(at: position + UInt64(fixedBytes), count: kept)
        let names = try storage.readBytes(
            at: position + UInt64(fixedBytes + extraLength), count: idLength + nameLength)
        var info = SnapshotInfo(
            id: String(decoding: names[..<idLength], as: UTF8.self),
            name: String(decoding: names[idLength...], as: UTF8.self),
            vmStateSize: UInt64(fixed.be32(32)), dateSeconds: fixed.be32(16), dateNanoseconds: fixed.be32(20),
            vmClockNanoseconds: fixed.be64(24), icount: nil, diskSize: header.size)
        if extraLength >= 8 { info.vmStateSize = extra.be64(0) }
        if extraLength >= 16 { info.diskSize = extra.be64(8) }
        if extraLength >= 24, extra.be64(16) != UInt64.max { info.icount = extra.be64(16) }
        var snapshot = QCOW2Snapshot(
            l1Offset: fixed.be64(0), l1Size: fixed.be32(8), info: info,
            trailingExtra: extraLength > 24 ? [UInt8](extra[24..<kept]) : [])
        judge(&snapshot, index, extraLength: extraLength, header)
        snapshots.append(snapshot)
        byteCount += UInt64(fixedBytes + extraLength + idLength + nameLength + 7) & ~7
    }

    private mutating func judge(
        _ snapshot: inout QCOW2Snapshot, _ index: Int, extraLength: Int, _ header: QCOW2Header
    ) {
        if extraLength > QCOW2Snapshot.maximumExtra {
            snapshot.hasExcessExtra = true
            findings.append(
                ("Discarding too much extra metadata in snapshot table entry \(index) (\(extraLength) bytes)", true))
        } else if header.version >= 3, extraLength < 16 {
            findings.append(("snapshot table entry \(index) is incomplete (\(extraLength) bytes of extra data)", true))
        }
        let layout = header.layout
        guard UInt64(snapshot.l1Size) * 8 <= QCOW2Layout.maximumL1Bytes, snapshot.l1Offset & layout.clusterMask == 0,
            snapshot.l1Offset <= UInt64(Int64.max) - QCOW2Layout.maximumL1Bytes
        else {
            snapshot.isL1Valid = false
            findings.append(
                (
                    "snapshot \(snapshot.info.id) (\(snapshot.info.name)): L1 table of \(snapshot.l1Size) entries at "
                        + "\(snapshot.l1Offset.hex) is invalid", false
                ))
            return
        }
    }
}

extension QCOW2Header {
    fileprivate func badSnapshots(_ message: String, _ storage: any Storage, _ inside: UInt64) -> ImageError {
        ImageError(.corrupt, message, format: "qcow2", path: storage.path, offset: snapshotsOffset + inside)
    }
}

extension QCOW2Image {
    /// The L1 table of a snapshot.
    func l1Table(of snapshot: QCOW2Snapshot) throws(ImageError) -> [UInt64] {
        guard snapshot.isL1Valid else {
            throw corrupt(
                "the L1 table of snapshot '\(snapshot.info.name)', \(snapshot.l1Size) entries at "
                    + "\(snapshot.l1Offset.hex), is invalid", snapshot.l1Offset)
        }
        // What is not there would read as zeros: a disk that was never like that.
        guard snapshot.l1Size == 0 || snapshot.l1Offset + UInt64(snapshot.l1Size) * 8 <= storage.byteCount else {
            throw corrupt(
                "the L1 table of snapshot '\(snapshot.info.name)' at \(snapshot.l1Offset.hex) lies beyond the file",
                snapshot.l1Offset)
        }
        return try Self.readTable(storage, at: snapshot.l1Offset, entries: Int(snapshot.l1Size))
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
        l1 = try l1Table(of: snapshot)
        header.size = snapshot.info.diskSize
        l2Cache.dropAll()
        decompressed.removeAll()
    }
}
