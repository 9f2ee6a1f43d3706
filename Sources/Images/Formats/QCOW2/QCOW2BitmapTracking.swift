/// Bitmaps that record writes (QEMU docs/interop/qcow2.txt, "Bitmaps": flags `in_use` and `auto`).
///
/// Before the first change of an image its recording bitmaps are marked as in use, on disk. Bits collect in memory, by
/// clusters of bits, and reach the file when the image is closed; then the mark goes. Whoever finds the mark knows that
/// the last writer did not get so far, and trusts the bitmap no more.
struct QCOW2TrackedBitmap {
    /// Place in the directory.
    let index: Int
    let granularityBits: Int
    let tableOffset: UInt64
    var table: [UInt64]
    /// Clusters of bits that have been looked at.
    var pages: [Int: [UInt8]] = [:]
    var changed: Set<Int> = []
}

extension QCOW2Image {
    /// Whether the bitmaps in the file are meant to be believed.
    var hasConsistentBitmaps: Bool {
        header.version >= 3 && header.bitmaps != nil && header.autoclear & QCOW2Header.autoclearBitmaps != 0
    }

    /// Reads the recording bitmaps and marks them as in use. False when the image has no bitmaps that could be kept.
    func startTracking() throws(ImageError) -> Bool {
        guard hasConsistentBitmaps, var directory = try? QCOW2Bitmap.readDirectory(self) else { return false }
        var found: [QCOW2TrackedBitmap] = []
        for (index, bitmap) in directory.enumerated()
        where bitmap.flags & QCOW2Bitmap.auto != 0 && bitmap.flags & QCOW2Bitmap.inUse == 0 {
            found.append(
                QCOW2TrackedBitmap(
                    index: index, granularityBits: bitmap.granularityBits, tableOffset: bitmap.tableOffset,
                    table: try bitmapTable(bitmap)))
            directory[index].flags |= QCOW2Bitmap.inUse
        }
        if !found.isEmpty { try rewriteDirectory(directory) }
        tracking = found
        return true
    }

    /// Writes the directory over itself: only flags differ, so it keeps its length.
    func rewriteDirectory(_ bitmaps: [QCOW2Bitmap]) throws(ImageError) {
        guard let place = header.bitmaps else { return }
        try storage.write(QCOW2Bitmap.encode(bitmaps), at: place.directoryOffset)
        try storage.sync()
    }

    /// Sets the bits of a range that is about to change. Caller holds `access` exclusively.
    func recordWrite(_ offset: UInt64, _ count: UInt64) throws(ImageError) {
        if tracking.isEmpty || count == 0 { return }
        for index in tracking.indices {
            let shift = UInt64(tracking[index].granularityBits)
            try setBits(index, offset >> shift...(offset + count - 1) >> shift)
        }
    }

    private func setBits(_ index: Int, _ bits: ClosedRange<UInt64>) throws(ImageError) {
        let perPage = UInt64(layout.clusterSize) * 8
        var bit = bits.lowerBound
        while bit <= bits.upperBound {
            let number = Int(bit / perPage)
            let end = min(bits.upperBound, (UInt64(number) + 1) * perPage - 1)
            // Taken out while it is changed, so that the array has one owner.
            let known = tracking[index].pages.removeValue(forKey: number)
            var page: [UInt8]
            if let known { page = known } else { page = try loadPage(tracking[index], number) }
            var isChanged = false
            for position in Int(bit % perPage)...Int(end % perPage)
            where page[position / 8] >> UInt8(position % 8) & 1 == 0 {
                page[position / 8] |= 1 << UInt8(position % 8)
                isChanged = true
            }
            tracking[index].pages[number] = page
            if isChanged { tracking[index].changed.insert(number) }
            bit = end + 1
        }
    }

    private func loadPage(_ bitmap: QCOW2TrackedBitmap, _ number: Int) throws(ImageError) -> [UInt8] {
        guard number < bitmap.table.count else {
            throw corrupt(
                "the table of a bitmap has \(bitmap.table.count) entries, \(number) is needed", bitmap.tableOffset)
        }
        let entry = bitmap.table[number]
        let offset = entry & QCOW2Layout.offsetMask
        if offset != 0 { return try storage.readBytes(at: offset, count: layout.clusterSize) }
        return [UInt8](repeating: entry & 1 != 0 ? 0xff : 0, count: layout.clusterSize)
    }

    /// Brings the recorded bits to the file and takes the marks away. Caller holds `access` exclusively.
    func finishTracking() throws(ImageError) {
        if tracking.isEmpty { return }
        var newEntries: [(place: UInt64, value: UInt64)] = []
        for bitmap in tracking {
            for number in bitmap.changed.sorted() {
                guard let page = bitmap.pages[number] else { continue }
                var offset = bitmap.table[number] & QCOW2Layout.offsetMask
                if offset == 0 {
                    offset = try allocate(upTo: 1).offset
                    newEntries.append((bitmap.tableOffset + UInt64(number) * 8, offset))
                }
                try storage.write(page, at: offset)
            }
        }
        try writeMetadata()
        try storage.sync()
        for entry in newEntries {
            var bytes: [UInt8] = []
            bytes.putBE(entry.value)
            try storage.write(bytes, at: entry.place)
        }
        try storage.sync()
        var directory = try QCOW2Bitmap.readDirectory(self)
        for bitmap in tracking where bitmap.index < directory.count {
            directory[bitmap.index].flags &= ~QCOW2Bitmap.inUse
        }
        try rewriteDirectory(directory)
        tracking = []
        isPreparedForWriting = false
    }

    // MARK: Another disk size

    /// Takes all bitmaps into memory and marks them as in use, before the size of the disk changes. Afterwards nothing
    /// is recorded until `storeResized`.
    func takeBitmapsForResize() throws(ImageError) -> [(bitmap: QCOW2Bitmap, bits: [UInt8])] {
        access.lockExclusive()
        defer { access.unlock() }
        if isPreparedForWriting { try finishTracking() }
        guard hasConsistentBitmaps else { return [] }
        let directory = try QCOW2Bitmap.readDirectory(self)
        var taken: [(QCOW2Bitmap, [UInt8])] = []
        for bitmap in directory { taken.append((bitmap, try usableContent(of: bitmap).bits)) }
        try rewriteDirectory(
            directory.map { bitmap in
                var marked = bitmap
                marked.flags |= QCOW2Bitmap.inUse
                return marked
            })
        isPreparedForWriting = true
        return taken
    }

    /// Stores the bitmaps in the length that the disk's new size asks for; bits of new bytes are clear.
    func storeResized(_ taken: [(bitmap: QCOW2Bitmap, bits: [UInt8])]) throws(ImageError) {
        if taken.isEmpty { return }
        access.lockExclusive()
        defer { access.unlock() }
        var bitmaps: [QCOW2Bitmap] = []
        var freed: [(UInt64, UInt64)] = []
        for (bitmap, oldBits) in taken {
            freed += try ranges(of: bitmap)
            var bits = oldBits
            let count = try bitmapBytes(bitmap.granularityBits)
            if bits.count > count { bits.removeLast(bits.count - count) }
            bits += [UInt8](repeating: 0, count: count - bits.count)
            // Bits behind the end of the disk would come back with the next growth.
            let used = (header.size + (1 << UInt64(bitmap.granularityBits)) - 1) >> UInt64(bitmap.granularityBits)
            if used % 8 != 0, let last = bits.indices.last { bits[last] &= 1 << UInt8(used % 8) - 1 }
            var stored = bitmap
            try store(bits, into: &stored)
            bitmaps.append(stored)
        }
        try replaceDirectory(bitmaps, freeing: freed)
        isPreparedForWriting = false
    }
}
