/// Where everything on a CD lies.
struct ISOLayout {
    /// A file and its first sector.
    struct FilePlace {
        var entry: ISOEntry
        var sector: UInt32
        /// Path within the tree.
        var path: String
    }

    /// One extent holds less than 4 GiB; longer files have several records, all but the last full ones (level 3).
    static let extentBytes: UInt64 = (1 << 32) - UInt64(ISOWriter.sectorBytes)

    private(set) var plain: ISOFolders
    private(set) var joliet: ISOFolders
    private(set) var continuations: [UInt8] = []
    private(set) var continuationSector: UInt32 = 0
    private(set) var bootCatalogue: UInt32 = 0
    private(set) var files: [FilePlace] = []
    private(set) var sectorCount: UInt32 = 0
    let newestSeconds: Int64
    private var sectors: [ObjectIdentifier: UInt32] = [:]

    init(_ root: ISOEntry, boots: Bool) throws(ImageError) {
        newestSeconds = root.newestSeconds
        plain = ISOFolders(root, isJoliet: false)
        joliet = ISOFolders(root, isJoliet: true)
        continuations = plain.addRockRidge()
        // Descriptors: primary, boot record, Joliet, terminator.
        var next: UInt64 = 16 + (boots ? 4 : 3)
        func take(_ bytes: UInt64) -> UInt32 {
            defer { next += ISOLayout.sectorCount(bytes) }
            return UInt32(truncatingIfNeeded: next)
        }
        if boots { bootCatalogue = take(1) }
        plain.placeTables(take)
        joliet.placeTables(take)
        plain.placeFolders(take)
        continuationSector = take(UInt64(continuations.count))
        joliet.placeFolders(take)
        let first = UInt32(truncatingIfNeeded: next)
        for (entry, path) in ISOLayout.allFiles(root) {
            // A file without a byte needs no place of its own.
            let sector = entry.sizeBytes == 0 ? first : take(entry.sizeBytes)
            sectors[ObjectIdentifier(entry)] = sector
            files.append(FilePlace(entry: entry, sector: sector, path: path))
        }
        // Readers look ahead: some need what lies behind the last file to be there (as mkisofs pads).
        next += 16
        guard next <= UInt64(UInt32.max) else {
            throw ImageError(.unsupported, "the files do not fit on a CD: they need \(next) sectors of 2048 bytes")
        }
        sectorCount = UInt32(next)
    }

    static func sectorCount(_ bytes: UInt64) -> UInt64 {
        (bytes + UInt64(ISOWriter.sectorBytes) - 1) / UInt64(ISOWriter.sectorBytes)
    }

    private static func allFiles(_ root: ISOEntry) -> [(ISOEntry, String)] {
        var found: [(ISOEntry, String)] = []
        func visit(_ entry: ISOEntry, _ path: String) {
            for child in entry.children {
                let childPath = path.isEmpty ? child.name : "\(path)/\(child.name)"
                if child.isFolder { visit(child, childPath) } else if !child.isLink { found.append((child, childPath)) }
            }
        }
        visit(root, "")
        return found
    }

    func sector(of entry: ISOEntry) -> UInt32 { sectors[ObjectIdentifier(entry)] ?? 0 }

    /// - Throws: `.notFound` for a path that no file has.
    func place(ofFile path: String) throws(ImageError) -> FilePlace {
        let wanted = path.split(separator: "/").joined(separator: "/")
        guard let place = files.first(where: { $0.path == wanted }) else {
            throw ImageError(.notFound, "the boot file '\(path)' is not among the files of the CD")
        }
        return place
    }
}

/// The folders of one of the two trees, in the order of the path table: by depth, then by parent, then by name.
struct ISOFolders {
    struct Child {
        var entry: ISOEntry
        /// With its version where it is a file.
        var name: [UInt8]
        /// Index of its folder.
        var folder: Int?
        var rockRidge = RockRidgeArea()
    }

    struct Folder {
        var entry: ISOEntry
        var name: [UInt8]
        var parent: Int
        var children: [Child] = []
        var sector: UInt32 = 0
        var sizeBytes: UInt32 = 0
        /// Of `.` and `..`.
        var own = RockRidgeArea(), above = RockRidgeArea()
    }

    /// System use of a record: what stands in it, and what has to go to the continuation area.
    struct RockRidgeArea {
        var inline: [UInt8] = []
        /// Offset and length in the continuation area.
        var rest: (offset: Int, count: Int)?

        func encoded(_ layout: ISOLayout) -> [UInt8] {
            guard let rest else { return inline }
            let sector = layout.continuationSector + UInt32(rest.offset / ISOWriter.sectorBytes)
            return inline
                + RockRidge.continuation(
                    sector: sector, offset: UInt32(rest.offset % ISOWriter.sectorBytes), length: UInt32(rest.count))
        }

        var length: Int { inline.count + (rest == nil ? 0 : RockRidge.continuationBytes) }
    }

    private(set) var folders: [Folder]
    private let isJoliet: Bool
    private(set) var tableBytes: UInt32 = 0
    private(set) var littleTable: UInt32 = 0
    private(set) var bigTable: UInt32 = 0

    init(_ root: ISOEntry, isJoliet: Bool) {
        self.isJoliet = isJoliet
        folders = [Folder(entry: root, name: [0], parent: 0)]
        var next = 0
        while next < folders.count {
            let entries = folders[next].entry.children.filter { !isJoliet || !$0.isLink }
            let names = isJoliet ? ISOFolders.jolietNames(entries) : ISOFolders.plainNames(entries)
            var children = zip(entries, names).map { Child(entry: $0, name: $1, folder: nil) }
            children.sort { $0.name.lexicographicallyPrecedes($1.name) }
            for index in children.indices where children[index].entry.isFolder {
                children[index].folder = folders.count
                folders.append(Folder(entry: children[index].entry, name: children[index].name, parent: next))
            }
            folders[next].children = children
            next += 1
        }
    }

    private static func plainNames(_ entries: [ISOEntry]) -> [[UInt8]] {
        zip(entries, ISONames.plain(entries)).map { entry, name in
            // A file's name always has a dot, and a version.
            let whole = entry.isFolder ? name : (name.contains(".") ? name : name + ".") + ";1"
            return Array(whole.utf8)
        }
    }

    private static func jolietNames(_ entries: [ISOEntry]) -> [[UInt8]] {
        zip(entries, ISONames.joliet(entries)).map { entry, units in
            let version = entry.isFolder ? [] : Array(";1".utf16)
            return (units + version).flatMap { [UInt8($0 >> 8), UInt8(truncatingIfNeeded: $0)] }
        }
    }

    // MARK: Rock Ridge

    /// Gives every record its system use.
    /// - Returns: the continuation area.
    mutating func addRockRidge() -> [UInt8] {
        var area: [UInt8] = []
        var serial: UInt32 = 1
        func links(_ entry: ISOEntry) -> UInt32 {
            entry.isFolder ? 2 + UInt32(entry.children.filter(\.isFolder).count) : 1
        }
        func common(_ entry: ISOEntry, _ serial: UInt32) -> [[UInt8]] {
            [
                RockRidge.attributes(entry.mode, links: links(entry), serial: serial),
                RockRidge.times(entry.modifiedSeconds),
            ]
        }
        var serials: [Int: UInt32] = [0: serial]
        for index in folders.indices {
            let folder = folders[index]
            let isRoot = index == 0
            let own = serials[index] ?? 0
            folders[index].own = ISOFolders.packed(
                (isRoot ? [RockRidge.sharing] : []) + common(folder.entry, own)
                    + (isRoot ? [RockRidge.extensionReference] : []), head: ISORecord.head([0]), into: &area)
            let parent = folders[folder.parent].entry
            folders[index].above = ISOFolders.packed(
                common(parent, serials[folder.parent] ?? 0), head: ISORecord.head([1]), into: &area)
            for place in folder.children.indices {
                let child = folder.children[place]
                serial += 1
                if let inner = child.folder { serials[inner] = serial }
                var entries = common(child.entry, serial) + RockRidge.name(child.entry.name)
                if case .link(let target) = child.entry.content { entries += RockRidge.link(target) }
                folders[index].children[place].rockRidge = ISOFolders.packed(
                    entries, head: ISORecord.head(child.name), into: &area)
            }
        }
        return area
    }

    /// As many entries as fit into the record; the rest into the continuation area, where it crosses no sector (SUSP 5.1).
    private static func packed(_ entries: [[UInt8]], head: Int, into area: inout [UInt8]) -> RockRidgeArea {
        let room = ISORecord.longest - 1 - head
        let total = entries.reduce(0) { $0 + $1.count }
        if total <= room { return RockRidgeArea(inline: entries.flatMap { $0 }) }
        var result = RockRidgeArea()
        var rest: [UInt8] = []
        for entry in entries {
            if rest.isEmpty, result.inline.count + entry.count + RockRidge.continuationBytes <= room {
                result.inline += entry
            } else {
                rest += entry
            }
        }
        let left = ISOWriter.sectorBytes - area.count % ISOWriter.sectorBytes
        if rest.count > left { area += [UInt8](repeating: 0, count: left) }
        result.rest = (area.count, rest.count)
        area += rest
        return result
    }

    // MARK: Places

    mutating func placeTables(_ take: (UInt64) -> UInt32) {
        tableBytes = UInt32(pathTable(bigEndian: false).count)
        littleTable = take(UInt64(tableBytes))
        bigTable = take(UInt64(tableBytes))
    }

    mutating func placeFolders(_ take: (UInt64) -> UInt32) {
        for index in folders.indices {
            var bytes = 0
            for length in recordLengths(of: folders[index]) {
                let left = ISOWriter.sectorBytes - bytes % ISOWriter.sectorBytes
                bytes += length > left ? left + length : length
            }
            let whole = ISOLayout.sectorCount(UInt64(bytes)) * UInt64(ISOWriter.sectorBytes)
            folders[index].sizeBytes = UInt32(whole)
            folders[index].sector = take(whole)
        }
    }

    private func extents(_ entry: ISOEntry) -> [(offset: UInt64, bytes: UInt32)] {
        var extents: [(UInt64, UInt32)] = []
        var offset: UInt64 = 0
        repeat {
            let count = min(entry.sizeBytes - offset, ISOLayout.extentBytes)
            extents.append((offset, UInt32(count)))
            offset += count
        } while offset < entry.sizeBytes
        return extents
    }

    private func recordLengths(of folder: Folder) -> [Int] {
        func length(_ name: [UInt8], _ area: RockRidgeArea) -> Int { (ISORecord.head(name) + area.length + 1) & ~1 }
        var lengths = [length([0], folder.own), length([1], folder.above)]
        for child in folder.children {
            let count = child.folder == nil ? extents(child.entry).count : 1
            lengths += [Int](repeating: length(child.name, child.rockRidge), count: count)
        }
        return lengths
    }

    /// The records of a folder: itself, its parent, what is in it; none crosses a sector.
    func content(of folder: Folder, _ layout: ISOLayout) -> [UInt8] {
        var out: [UInt8] = []
        func put(_ record: ISORecord, _ sector: UInt32, _ bytes: UInt32) {
            let left = ISOWriter.sectorBytes - out.count % ISOWriter.sectorBytes
            if record.length > left { out += [UInt8](repeating: 0, count: left) }
            out += record.encoded(sector: sector, sizeBytes: bytes)
        }
        func record(_ name: [UInt8], _ entry: ISOEntry, _ area: RockRidgeArea, _ flags: UInt8) -> ISORecord {
            ISORecord(name: name, flags: flags, seconds: entry.modifiedSeconds, systemUse: area.encoded(layout))
        }
        let parent = folders[folder.parent]
        put(record([0], folder.entry, folder.own, ISORecord.folderFlag), folder.sector, folder.sizeBytes)
        put(record([1], parent.entry, folder.above, ISORecord.folderFlag), parent.sector, parent.sizeBytes)
        for child in folder.children {
            if let index = child.folder {
                let inner = folders[index]
                put(
                    record(child.name, child.entry, child.rockRidge, ISORecord.folderFlag), inner.sector,
                    inner.sizeBytes)
                continue
            }
            let first = child.entry.isLink ? 0 : layout.sector(of: child.entry)
            let extents = extents(child.entry)
            for (number, extent) in extents.enumerated() {
                let isLast = number == extents.count - 1
                put(
                    record(child.name, child.entry, child.rockRidge, isLast ? 0 : ISORecord.moreFlag),
                    first + UInt32(extent.offset / UInt64(ISOWriter.sectorBytes)), extent.bytes)
            }
        }
        let whole = Int(folder.sizeBytes)
        return out + [UInt8](repeating: 0, count: max(0, whole - out.count))
    }

    /// Path table (ECMA-119, 9.4): length of the name, 0, sector, number of the parent, name, a zero to make it even.
    func pathTable(bigEndian: Bool) -> [UInt8] {
        var out = ISOBytes()
        for folder in folders {
            out.bytes += [UInt8(folder.name.count), 0]
            let parent = UInt16(truncatingIfNeeded: folder.parent + 1)
            if bigEndian {
                out.big32(folder.sector)
                out.big16(parent)
            } else {
                out.little32(folder.sector)
                out.little16(parent)
            }
            out.bytes += folder.name
            if !folder.name.count.isMultiple(of: 2) { out.bytes.append(0) }
        }
        return out.bytes
    }
}
