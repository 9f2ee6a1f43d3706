/// Formats whose backing file can be changed and whose content can be dropped in place.
public protocol BackingChangeable: BlockDevice {
    /// Records another backing file, or none. Contents are not touched.
    func changeBacking(_ reference: BackingReference?) throws(ImageError)
    /// Gives up everything stored here: the disk then reads as its backing file.
    func makeEmpty() throws(ImageError)
    /// Makes the range read as zeros whatever the backing file will be.
    func pinZeroes(at offset: UInt64, count: UInt64) throws(ImageError)
}

extension DiskImage {
    /// Writes what the images above `base` hold into `base`: the direct backing file, or the layer whose path or
    /// recorded name is `baseName`. Then the top image is emptied unless `keepTop` (always kept with a deeper base).
    public static func commit(
        _ path: String, format: String?, baseName: String? = nil, keepTop: Bool, secrets: [String: [UInt8]] = [:],
        progress: ((UInt64, UInt64) -> Void)? = nil
    ) throws(ImageError) {
        var options = OpenOptions(format: format, readOnly: false)
        options.backingLock = LockMode.none
        options.secrets = secrets
        let top = try open(path, options: options)
        defer { try? top.close() }
        try commit(top, baseName: baseName, keepTop: keepTop, secrets: secrets, progress: progress)
    }

    /// The same for an opened image whose chain below is not locked. `rateLimit` is in bytes per second, 0 for none;
    /// `name` is what the chain was opened by, where it says more than a path.
    public static func commit(
        _ top: any BlockDevice, name: ImageName? = nil, baseName: String? = nil, keepTop: Bool,
        secrets: [String: [UInt8]] = [:], rateLimit: UInt64 = 0, progress: ((UInt64, UInt64) -> Void)? = nil
    ) throws(ImageError) {
        let path = top.path
        let layers = chain(of: top)
        guard layers.count > 1 else {
            throw ImageError(.invalidArgument, "Image does not have a backing file", path: path)
        }
        var baseIndex = 1
        if let baseName {
            let wanted = [baseName, FilePath.resolve(baseName, from: path)].compactMap(FilePath.real)
            guard
                let found = layers.indices.dropFirst().first(where: { index in
                    layers[index].path == baseName || layers[index - 1].backingReference?.file == baseName
                        || FilePath.real(layers[index].path).map(wanted.contains) == true
                })
            else {
                throw ImageError(.notFound, "Did not find '\(baseName)' in the backing chain of '\(path)'", path: path)
            }
            baseIndex = found
        }
        // A raw base that no image calls raw stays guarded against becoming something else.
        let recorded = layers[baseIndex - 1].backingReference?.format
        var baseOptions = OpenOptions(format: recorded, readOnly: false)
        baseOptions.backingLock = LockMode.none
        baseOptions.secrets = secrets
        var place = try ImageName(layers[baseIndex].path)
        if let given = name?.layer(baseIndex) {
            let path = place.path
            place = given
            place.path = path
            if given.format != nil { baseOptions.format = nil }
        }
        let base: any BlockDevice
        do throws(ImageError) {
            base = try open(place, options: baseOptions)
        } catch {
            throw ImageError(
                error.kind, "Could not open backing file: \(error.message)", path: layers[baseIndex].path,
                code: error.code)
        }
        let pace = RateLimit(bytesPerSecond: rateLimit)
        do throws(ImageError) {
            if base.size < top.size { try base.resize(to: top.size, preallocation: .off) }
            try copyDown(layers, above: baseIndex, into: base) { done, total in
                progress?(done, total)
                pace.wait(done)
            }
            try base.close()
        } catch {
            try? base.close()
            throw error
        }
        if !keepTop, baseIndex == 1, let emptied = top as? any BackingChangeable { try emptied.makeEmpty() }
    }

    /// Copies each run that a layer above `baseIndex` decides.
    private static func copyDown(
        _ layers: [any BlockDevice], above baseIndex: Int, into base: any BlockDevice,
        progress: (UInt64, UInt64) -> Void
    ) throws(ImageError) {
        let top = layers[0]
        let buffer = HeapBuffer(FileStorage.pieceBytes, zeroed: false)
        var position: UInt64 = 0
        while position < top.size {
            var run = top.size - position
            var kind = Extent.Kind.unallocated
            for index in 0..<baseIndex {
                let layer = layers[index]
                guard position < layer.size else {
                    // Behind the end of a short layer the disk reads as zeros.
                    kind = .zero
                    break
                }
                let extent = try layer.extent(at: position, limit: min(run, layer.size - position))
                run = extent.length
                kind = extent.kind
                if kind != .unallocated { break }
            }
            // A run is asked for once, however many pieces it takes.
            let end = position + run
            while position < end {
                var step = end - position
                switch kind {
                case .unallocated: break
                case .zero: try base.writeZeroes(at: position, count: step, mayUnmap: true)
                case .data, .compressed:
                    step = min(step, UInt64(buffer.bytes.count))
                    let part = buffer.bytes.part(0, Int(step))
                    try top.read(into: part, at: position)
                    try base.write(from: UnsafeRawBufferPointer(part), at: position)
                }
                position += step
                progress(position, top.size)
            }
        }
    }
}
