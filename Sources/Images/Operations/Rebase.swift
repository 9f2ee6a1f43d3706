extension DiskImage {
    /// Gives an image another backing file. Safely: where the old and the new backing file differ, the image gets the
    /// old bytes of its own, so that the disk reads as before. `unsafe` only changes the name.
    /// `newBacking` nil makes the image stand alone.
    public static func rebase(
        _ path: String, format: String?, to newBacking: BackingReference?, unsafe: Bool,
        secrets: [String: [UInt8]] = [:]
    ) throws(ImageError) {
        var options = OpenOptions(format: format, readOnly: false, openBacking: !unsafe)
        options.secrets = secrets
        let image = try open(path, options: options)
        defer { try? image.close() }
        try rebase(image, to: newBacking, unsafe: unsafe, secrets: secrets)
    }

    /// The same for an opened image.
    public static func rebase(
        _ image: any BlockDevice, to newBacking: BackingReference?, unsafe: Bool, secrets: [String: [UInt8]] = [:],
        progress: ((UInt64, UInt64) -> Void)? = nil
    ) throws(ImageError) {
        let path = image.path
        guard let changeable = image as? any BackingChangeable else {
            throw ImageError(
                .unsupported,
                "Could not change the backing file to '\(newBacking?.file ?? "")': Operation not supported", path: path)
        }
        if newBacking != nil, newBacking?.format == nil {
            throw ImageError(
                .invalidArgument,
                "Could not change the backing file to '\(newBacking?.file ?? "")': backing format must be specified",
                path: path)
        }
        if !unsafe {
            var fresh: (any BlockDevice)?
            if let newBacking {
                do throws(ImageError) {
                    fresh = try open(
                        resolve(newBacking, from: path), options: newBackingOptions(newBacking, secrets))
                } catch {
                    throw ImageError(
                        error.kind, "Could not open new backing file '\(newBacking.file)': \(error.message)", path: path
                    )
                }
            }
            defer { try? fresh?.close() }
            try keepDifferences(changeable, fresh, progress)
            try image.flush()
        }
        try changeable.changeBacking(newBacking)
    }

    private static func newBackingOptions(_ reference: BackingReference, _ secrets: [String: [UInt8]]) -> OpenOptions {
        var options = OpenOptions(format: reference.format)
        options.secrets = secrets
        return options
    }

    /// Writes into `image` what its present backing file shows differently from `fresh`.
    private static func keepDifferences(
        _ image: any BackingChangeable, _ fresh: (any BlockDevice)?, _ progress: ((UInt64, UInt64) -> Void)?
    ) throws(ImageError) {
        guard image.backing != nil || fresh != nil else { return }
        let unit = UInt64(max(image.clusterSize ?? 65536, 65536))
        let (old, new) = (HeapBuffer(Int(unit)), HeapBuffer(Int(unit)))
        var position: UInt64 = 0
        while position < image.size {
            let extent = try image.extent(at: position, limit: image.size - position)
            let end = position + extent.length
            guard extent.kind == .unallocated else {
                position = end
                continue
            }
            while position < end {
                let count = Int(min(unit - position % unit, end - position))
                let part = old.bytes.part(0, count)
                try image.read(into: part, at: position)
                let other = new.bytes.part(0, count)
                other.zero(from: 0)
                if let fresh, position < fresh.size {
                    let inside = Int(min(UInt64(count), fresh.size - position))
                    try fresh.read(into: other.part(0, inside), at: position)
                }
                if UnsafeRawBufferPointer(part).firstDifference(from: UnsafeRawBufferPointer(other), count: count)
                    != nil
                {
                    if UnsafeRawBufferPointer(part).isAllZero {
                        // Where the old backing file ends, nothing but its end made them zeros.
                        try image.pinZeroes(at: position, count: UInt64(count))
                    } else {
                        try image.write(from: UnsafeRawBufferPointer(part), at: position)
                    }
                }
                position += UInt64(count)
                progress?(position, image.size)
            }
        }
    }
}
