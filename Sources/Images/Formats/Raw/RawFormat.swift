/// Raw images: byte n of the file is byte n of the disk. No header, so nothing to probe; holes are kept.
public struct RawFormat: ImageFormat {
    public init() {}
    public var name: String { "raw" }
    public var capabilities: FormatCapabilities { [.read, .write, .create, .resize, .zeroes] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption("preallocation", .string, "Preallocation mode (allowed values: off, falloc, full)"),
        ]
    }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int { 1 }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        RawImage(storage: storage, wasProbed: options.wasProbed)
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        guard request.backing == nil else {
            throw ImageError(.unsupported, "Backing file not supported for file format 'raw'", format: name)
        }
        if let text = request.options["preallocation"], Preallocation(rawValue: text) == nil {
            throw ImageError(.invalidArgument, "invalid parameter value: \(text)", format: name)
        }
        let mode = try Preallocation.parse(request.options["preallocation"], allowed: [.off, .falloc, .full])
        try storage.resize(to: request.size)
        try Preallocation.fill(storage, from: 0, to: request.size, mode: mode)
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }
}

extension Preallocation {
    /// The mode that an option names; `off` when it is absent.
    static func parse(_ text: String?, allowed: [Preallocation]) throws(ImageError) -> Preallocation {
        guard let text else { return .off }
        guard let mode = Preallocation(rawValue: text) else {
            throw ImageError(.invalidArgument, "Parameter 'preallocation' does not accept value '\(text)'")
        }
        guard allowed.contains(mode) else {
            throw ImageError(.invalidArgument, "Unsupported preallocation mode: \(text)")
        }
        return mode
    }

    /// Sets the host space of [start, end) aside the way `mode` says; `full` writes the zeros.
    static func fill(
        _ storage: any Storage, from start: UInt64, to end: UInt64, mode: Preallocation
    ) throws(ImageError) {
        switch mode {
        case .off, .metadata: return
        case .falloc: try storage.allocate(at: start, count: end - start)
        case .full:
            let chunk = HeapBuffer(1 << 20)
            var position = start
            while position < end {
                let part = Int(min(UInt64(chunk.bytes.count), end - position))
                try storage.write(from: chunk.readable.part(0, part), at: position)
                position += UInt64(part)
            }
        }
    }
}
