/// Parallels disks (QEMU docs/interop/parallels.txt). Little-endian.
///
///     offset size
///          0   16  "WithoutFreeSpace" (table entries are sectors) or "WithouFreSpacExt" (entries are clusters)
///         16    4  version 2           20  8  heads, cylinders
///         28    4  sectors of a cluster                        32  4  table entries
///         36    8  sectors of the disk (4 bytes count in the first kind)
///         44    4  in use: 0x746f6e59 while open for writing   48  4  first sector of data, 0: behind the table
///         52    4  flags               56  8  format extension
///         64       table: one 32-bit number per cluster, 0 not there
public struct ParallelsFormat: ImageFormat {
    static let plain = Array("WithoutFreeSpace".utf8)
    static let extended = Array("WithouFreSpacExt".utf8)
    static let inUse: UInt32 = 0x746f_6e59
    static let maximumEntries: UInt64 = 1 << 28

    public init() {}
    public var name: String { "parallels" }
    public var capabilities: FormatCapabilities { [.read, .write, .create, .check] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption("cluster_size", .size, default: "1048576", "Parallels image cluster size"),
        ]
    }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        guard head.count >= 64, let base = head.baseAddress, base.le32(16) == 2 else { return 0 }
        return Self.plain.elementsEqual(head.prefix(16)) || Self.extended.elementsEqual(head.prefix(16)) ? 100 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        let head = try storage.readBytes(at: 0, count: 64)
        func bad(_ kind: ImageError.Kind, _ message: String, _ offset: UInt64) -> ImageError {
            ImageError(kind, message, format: name, path: storage.path, offset: offset)
        }
        let isExtended = Array(head[0..<16]) == Self.extended
        guard isExtended || Array(head[0..<16]) == Self.plain, head.le32(16) == 2 else {
            throw bad(.corrupt, "Image not in Parallels format", 0)
        }
        let sectors = UInt64(head.le32(28)), entries = UInt64(head.le32(32))
        guard sectors > 0, sectors <= (1 << 31) / 513 else {
            throw bad(.corrupt, "Invalid image: cluster of \(sectors) sectors", 28)
        }
        let diskSectors = isExtended ? head.le64(36) : UInt64(head.le32(36))
        guard diskSectors <= entries * sectors else {
            throw bad(.corrupt, "Invalid image: \(diskSectors) sectors do not fit \(entries) clusters", 36)
        }
        guard entries <= Self.maximumEntries, 64 + entries * 4 <= storage.byteCount else {
            throw bad(.corrupt, "Catalog too large: \(entries) entries leave the file", 32)
        }
        let table = try EntryTable(storage, at: 64, count: Int(entries), width: 4, bigEndian: false)
        // The lock says that nobody has it open: its writer died. What it left may be written on if it makes sense.
        let wasInUse = head.le32(44) == Self.inUse
        let image = try ParallelsImage(
            storage, size: diskSectors * 512, clusterSectors: sectors, table: table, unit: isExtended ? sectors : 1,
            dataStart: UInt64(head.le32(48)), wasInUse: wasInUse, extensionSector: head.le64(56))
        if wasInUse, !options.readOnly, !options.forCheck, try image.hasFindings() {
            throw bad(
                .corrupt,
                "parallels: Image was not closed correctly; cannot be opened read/write ('check -r all' may repair it)",
                44)
        }
        return image
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        let cluster = try OptionReader(request.options).size("cluster_size") ?? 1 << 20
        let size = (request.size + 511) & ~511
        guard cluster >= 512, cluster % 512 == 0, cluster <= 256 << 20 else {
            throw ImageError(.invalidArgument, "Cluster size must be a multiple of 512 up to 256M", format: name)
        }
        let entries = (size + cluster - 1) / cluster
        guard entries <= Self.maximumEntries else {
            throw ImageError(.invalidArgument, "Image size is too large for this cluster size")
        }
        let dataStart = (64 + entries * 4).rounded(toMultipleOf: cluster)
        let head = HeapBuffer(512)
        head.bytes.part(0, 16).copyBytes(from: Self.extended)
        head.base.putLE32(2, 16)
        head.base.putLE32(16, 20)
        head.base.putLE32(UInt32(min(size / 512 / 16 / 32, UInt64(UInt32.max))), 24)
        head.base.putLE32(UInt32(cluster / 512), 28)
        head.base.putLE32(UInt32(entries), 32)
        head.base.putLE64(size / 512, 36)
        head.base.putLE32(UInt32(dataStart / 512), 48)
        try storage.resize(to: dataStart)
        try storage.write(from: head.readable.part(0, 64), at: 0)
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }
}

/// An open Parallels image.
final class ParallelsImage: BlockMappedImage, CheckableImage, @unchecked Sendable {
    private let table: EntryTable
    /// Sectors that one step of a table entry means.
    private let unit: UInt64
    private var nextHost: UInt64
    /// A place beyond the end of the file that an entry names: were the file to grow, it would get somebody else's data.
    private let hostOutside: UInt64?
    private var wasInUse: Bool
    /// End of header, table and format extension.
    private let firstHost: UInt64

    init(
        _ storage: any Storage, size: UInt64, clusterSectors: UInt64, table: EntryTable, unit: UInt64,
        dataStart: UInt64, wasInUse: Bool, extensionSector: UInt64
    ) throws(ImageError) {
        self.table = table
        self.wasInUse = wasInUse
        self.unit = unit
        let cluster = clusterSectors * 512
        var end = max(dataStart * 512, 64 + UInt64(table.byteCount)).rounded(toMultipleOf: cluster)
        if extensionSector > 0, extensionSector < storage.byteCount / 512 {
            end = max(end, extensionSector * 512 + cluster)
        }
        firstHost = end
        var outside: UInt64?
        try table.forEach { (_, entry) throws(ImageError) in
            let host = entry * unit * 512
            if host >= storage.byteCount { outside = host } else if entry != 0 { end = max(end, host + cluster) }
        }
        nextHost = end
        hostOutside = outside
        super.init(storage: storage, formatName: "parallels", size: size, blockBytes: Int(cluster))
    }

    override var clusterSize: Int? { nil }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        let block = UInt64(blockBytes)
        let entry = try table[Int(offset / block)]
        let length = block - offset % block
        if entry == 0 { return BlockRun(kind: .unallocated, length: length) }
        let host = entry * unit * 512
        guard host < storage.byteCount else {
            throw corrupt("cluster \(offset / block) at \(host.hex) lies beyond the file", host)
        }
        return BlockRun(kind: .data, length: length, host: host + offset % block)
    }

    override func collectPlaces(into places: inout BlockPlaces) throws(ImageError) {
        places.addMetadata("the header", at: 0, bytes: 64)
        places.addMetadata("the cluster table", at: table.fileOffset, bytes: UInt64(table.byteCount))
        try table.forEach { (index, entry) throws(ImageError) in
            if entry != 0 { places.addBlock(UInt64(index), at: entry * unit * 512, bytes: UInt64(blockBytes)) }
        }
    }

    override func place(_ index: UInt64, count: Int) throws(ImageError) -> (host: UInt64, count: Int) {
        if let hostOutside {
            throw corrupt(
                "a cluster at \(hostOutside.hex) lies beyond the file, which therefore cannot grow", hostOutside)
        }
        let host = nextHost
        nextHost += UInt64(count * blockBytes)
        try clearRoom(from: host, to: nextHost)
        return (host, count)
    }

    override func link(_ index: UInt64, host: UInt64) throws(ImageError) {
        guard host / 512 / unit <= UInt64(UInt32.max) else {
            throw ImageError(.outOfSpace, "the image cannot grow further", format: formatName, path: path)
        }
        try table.set(host / 512 / unit, at: Int(index))
    }

    private func setInUse(_ value: UInt32) throws(ImageError) {
        try storage.write((0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32($0 * 8)) }, at: 44)
    }

    override func willWrite() throws(ImageError) {
        try setInUse(ParallelsFormat.inUse)
        try storage.sync()
    }

    override func finish() throws(ImageError) {
        try storage.sync()
        try setInUse(0)
    }

    override var hasDirtyTables: Bool { !table.dirtyPages.isEmpty }
    override func writeTables() throws(ImageError) { try table.writeBack() }

    fileprivate enum Finding {
        case outside(index: Int)
        case shared(index: Int, host: UInt64)
    }

    /// Clusters beyond the file, on header or table, or shared by two entries.
    private func forEachFinding(_ body: (Finding) throws(ImageError) -> Void) throws(ImageError) {
        var seen: Set<UInt64> = []
        let first = 64 + UInt64(table.byteCount)
        try table.forEach { (index, entry) throws(ImageError) in
            guard entry != 0 else { return }
            let host = entry * unit * 512
            if host >= storage.byteCount {
                try body(.outside(index: index))
            } else if host < first || !seen.insert(host).inserted {
                try body(.shared(index: index, host: host))
            }
        }
    }

    fileprivate func hasFindings() throws(ImageError) -> Bool {
        var has = false
        try forEachFinding { (_) throws(ImageError) in has = true }
        return has
    }

    /// What lies beyond the file cannot be read and is taken out of the table, what no entry names is cut off at the end,
    /// and the mark of an unfinished writer goes: as QEMU repairs. Two clusters in one place cannot be told apart; then
    /// nothing is changed.
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var result = CheckResult()
        result.totalClusters = UInt64(table.count)
        var canRepair = repair == .all
        if wasInUse { result.note("image was not closed correctly") }
        try forEachFinding { (finding) throws(ImageError) in
            result.corruptions += 1
            switch finding {
            case .outside(let index): result.note("ERROR cluster \(index) is outside image")
            case .shared(let index, let host):
                result.note("ERROR cluster \(index) is shared with another or with the table (offset \(host.hex))")
                canRepair = false
            }
        }
        let (end, allocated) = try used()
        result.allocatedClusters = allocated
        result.imageEndOffset = end
        if storage.byteCount > end {
            let cluster = UInt64(blockBytes)
            let behind: UInt64 = storage.byteCount - end
            result.leaks = Int((behind + cluster - 1) / cluster)
        }
        if repair == .leaks { canRepair = result.corruptions == 0 }
        if canRepair { try mend(end: end, &result, onlyLeaks: repair == .leaks) }
        return result
    }

    /// Where the last cluster inside the file ends, and how many there are.
    private func used() throws(ImageError) -> (end: UInt64, clusters: UInt64) {
        var (end, clusters) = (firstHost, UInt64(0))
        try table.forEach { (_, entry) throws(ImageError) in
            guard entry != 0 else { return }
            let host = entry * unit * 512
            if host < storage.byteCount { end = max(end, host + UInt64(blockBytes)) }
            clusters += 1
        }
        return (end, clusters)
    }

    private func mend(end: UInt64, _ result: inout CheckResult, onlyLeaks: Bool) throws(ImageError) {
        if !onlyLeaks {
            for index in 0..<table.count where try table[index] * unit * 512 >= storage.byteCount {
                try table.set(0, at: index)
            }
            try table.writeBack()
            try storage.sync()
            if wasInUse { try setInUse(0) }
            result.corruptionsFixed += result.corruptions + (wasInUse ? 1 : 0)
            wasInUse = false
            result.corruptions = 0
        }
        if storage.byteCount > end { try storage.resize(to: end) }
        try storage.sync()
        result.leaksFixed += result.leaks
        result.leaks = 0
    }
}
