/// An open VMDK: one or more extents behind each other.
final class VMDKImage: BlockDevice, @unchecked Sendable {
    /// One extent: a stretch of the disk and what holds it.
    struct Part {
        var start: UInt64
        var size: UInt64
        var description: VMDKDescriptor.Extent
        var path: String
        var device: any BlockDevice
        /// First byte of the extent in a flat file.
        var base: UInt64 = 0
    }

    private let storage: any Storage
    private var descriptor: VMDKDescriptor
    /// Where the descriptor lies in `storage`, and how much room it has.
    private let descriptorPlace: (offset: UInt64, room: Int)
    let parts: [Part]
    let size: UInt64
    private(set) var backing: (any BlockDevice)?
    private let cidLock = Lock()
    private var hasNewCID = false

    init(_ storage: any Storage, _ descriptor: VMDKDescriptor, place: (UInt64, Int), parts: [Part]) {
        self.storage = storage
        self.descriptor = descriptor
        descriptorPlace = place
        self.parts = parts
        size = parts.last.map { $0.start + $0.size } ?? 0
    }

    var formatName: String { "vmdk" }
    var path: String { storage.path }
    var isReadOnly: Bool { storage.isReadOnly || parts.contains { $0.device.isReadOnly } }
    var hostFiles: [FileStorage] { storage.hostFiles + parts.flatMap(\.device.hostFiles) }
    var clusterSize: Int? { parts.compactMap(\.device.clusterSize).max() }
    var needsCompressedWrites: Bool { parts.contains { $0.device.needsCompressedWrites } }
    var cid: UInt32 { descriptor.cid }

    var backingReference: BackingReference? {
        guard descriptor.parentCID != VMDKDescriptor.noParent, let hint = descriptor.parentHint else { return nil }
        return BackingReference(file: hint, format: "vmdk")
    }

    /// The parent must be as it was when this image was made: its CID tells.
    func attach(backing: any BlockDevice) throws(ImageError) {
        guard let parent = backing as? VMDKImage, parent.cid == descriptor.parentCID else {
            throw ImageError(
                .corrupt,
                "'\(backing.path)' has changed since '\(path)' was made from it: its CID is not "
                    + VMDKDescriptor.hex(descriptor.parentCID), format: "vmdk", path: backing.path)
        }
        self.backing = backing
        for part in parts {
            let length = part.start < backing.size ? min(part.size, backing.size - part.start) : 0
            try part.device.attach(backing: DeviceWindow(backing, start: part.start, length: length))
        }
    }

    /// Length of all files that hold data.
    var fileBytes: UInt64 {
        parts.reduce(0) { sum, part in
            let file = (part.device as? BlockMappedImage)?.storage ?? (part.device as? RawImage)?.storage
            return sum + (file?.byteCount ?? 0)
        }
    }

    private func part(at offset: UInt64) throws(ImageError) -> Part {
        guard let part = parts.last(where: { $0.start <= offset }), offset < part.start + part.size else {
            throw ImageError(.invalidArgument, "offset \(offset) lies in no extent", format: "vmdk", path: path)
        }
        return part
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try checkRange(offset, UInt64(buffer.count))
        var done = 0
        while done < buffer.count {
            let part = try part(at: offset + UInt64(done))
            let inside = offset + UInt64(done) - part.start
            let count = Int(min(UInt64(buffer.count - done), part.size - inside))
            try part.device.read(into: buffer.part(done, count), at: part.base + inside)
            done += count
        }
    }

    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try checkWritable()
        try checkRange(offset, UInt64(buffer.count))
        try changeCID()
        var done = 0
        while done < buffer.count {
            let part = try part(at: offset + UInt64(done))
            let inside = offset + UInt64(done) - part.start
            let count = Int(min(UInt64(buffer.count - done), part.size - inside))
            try part.device.write(from: buffer.part(done, count), at: part.base + inside)
            done += count
        }
    }

    private func forEachPart(
        _ offset: UInt64, _ count: UInt64, _ body: (Part, UInt64, UInt64) throws(ImageError) -> Void
    ) throws(ImageError) {
        try checkRange(offset, count)
        try checkWritable()
        try changeCID()
        var position = offset
        while position < offset + count {
            let part = try part(at: position)
            let inside = position - part.start
            let length = min(offset + count - position, part.size - inside)
            try body(part, part.base + inside, length)
            position += length
        }
    }

    func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) {
        try forEachPart(offset, count) { (part, inside, length) throws(ImageError) in
            try part.device.writeZeroes(at: inside, count: length, mayUnmap: mayUnmap)
        }
    }

    func discard(at offset: UInt64, count: UInt64) throws(ImageError) {
        try forEachPart(offset, count) { (part, inside, length) throws(ImageError) in
            try part.device.discard(at: inside, count: length)
        }
    }

    func compress(
        cluster: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer
    ) throws(ImageError) -> Int? {
        guard let first = parts.first else { return nil }
        // Only stream-optimized extents have compressed grains; `-c` stores plain ones elsewhere.
        guard first.device.needsCompressedWrites else { return nil }
        return try first.device.compress(cluster: cluster, into: out)
    }

    func writeCompressed(_ payload: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
        try changeCID()
        let part = try part(at: offset)
        try part.device.writeCompressed(payload, at: offset - part.start)
    }

    func extent(at offset: UInt64, limit: UInt64) throws(ImageError) -> Extent {
        let part = try part(at: offset)
        let inside = offset - part.start
        var extent = try part.device.extent(at: part.base + inside, limit: min(limit, part.size - inside))
        if part.path != path { extent.hostPath = part.path }
        return extent
    }

    /// Flat extents may be pieces of one file, but not the same piece.
    private func checkFlatParts() throws(ImageError) {
        let pieces = parts.compactMap { part -> (file: FileStorage.FileIdentity, part: Part)? in
            guard let file = (part.device as? RawImage)?.hostFiles.first else { return nil }
            return (file.identity, part)
        }
        let byFile = Dictionary(grouping: pieces, by: \.file)
        for group in byFile.values {
            let sorted = group.map(\.part).sorted { $0.base < $1.base }
            for (one, other) in zip(sorted, sorted.dropFirst()) where other.base < one.base + one.size {
                throw ImageError(
                    .corrupt,
                    "the extents at \(one.start) and \(other.start) share bytes of '\(other.path)': the image is corrupt "
                        + "and cannot be opened for writing", format: "vmdk", path: path, offset: other.base)
            }
        }
    }

    /// The first write after opening changes the CID, so that children made before notice.
    private func changeCID() throws(ImageError) {
        cidLock.lock()
        defer { cidLock.unlock() }
        if hasNewCID { return }
        try checkFlatParts()
        for part in parts { try (part.device as? BlockMappedImage)?.checkPlaces() }
        var fresh = descriptor.cid
        while fresh == descriptor.cid || fresh == VMDKDescriptor.noParent {
            fresh = UInt32.random(in: 0...UInt32.max)
        }
        var bytes = Array(descriptor.replacing("CID", with: VMDKDescriptor.hex(fresh)).utf8)
        if descriptorPlace.room > 0 {
            while bytes.last == 0 { bytes.removeLast() }
            guard bytes.count <= descriptorPlace.room else {
                hasNewCID = true
                return
            }
            bytes += [UInt8](repeating: 0, count: descriptorPlace.room - bytes.count)
        }
        try storage.write(bytes, at: descriptorPlace.offset)
        if descriptorPlace.room == 0, storage.byteCount > UInt64(bytes.count) {
            try storage.resize(to: UInt64(bytes.count))
        }
        // A child must not find changed data under the old CID.
        try storage.sync()
        descriptor.cid = fresh
        hasNewCID = true
    }

    func flush() throws(ImageError) {
        for part in parts { try part.device.flush() }
        if !storage.isReadOnly { try storage.sync() }
    }

    func close() throws(ImageError) {
        for part in parts { try part.device.close() }
        storage.close()
        try backing?.close()
    }

    var summary: ImageSummary {
        var summary = ImageSummary()
        let files = Set(parts.map(\.path))
        let others = parts.filter { files.contains($0.path) && $0.path != path }.compactMap(\.device.summary.actualSize)
        summary.actualSize = (storage.allocatedBytes ?? 0) + others.reduce(0, +)
        summary.isCompressed = false
        return summary
    }

    var formatDetails: FormatDetails? {
        let extents = parts.map { part -> InfoValue in
            var fields = [
                InfoField("filename", .string(part.path)),
                InfoField("virtual-size", .integer(Int64(clamping: part.size))),
            ]
            if part.device.summary.isCompressed { fields.append(InfoField("compressed", .bool(true))) }
            if let cluster = part.device.clusterSize {
                fields.append(InfoField("cluster-size", .integer(Int64(cluster))))
            }
            fields.append(InfoField("format", .string(part.path == path ? "" : part.description.type)))
            return .object(fields)
        }
        return FormatDetails(
            type: "vmdk",
            fields: [
                InfoField("create-type", .string(descriptor.createType)),
                InfoField("cid", .integer(Int64(descriptor.cid))),
                InfoField("parent-cid", .integer(Int64(descriptor.parentCID))), InfoField("extents", .array(extents)),
            ])
    }
}
