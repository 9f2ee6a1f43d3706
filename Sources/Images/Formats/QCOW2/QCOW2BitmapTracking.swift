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
    /// Table entries that are not in the file yet.
    var newEntries: Set<Int> = []
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
        var tableBytes = 0
        for (index, bitmap) in directory.enumerated()
        where bitmap.flags & QCOW2Bitmap.auto != 0 && bitmap.flags & QCOW2Bitmap.inUse == 0 {
            tableBytes += Int(bitmap.tableSize) * 8
            // Bitmaps that cannot be kept up to date lose their word, which is what the format provides for.
            guard tableBytes <= trackingBudget, let table = try? bitmapTable(bitmap),
                let bytes = try? bitmapBytes(bitmap.granularityBits), table.count == Int(layout.clusters(UInt64(bytes)))
            else { return false }
            found.append(
                QCOW2TrackedBitmap(
                    index: index, granularityBits: bitmap.granularityBits, tableOffset: bitmap.tableOffset,
                    table: table))
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
            let page: [UInt8]
            // Taken out while it is changed, so that the array has one owner.
            if let known = tracking[index].pages.removeValue(forKey: number) {
                page = known
            } else {
                try makeRoomForPage()
                page = try loadPage(tracking[index], number)
            }
            tracking[index].pages[number] = setBits(
                Int(bit % perPage)...Int(end % perPage), in: page, &tracking[index].changed, number)
            bit = end + 1
        }
    }

    private func setBits(
        _ range: ClosedRange<Int>, in page: consuming [UInt8], _ changed: inout Set<Int>, _ number: Int
    ) -> [UInt8] {
        for position in range where page[position / 8] >> UInt8(position % 8) & 1 == 0 {
            page[position / 8] |= 1 << UInt8(position % 8)
            changed.insert(number)
        }
        return page
    }

    /// Keeps the memory of all pages within the budget.
    private func makeRoomForPage() throws(ImageError) {
        let pages = tracking.reduce(0) { $0 + $1.pages.count }
        guard (pages + 1) * layout.clusterSize > trackingBudget else { return }
        for index in tracking.indices { try storePages(index) }
    }

    /// Writes the changed pages of a bitmap to their clusters and forgets all of them. The table in the file does not
    /// name new clusters yet; the bitmap is marked as in use all the while.
    private func storePages(_ index: Int) throws(ImageError) {
        for number in tracking[index].changed.sorted() {
            guard let page = tracking[index].pages[number] else { continue }
            var offset = tracking[index].table[number] & QCOW2Layout.offsetMask
            if offset == 0 {
                offset = try allocate(upTo: 1).offset
                tracking[index].table[number] = offset
                tracking[index].newEntries.insert(number)
            }
            try storage.write(page, at: offset)
        }
        tracking[index].pages.removeAll()
        tracking[index].changed.removeAll()
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
        for index in tracking.indices { try storePages(index) }
        try writeMetadata()
        try storage.sync()
        for bitmap in tracking {
            for number in bitmap.newEntries.sorted() {
                var bytes: [UInt8] = []
                bytes.putBE(bitmap.table[number])
                try storage.write(bytes, at: bitmap.tableOffset + UInt64(number) * 8)
            }
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
        try guardMetadata()
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
