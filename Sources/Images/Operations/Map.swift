/// One run of the answer to `map`: where disk bytes come from in the whole chain.
public struct MapEntry: Sendable, Hashable {
    public var start: UInt64
    public var length: UInt64
    /// Layer that decides: 0 the image itself, 1 its backing file, …
    public var depth: Int
    /// Some layer has an opinion; false where none has and the bytes are zeros for want of data.
    public var isPresent: Bool
    public var isZero: Bool
    public var isData: Bool
    /// Where the bytes lie in `file`, nil without a plain copy.
    public var hostOffset: UInt64?
    public var file: String

    public init(
        start: UInt64, length: UInt64, depth: Int, isPresent: Bool, isZero: Bool, isData: Bool,
        hostOffset: UInt64? = nil, file: String
    ) {
        self.start = start
        self.length = length
        self.depth = depth
        self.isPresent = isPresent
        self.isZero = isZero
        self.isData = isData
        self.hostOffset = hostOffset
        self.file = file
    }
}

extension DiskImage {
    /// The runs of a disk range, in order, equal neighbours joined.
    public static func map(
        _ device: any BlockDevice, from start: UInt64 = 0, length: UInt64? = nil
    ) throws(ImageError) -> [MapEntry] {
        var entries: [MapEntry] = []
        let end = min(device.size, length.map { start.addingReportingOverflow($0).partialValue } ?? device.size)
        var position = start
        while position < end {
            let entry = try entry(in: device, at: position, limit: end - position, depth: 0)
            position += entry.length
            if let last = entries.last, joins(last, entry) {
                entries[entries.count - 1].length += entry.length
            } else {
                entries.append(entry)
            }
        }
        return entries
    }

    private static func joins(_ a: MapEntry, _ b: MapEntry) -> Bool {
        guard a.depth == b.depth, a.isPresent == b.isPresent, a.isZero == b.isZero, a.isData == b.isData,
            a.file == b.file
        else { return false }
        guard let first = a.hostOffset else { return b.hostOffset == nil }
        return b.hostOffset == first + a.length
    }

    /// What the bytes at one offset are and how far that holds.
    static func entry(
        in device: any BlockDevice, at offset: UInt64, limit: UInt64, depth: Int = 0
    ) throws(ImageError) -> MapEntry {
        let extent = try device.extent(at: offset, limit: limit)
        var entry = MapEntry(
            start: offset, length: extent.length, depth: depth, isPresent: true, isZero: false, isData: true,
            hostOffset: extent.hostOffset, file: extent.hostPath ?? device.path)
        switch extent.kind {
        case .data, .compressed:
            if let host = extent.hostOffset, let run = try device.hostRun(at: host, limit: extent.length) {
                entry.length = min(entry.length, run.length)
                entry.isZero = !run.isData
            }
        case .zero:
            // A hole in a flat extent has its place in that file.
            (entry.isZero, entry.isData) = (true, device.formatName == "vmdk" && extent.hostOffset != nil)
        case .unallocated:
            if let backing = device.backing {
                if offset < backing.size {
                    return try self.entry(
                        in: backing, at: offset, limit: min(extent.length, backing.size - offset), depth: depth + 1)
                }
            }
            // Nothing below, or nothing so far behind the end of a short backing file.
            (entry.isPresent, entry.isZero, entry.isData) = (false, true, false)
        }
        return entry
    }
}
