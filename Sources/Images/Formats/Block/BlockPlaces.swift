/// Where blocks and metadata lie in a file, to find any two in one place.
///
/// Tables of block places can be damaged so that a block lies on the header, on a table, or where another block lies: who
/// writes to it then destroys the other. Before the first write all places are laid side by side.
struct BlockPlaces {
    /// Blocks that are kept account of, 32 bytes each; of larger images only the first so many are compared.
    static let limit = 1 << 20

    private struct Place {
        var start: UInt64
        var end: UInt64
        /// The block's number; nil for metadata.
        var block: UInt64?
    }

    private var places: [Place] = []
    private var names: [UInt64: String] = [:]
    private var metadata: [Place] = []
    private(set) var isFull = false
    /// End of the last block.
    private(set) var end: UInt64 = 0

    /// Notes that `bytes` from `start` on hold metadata.
    mutating func addMetadata(_ name: String, at start: UInt64, bytes: UInt64) {
        guard bytes > 0 else { return }
        names[start] = name
        metadata.append(Place(start: start, end: start &+ bytes, block: nil))
    }

    /// Notes that block `number` has `bytes` from `start` on.
    mutating func addBlock(_ number: UInt64, at start: UInt64, bytes: UInt64) {
        end = max(end, start &+ bytes)
        guard places.count < Self.limit else {
            isFull = true
            return
        }
        places.append(Place(start: start, end: start &+ bytes, block: number))
    }

    /// The first two that share a place, in words, and where.
    mutating func overlap() -> (message: String, offset: UInt64)? {
        places += metadata
        places.sort { ($0.start, $0.end) < ($1.start, $1.end) }
        var last: Place?
        for place in places {
            if let last, place.start < last.end {
                return ("\(name(of: last)) and \(name(of: place)) share the place \(place.start.hex)", place.start)
            }
            if place.end > last?.end ?? 0 { last = place }
        }
        return nil
    }

    private func name(of place: Place) -> String {
        place.block.map { "block \($0)" } ?? names[place.start] ?? "metadata"
    }
}

extension BlockMappedImage {
    /// Before the first write: refuses an image in which a write to one block would change another one, or metadata.
    func checkPlaces() throws(ImageError) {
        if arePlacesChecked { return }
        arePlacesChecked = true
        var places = BlockPlaces()
        try collectPlaces(into: &places)
        if let found = places.overlap() {
            arePlacesChecked = false
            throw corrupt(
                "\(found.message): the image is corrupt and cannot be opened for writing; "
                    + "what can be read of it can be converted", found.offset)
        }
        keepClear(of: places.end)
    }
}
