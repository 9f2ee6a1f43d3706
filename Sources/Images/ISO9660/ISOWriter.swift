import Glibc

/// Writes a CD image: ISO 9660 level 3 (ECMA-119) with Joliet and Rock Ridge, bootable by El Torito on demand.
///
///     sectors 0–15  nothing (or what a boot loader puts there)
///     16            primary volume descriptor
///     17            boot record, where the CD boots
///     …             supplementary descriptor (Joliet), terminator
///     …             boot catalogue
///     …             path tables: ISO 9660 little and big endian, Joliet little and big endian
///     …             folders of ISO 9660, continuation areas of Rock Ridge, folders of Joliet
///     …             files
public struct ISOWriter {
    static let sectorBytes = 2048

    /// What of a CD is not in its files.
    public struct Options: Sendable {
        /// At most 32 characters.
        public var label: String
        /// Path within the tree of a boot loader that is loaded whole and started (El Torito, no emulation).
        public var bootFile: String?
        /// Whether the boot loader gets the table that ISOLINUX and GRUB want in their bytes 8 to 63.
        public var hasBootTable: Bool

        public init(label: String = "CDROM", bootFile: String? = nil, hasBootTable: Bool = true) {
            self.label = label
            self.bootFile = bootFile
            self.hasBootTable = hasBootTable
        }
    }

    private let options: Options
    private var layout: ISOLayout

    /// Lays the CD out.
    public init(_ root: ISOEntry, _ options: Options = Options()) throws(ImageError) {
        guard !options.label.isEmpty, options.label.utf8.count <= 32,
            options.label.utf8.allSatisfy({ (0x20...0x7E).contains($0) })
        else {
            throw ImageError(
                .invalidArgument, "a CD's label has 1 to 32 ASCII characters, '\(options.label)' has not")
        }
        self.options = options
        layout = try ISOLayout(root, boots: options.bootFile != nil)
    }

    /// The length of the image.
    public var sizeBytes: UInt64 { UInt64(layout.sectorCount) * UInt64(Self.sectorBytes) }

    /// Writes the image beside its name and renames it.
    /// - Parameter progress: bytes done and in all; false stops.
    public func write(
        to path: String, progress: (UInt64, UInt64) -> Bool = { _, _ in true }
    ) throws(ImageError) {
        let temporary = "\(path).\(getpid()).tmp"
        unlink(temporary)
        let file = try FileStorage.create(temporary, exclusive: true, unsafeCache: true)
        do throws(ImageError) {
            try write(into: file, progress: progress)
        } catch {
            file.close()
            unlink(temporary)
            throw error
        }
        file.close()
        guard rename(temporary, path) == 0 else {
            let code = errno
            unlink(temporary)
            throw .system(code, "Could not write '\(path)'", path: path)
        }
    }

    private func write(into file: FileStorage, progress: (UInt64, UInt64) -> Bool) throws(ImageError) {
        func put(_ bytes: [UInt8], at sector: UInt32) throws(ImageError) {
            try file.write(bytes, at: UInt64(sector) * UInt64(Self.sectorBytes))
        }
        try file.resize(to: sizeBytes)
        var next: UInt32 = 16
        try put(descriptor(isJoliet: false), at: next)
        next += 1
        if options.bootFile != nil {
            try put(bootRecord(), at: next)
            next += 1
        }
        try put(descriptor(isJoliet: true), at: next)
        try put([0xFF] + Array("CD001".utf8) + [1], at: next + 1)
        for tree in [layout.plain, layout.joliet] {
            try put(tree.pathTable(bigEndian: false), at: tree.littleTable)
            try put(tree.pathTable(bigEndian: true), at: tree.bigTable)
            for folder in tree.folders { try put(tree.content(of: folder, layout), at: folder.sector) }
        }
        try put(layout.continuations, at: layout.continuationSector)
        let boot = try options.bootFile.map { (path) throws(ImageError) in try layout.place(ofFile: path) }
        if let boot { try put(bootCatalogue(boot), at: layout.bootCatalogue) }
        try writeFiles(into: file, boot: boot, progress: progress)
    }

    private func writeFiles(
        into file: FileStorage, boot: ISOLayout.FilePlace?, progress: (UInt64, UInt64) -> Bool
    ) throws(ImageError) {
        var done: UInt64 = 0
        let buffer = HeapBuffer(1 << 20, zeroed: false)
        for place in layout.files {
            let start = UInt64(place.sector) * UInt64(Self.sectorBytes)
            switch place.entry.content {
            case .bytes(let bytes): try file.write(bytes, at: start)
            case .file(let path, let size):
                let source = try FileStorage.open(path, readOnly: true, lock: .none)
                defer { source.close() }
                guard source.byteCount == size else {
                    throw ImageError(.io, "'\(path)' changed while it was written to a CD", path: path)
                }
                var offset: UInt64 = 0
                while offset < size {
                    let piece = buffer.bytes.part(0, Int(min(UInt64(buffer.bytes.count), size - offset)))
                    try source.read(into: piece, at: offset)
                    try file.write(from: UnsafeRawBufferPointer(piece), at: start + offset)
                    offset += UInt64(piece.count)
                    guard progress(start + offset, sizeBytes) else {
                        throw ImageError(.io, "interrupted", path: path)
                    }
                }
            case .link, .folder: break
            }
            done += 1
        }
        if let boot, options.hasBootTable { try writeBootTable(boot, into: file) }
        _ = progress(sizeBytes, sizeBytes)
    }
}

// MARK: Descriptors

extension ISOWriter {
    /// Primary (ECMA-119, 8.4) or supplementary volume descriptor (8.5, Joliet level 3).
    private func descriptor(isJoliet: Bool) -> [UInt8] {
        let tree = isJoliet ? layout.joliet : layout.plain
        func text(_ value: String, _ count: Int) -> [UInt8] {
            guard isJoliet else {
                let bytes = Array(value.utf8.prefix(count))
                return bytes + [UInt8](repeating: 0x20, count: count - bytes.count)
            }
            var units = value.utf16.prefix(count / 2).flatMap { [UInt8($0 >> 8), UInt8(truncatingIfNeeded: $0)] }
            while units.count + 1 < count { units += [0, 0x20] }
            return units + [UInt8](repeating: 0, count: count - units.count)
        }
        var out = ISOBytes()
        out.bytes = [isJoliet ? 2 : 1] + Array("CD001".utf8) + [1, 0]
        out.bytes += text("LINUX", 32) + text(options.label, 32)
        out.zeros(8)
        out.both32(layout.sectorCount)
        // Escape sequence of UCS-2 level 3.
        out.bytes += isJoliet ? [0x25, 0x2F, 0x45] : []
        out.zeros(120 - out.bytes.count)
        out.both16(1)
        out.both16(1)
        out.both16(UInt16(Self.sectorBytes))
        out.both32(tree.tableBytes)
        out.little32(tree.littleTable)
        out.little32(0)
        out.big32(tree.bigTable)
        out.big32(0)
        let root = tree.folders[0]
        let record = ISORecord(name: [0], flags: ISORecord.folderFlag, seconds: root.entry.modifiedSeconds)
        out.bytes += record.encoded(sector: root.sector, sizeBytes: root.sizeBytes)
        out.bytes += text("", 128) + text("", 128) + text("", 128) + text("LABCTL", 128)
        out.bytes += text("", 37) + text("", 37) + text("", 37)
        let date = ISOBytes.longDate(layout.newestSeconds)
        out.bytes += date + date
        // No end of validity, valid at once: sixteen digits 0 and a zone of 0.
        let never = [UInt8](repeating: 0x30, count: 16) + [0]
        out.bytes += never + never
        out.bytes += [1, 0]
        out.zeros(Self.sectorBytes - out.bytes.count)
        return out.bytes
    }

    /// El Torito 1.0, figure 7.
    private func bootRecord() -> [UInt8] {
        var out = ISOBytes()
        out.bytes = [0] + Array("CD001".utf8) + [1] + Array("EL TORITO SPECIFICATION".utf8)
        out.zeros(71 - out.bytes.count)
        out.little32(layout.bootCatalogue)
        out.zeros(Self.sectorBytes - out.bytes.count)
        return out.bytes
    }

    /// El Torito 1.0, 2.1 and 2.2: validation entry (its words add up to 0), default entry.
    private func bootCatalogue(_ boot: ISOLayout.FilePlace) -> [UInt8] {
        var out = ISOBytes()
        out.bytes = [1, 0, 0, 0]
        out.zeros(28 - out.bytes.count)
        out.bytes += [0, 0, 0x55, 0xAA]
        var sum: UInt16 = 0
        for index in stride(from: 0, to: 32, by: 2) {
            sum &+= UInt16(out.bytes[index]) | UInt16(out.bytes[index + 1]) << 8
        }
        let check = 0 &- sum
        out.bytes[28] = UInt8(truncatingIfNeeded: check)
        out.bytes[29] = UInt8(check >> 8)
        // Bootable, no emulation, usual segment; 4 sectors of 512 bytes are loaded: the loader gets the rest.
        out.bytes += [0x88, 0, 0, 0, 0, 0]
        out.little16(4)
        out.little32(boot.sector)
        out.zeros(Self.sectorBytes - out.bytes.count)
        return out.bytes
    }

    /// The boot information table: at 8 the primary descriptor's sector, the file's sector, its length, the sum of its words
    /// from byte 64 on; then 40 zeros.
    private func writeBootTable(_ boot: ISOLayout.FilePlace, into file: FileStorage) throws(ImageError) {
        let size = Int(boot.entry.sizeBytes)
        guard size > 64 else {
            throw ImageError(.invalidArgument, "the boot file '\(boot.entry.name)' is too short for a boot loader")
        }
        let start = UInt64(boot.sector) * UInt64(Self.sectorBytes)
        var content = try file.readBytes(at: start, count: size)
        content += [UInt8](repeating: 0, count: -size & 3)
        var sum: UInt32 = 0
        for index in stride(from: 64, to: content.count, by: 4) {
            let word = (0..<4).reduce(0 as UInt32) { $0 | UInt32(content[index + $1]) << UInt32(8 * $1) }
            sum &+= word
        }
        var table = ISOBytes()
        for value in [16, boot.sector, UInt32(size), sum] { table.little32(value) }
        table.zeros(40)
        try file.write(table.bytes, at: start + 8)
    }
}
