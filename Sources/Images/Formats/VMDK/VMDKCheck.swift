extension VMDKImage: CheckableImage {
    private static let maximumErrors = 100_000

    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var result = CheckResult()
        let unit = UInt64(min(clusterSize ?? 65536, 1 << 20))
        let buffer = HeapBuffer(Int(unit), zeroed: false)
        var position: UInt64 = 0
        // Bytes that the grains must have in the files if no two of them share a place: a compressed one at least a sector.
        var needed: UInt64 = 0
        let fileBytes = self.fileBytes
        while position < size {
            // Looking a grain up checks its place; reading it checks its content.
            do throws(ImageError) {
                let extent = try self.extent(at: position, limit: size - position)
                if extent.kind == .compressed || (verifyData && extent.kind == .data) {
                    let length = min(extent.length, unit)
                    needed += extent.kind == .compressed ? 512 : length
                    guard needed <= fileBytes else {
                        result.corruptions += 1
                        result.note("ERROR: grains share places: the files of \(fileBytes) bytes are too short for all")
                        break
                    }
                    try read(into: buffer.bytes.part(0, Int(length)), at: position)
                    position += length
                } else {
                    position += extent.length
                }
            } catch {
                result.corruptions += 1
                result.note("ERROR: \(error.message)")
                position += unit
                // A table of garbage that claims an exabyte would keep us busy for ever.
                guard result.corruptions < Self.maximumErrors else {
                    result.checkErrors += 1
                    result.note("more than \(Self.maximumErrors) errors: the rest of the image is not checked")
                    break
                }
            }
        }
        return result
    }
}
