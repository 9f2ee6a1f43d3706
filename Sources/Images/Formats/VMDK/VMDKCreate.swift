/// Making VMDK images: the descriptor, and the empty extents it lists.
extension VMDKFormat {
    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        let options = OptionReader(request.options)
        func bad(_ message: String) -> ImageError { ImageError(.invalidArgument, message, format: name) }
        let subformat = options.text("subformat") ?? "monolithicSparse"
        guard Self.subformats.contains(subformat) else { throw bad("Invalid subformat '\(subformat)'") }
        var adapter = options.text("adapter_type") ?? "ide"
        guard ["ide", "lsilogic", "buslogic", "legacyESX"].contains(adapter) else {
            throw bad("Unknown adapter type: '\(adapter)'")
        }
        if adapter == "legacyESX" { adapter = "buslogic" }
        let compat6 = try options.bool("compat6") ?? false
        var hardware = options.text("hwversion") ?? "undefined"
        if hardware != "undefined", compat6 { throw bad("compat6 cannot be enabled with hwversion set") }
        if hardware == "undefined" { hardware = compat6 ? "6" : "4" }
        let isFlat = subformat == "monolithicFlat" || subformat == "twoGbMaxExtentFlat"
        let isSplit = subformat.hasPrefix("twoGb")
        let zeroedGrain = try options.bool("zeroed_grain") ?? false
        if isFlat, zeroedGrain { throw bad("Flat image can't enable zeroed grain") }
        var parent: (cid: UInt32, hint: String)?
        if let backing = request.backing {
            if isFlat { throw bad("Flat image can't have backing file") }
            if let format = backing.format, format != "vmdk" { throw bad("backing_file must be a vmdk image") }
            let path = FilePath.resolve(backing.file, from: request.path)
            let below = try DiskImage.open(
                path, options: OpenOptions(format: "vmdk", lock: .forceShare, openBacking: false))
            guard let image = below as? VMDKImage else { throw bad("Invalid backing file '\(path)'") }
            parent = (image.cid, backing.file)
            try below.close()
        }
        let size = (request.size + 511) & ~511
        let (stem, ending) = Self.split(FilePath.name(of: request.finalPath ?? request.path))
        var lines: [String] = []
        var position: UInt64 = 0
        var number = 1
        repeat {
            let part = isSplit ? min(Self.splitBytes, size - position) : size
            let suffix = isSplit ? (isFlat ? "-f" : "-s") + Self.threeDigits(number) : isFlat ? "-flat" : ""
            let file =
                isSplit || isFlat ? stem + suffix + ending : FilePath.name(of: request.finalPath ?? request.path)
            lines.append("RW \(part / 512) \(isFlat ? "FLAT" : "SPARSE") \"\(file)\"" + (isFlat ? " 0" : ""))
            if isSplit || isFlat {
                let extent = try storage.openSibling(FilePath.folder(of: request.path) + file, create: true)
                if isFlat {
                    try extent.resize(to: part)
                } else {
                    try writeSparse(extent, size: part, subformat, zeroedGrain: zeroedGrain, descriptor: nil)
                }
                extent.close()
            }
            position += part
            number += 1
        } while isSplit && position < size
        let text = VMDKDescriptor.text(
            cid: UInt32.random(in: 0..<UInt32.max - 1), parent: parent, createType: subformat, extents: lines,
            sectors: size / 512,
            adapter: adapter, hardware: hardware, tools: options.text("toolsversion") ?? "2147483647")
        if isSplit || isFlat {
            try storage.write(Array(text.utf8), at: 0)
        } else {
            try writeSparse(storage, size: size, subformat, zeroedGrain: zeroedGrain, descriptor: text)
        }
    }

    /// The name of an image without its extension, and the extension with its dot: extents number themselves in between.
    private static func split(_ name: String) -> (stem: String, ending: String) {
        guard let dot = name.utf8.lastIndex(of: UInt8(ascii: ".")), dot != name.startIndex else { return (name, "") }
        return (String(name[..<dot]), String(name[dot...]))
    }

    private static func threeDigits(_ number: Int) -> String {
        String(repeating: "0", count: max(0, 3 - String(number).count)) + String(number)
    }

    /// An empty sparse extent: header, descriptor, redundant directory and tables, directory and tables.
    private func writeSparse(
        _ storage: any Storage, size: UInt64, _ subformat: String, zeroedGrain: Bool, descriptor: String?
    ) throws(ImageError) {
        let grain: UInt64 = 128
        let sectors = size / 512
        let tables = max(1, (sectors + grain * 512 - 1) / (grain * 512))
        guard tables <= 32 << 20, sectors < 1 << 41 else {
            throw ImageError(.invalidArgument, "\(size) bytes are too many for a sparse VMDK extent", format: name)
        }
        let directorySectors = (tables * 4 + 511) / 512
        let isStream = subformat == "streamOptimized"
        let redundantStart: UInt64 = 21
        let directoryStart = redundantStart + directorySectors + tables * 4
        let overhead = (directoryStart + directorySectors + tables * 4).rounded(toMultipleOf: grain)
        let head = HeapBuffer(512)
        let base = head.base
        head.bytes.part(0, 4).copyBytes(from: Array("KDMV".utf8))
        base.putLE32(isStream ? 3 : zeroedGrain ? 2 : 1, 4)
        var flags: UInt32 = 3
        if isStream { flags |= VMDKSparseExtent.Header.compressed | VMDKSparseExtent.Header.markers }
        if zeroedGrain { flags |= VMDKSparseExtent.Header.zeroGrains }
        base.putLE32(flags, 8)
        base.putLE64(sectors, 12)
        base.putLE64(grain, 20)
        base.putLE64(1, 28)
        base.putLE64(20, 36)
        base.putLE32(512, 44)
        base.putLE64(redundantStart, 48)
        base.putLE64(directoryStart, 56)
        base.putLE64(overhead, 64)
        head.bytes.part(73, 4).copyBytes(from: Array("\n \r\n".utf8))
        head.bytes[77] = isStream ? 1 : 0
        try storage.resize(to: overhead * 512)
        for start in [redundantStart, directoryStart] {
            let directory = HeapBuffer(Int(directorySectors) * 512)
            for index in 0..<Int(tables) {
                directory.base.putLE32(UInt32(start + directorySectors + UInt64(index) * 4), index * 4)
            }
            try storage.write(from: directory.readable, at: start * 512)
        }
        if let descriptor {
            let bytes = Array(descriptor.utf8)
            guard bytes.count <= 20 * 512 else {
                throw ImageError(
                    .invalidArgument, "the VMDK descriptor of \(bytes.count) bytes does not fit", format: name)
            }
            try storage.write(bytes, at: 512)
        }
        try storage.write(from: head.readable, at: 0)
    }
}
