/// The state of a VM beside a snapshot's disk (QEMU docs/interop/qcow2.txt, "Snapshots": size of the VM state).
///
/// It lies behind the virtual disk: at the first disk offset that the L1 entries of the disk do not reach, mapped by further
/// entries of the same table. While it is written these belong to the active table, as QEMU does it; taking the snapshot
/// leaves them to the snapshot alone.
extension QCOW2Image: VMStateCapable {
    /// The disk offset at which a VM's state begins, for a disk of some size.
    private func vmStateStart(diskSize: UInt64) -> UInt64 {
        layout.l1Entries(forSize: diskSize) << UInt64(layout.clusterBits + layout.l2Bits)
    }

    /// L1 entries that map the disk, without those behind it.
    func diskEntries(_ table: [UInt64], diskSize: UInt64) -> [UInt64] {
        Array(table.prefix(Int(clamping: layout.l1Entries(forSize: diskSize))))
    }

    public func beginVMState(maximumBytes: UInt64) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        guard dataStorage === storage else {
            throw ImageError(
                .unsupported, "an image with an external data file holds no VM state", format: "qcow2", path: path)
        }
        try prepareForWriting()
        try dropVMState()
        try growL1(for: vmStateStart(diskSize: header.size) + maximumBytes)
    }

    public func writeVMState(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        let start = vmStateStart(diskSize: header.size) + offset
        guard buffer.count == 0 || layout.l1Index(start + UInt64(buffer.count) - 1) < l1.count else {
            throw ImageError(
                .invalidArgument, "\(buffer.count) bytes of VM state at \(offset) lie beyond the room made for it",
                format: "qcow2", path: path)
        }
        var done = 0
        while done < buffer.count {
            let position = start + UInt64(done)
            let inCluster = Int(position & layout.clusterMask)
            let count = min(buffer.count - done, layout.clusterSize - inCluster)
            try writeStateCluster(buffer.part(done, count), at: layout.clusterStart(position), inCluster)
            done += count
        }
    }

    /// Part of a cluster, the rest of which is as it was, or zeros.
    private func writeStateCluster(
        _ part: UnsafeRawBufferPointer, at start: UInt64, _ inCluster: Int
    ) throws(ImageError) {
        let cluster = try decode(try entry(at: start).entry, start)
        let owns = cluster.kind == .normal && cluster.isCopied
        let host = owns ? cluster.hostOffset : try allocate(upTo: 1).offset
        let whole = clusterPool.take()
        defer { clusterPool.give(whole) }
        if part.count < layout.clusterSize {
            if owns { try readData(into: whole.bytes, host: host, at: start) } else { whole.bytes.zero(from: 0) }
        }
        whole.bytes.part(inCluster, part.count).copyMemory(from: part)
        do throws(ImageError) {
            try writeData(from: whole.readable, host: host, at: start)
        } catch {
            if !owns { try freeNow(host, UInt64(layout.clusterSize)) }
            throw error
        }
        if !owns { try link(host: host, count: 1, at: start) }
    }

    public func discardVMState() throws(ImageError) {
        access.lockExclusive()
        defer { access.unlock() }
        try prepareForWriting()
        try dropVMState()
        try settle()
    }

    /// Unmaps what the active table has behind the disk, which an interruption may have left there.
    private func dropVMState() throws(ImageError) {
        let end = UInt64(l1.count) << UInt64(layout.clusterBits + layout.l2Bits)
        let start = vmStateStart(diskSize: header.size)
        if start < end { try unmapAll(from: start, to: end) }
    }

    public func openVMState(ofSnapshot selector: String) throws(ImageError) -> any VMStateReading {
        guard let index = snapshotIndex(selector) else {
            throw ImageError(.notFound, "there is no snapshot '\(selector)'", format: "qcow2", path: path)
        }
        let snapshot = snapshots[index]
        guard snapshot.info.vmStateSize > 0 else {
            throw ImageError(
                .notFound, "snapshot '\(snapshot.info.name)' holds a disk and no VM", format: "qcow2", path: path)
        }
        access.lockShared()
        defer { access.unlock() }
        return QCOW2VMState(
            self, table: try l1Table(of: snapshot), start: vmStateStart(diskSize: snapshot.info.diskSize),
            byteCount: snapshot.info.vmStateSize)
    }
}

/// Reads a VM's state through the L1 table of its snapshot. The image must not be closed, nor the snapshot deleted, meanwhile.
private final class QCOW2VMState: VMStateReading {
    private let image: QCOW2Image
    private let table: [UInt64]
    private let start: UInt64
    let byteCount: UInt64
    /// The L2 table that was looked at last.
    private let l2: HeapBuffer
    private var l2Index = -1

    init(_ image: QCOW2Image, table: [UInt64], start: UInt64, byteCount: UInt64) {
        self.image = image
        self.table = table
        self.start = start
        self.byteCount = byteCount
        l2 = HeapBuffer(image.layout.clusterSize)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        let (end, isTooFar) = offset.addingReportingOverflow(UInt64(buffer.count))
        guard !isTooFar, end <= byteCount else {
            throw ImageError(
                .invalidArgument, "\(buffer.count) bytes at \(offset) lie beyond the VM state of \(byteCount) bytes",
                format: "qcow2", path: image.path)
        }
        image.access.lockShared()
        defer { image.access.unlock() }
        var done = 0
        while done < buffer.count {
            let position = start + offset + UInt64(done)
            let inCluster = Int(position & image.layout.clusterMask)
            let count = min(buffer.count - done, image.layout.clusterSize - inCluster)
            try readCluster(buffer.part(done, count), at: position)
            done += count
        }
    }

    private func readCluster(_ part: UnsafeMutableRawBufferPointer, at position: UInt64) throws(ImageError) {
        let layout = image.layout
        let mapping = try image.decode(try entry(at: position), position)
        switch mapping.kind {
        case .normal:
            // Encrypted data is read in whole clusters, whose place counts.
            let whole = image.clusterPool.take()
            defer { image.clusterPool.give(whole) }
            let start = layout.clusterStart(position)
            try image.readData(into: whole.bytes, host: mapping.hostOffset, at: start)
            part.copyMemory(from: whole.readable.part(Int(position - start), part.count))
        case .compressed: throw image.corrupt("a VM state has a compressed cluster", position)
        default: part.zero(from: 0)
        }
    }

    private func entry(at position: UInt64) throws(ImageError) -> UInt64 {
        let index = image.layout.l1Index(position)
        guard index < table.count else { return 0 }
        if index != l2Index {
            let place = table[index] & QCOW2Layout.offsetMask
            guard place & image.layout.clusterMask == 0 else {
                throw image.corrupt("L2 table offset \(place.hex) unaligned", place)
            }
            l2Index = -1
            if place == 0 { l2.bytes.zero(from: 0) } else { try image.storage.read(into: l2.bytes, at: place) }
            l2Index = index
        }
        return UnsafeRawPointer(l2.base).be64(image.layout.l2Index(position) * image.layout.entryBytes)
    }
}
