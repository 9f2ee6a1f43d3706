/// Persistent bitmaps as the verbs see them: changed, read, and copied along with a disk.
extension DiskImage {
    /// Changes a persistent bitmap of a qcow2 image.
    public static func changeBitmap(_ device: any BlockDevice, named name: String, _ action: QCOW2Image.BitmapAction)
        throws(ImageError)
    {
        guard let image = device as? QCOW2Image else {
            if case .add = action {
                throw ImageError(
                    .unsupported, "Can't store persistent bitmaps to \(device.path): Operation not supported",
                    path: device.path)
            }
            throw ImageError(.notFound, "Dirty bitmap '\(name)' not found", path: device.path)
        }
        try image.changeBitmap(named: name, action)
    }

    /// The bits of a persistent bitmap, to be merged into another.
    public static func bitmapContent(_ device: any BlockDevice, named name: String) throws(ImageError)
        -> QCOW2Image.QCOW2BitmapContent
    {
        guard let image = device as? QCOW2Image else {
            throw ImageError(.notFound, "Dirty bitmap '\(name)' not found", path: device.path)
        }
        return try image.bitmapContent(named: name)
    }

    /// The bitmaps of a disk that `convert --bitmaps` copies, and those that it has to leave out.
    /// Throws when there are broken ones and they are not to be skipped.
    public static func bitmapsToCopy(
        _ source: any BlockDevice, skipBroken: Bool
    ) throws(ImageError) -> (usable: [String], skipped: [String]) {
        guard let image = source as? QCOW2Image, image.header.version >= 3 else {
            throw ImageError(.unsupported, "Source lacks bitmap support", path: source.path)
        }
        guard image.hasConsistentBitmaps else { return ([], []) }
        let directory = try QCOW2Bitmap.readDirectory(image).reversed()
        let broken = directory.filter { $0.flags & QCOW2Bitmap.inUse != 0 }.map(\.name)
        if let first = broken.first, !skipBroken {
            throw ImageError(
                .corrupt,
                "Cannot copy inconsistent bitmap '\(first)'\nTry --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' "
                    + "to delete it", path: source.path)
        }
        return (directory.reversed().map(\.name).filter { !broken.contains($0) }, broken)
    }

    /// Copies bitmaps with their bits, granularity and state into a fresh image.
    static func copyBitmaps(
        _ names: [String], from source: any BlockDevice, to target: any BlockDevice
    ) throws(ImageError) {
        guard let to = target as? QCOW2Image, to.header.version >= 3 else {
            throw ImageError(
                .unsupported, "Format driver '\(target.formatName)' does not support bitmaps", path: target.path)
        }
        guard let from = source as? QCOW2Image else { return }
        for name in names {
            let content = try from.bitmapContent(named: name)
            let isEnabled = try QCOW2Bitmap.readDirectory(from).contains {
                $0.name == name && $0.flags & QCOW2Bitmap.auto != 0
            }
            let granularity = UInt64(1) << UInt64(content.granularityBits)
            try to.changeBitmap(named: name, .add(granularity: granularity, disabled: !isEnabled))
            try to.changeBitmap(named: name, .merge(content))
        }
    }

    /// What the bitmaps of a disk take in a qcow2 image of the given cluster size, in bytes. Those that were left in use
    /// count too, as with QEMU.
    static func bitmapBytes(_ source: any BlockDevice, clusterSize: UInt64) -> UInt64? {
        guard let image = source as? QCOW2Image, image.header.version >= 3 else { return nil }
        guard image.hasConsistentBitmaps, let directory = try? QCOW2Bitmap.readDirectory(image) else { return 0 }
        var total: UInt64 = 0
        var names: UInt64 = 0
        for bitmap in directory {
            guard let bytes = try? image.bitmapBytes(bitmap.granularityBits) else { continue }
            let bits = UInt64(bytes).rounded(toMultipleOf: clusterSize)
            total += bits + (bits / clusterSize * 8).rounded(toMultipleOf: clusterSize)
            names += (24 + UInt64(bitmap.name.utf8.count)).rounded(toMultipleOf: 8)
        }
        return total + names.rounded(toMultipleOf: clusterSize)
    }
}
