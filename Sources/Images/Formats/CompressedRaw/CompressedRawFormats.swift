/// Images compressed by `gzip`, `xz` or `zstd`: read only, recognised by their first bytes. See `GzipStream`,
/// `XZStream` and `ZstdStream` for the layouts and for what opening costs.
///
/// What is inside is recognised as any file is: a raw disk, or an image of another format, which is then opened.
public struct CompressedRawFormat: ImageFormat {
    /// The compressions, by the extension that their tools give.
    enum Codec: String, Sendable {
        case gzip = "gz"
        case xz
        case zstd = "zst"

        /// The name of the compression's tool.
        var tool: String {
            switch self {
            case .gzip: "gzip"
            case .xz: "xz"
            case .zstd: "zstd"
            }
        }

        /// Whether a file that begins with `head` is one of this compression's.
        func matches(_ head: some Collection<UInt8>) -> Bool {
            switch self {
            case .gzip: head.starts(with: [0x1f, 0x8b, 8])
            case .xz: head.starts(with: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0])
            case .zstd:
                // pzstd begins with a skippable frame.
                head.starts(with: [0x28, 0xb5, 0x2f, 0xfd])
                    || head.first.map { $0 & 0xf0 == 0x50 } ?? false
                        && head.dropFirst().starts(with: [0x2a, 0x4d, 0x18])
            }
        }
    }

    private let codec: Codec

    init(_ codec: Codec) { self.codec = codec }
    public var name: String { codec.rawValue }
    public var capabilities: FormatCapabilities { [.read, .check] }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        head.count >= 18 && codec.matches(head) ? 80 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        let layer = try layer(storage, options)
        // Of a damaged stream only the damage is of interest.
        guard layer.stream.damage == nil else { return layer }
        // A fixed VHD is known by its end only, and for that a stream may have to be decoded whole: its name has to say it.
        let decoded = DecodedStorage(layer)
        let looksAtEnd = storage.path.lowercased().contains(".vhd.")
        let inner = try options.openInner(decoded, called: "what it holds", in: name, looksAtEnd: looksAtEnd)
        return inner is RawImage ? layer : CompressedImage(storage, layer: layer, disk: inner)
    }

    /// What is compressed, as bytes, whatever image they are.
    func layer(_ storage: any Storage, _ options: OpenOptions) throws(ImageError) -> CompressedRawImage {
        guard codec.matches(try storage.readBytes(at: 0, count: 8)) else {
            throw ImageError(
                .corrupt, "Image not in \(name) format (the first bytes are not those of a \(name) file)", format: name,
                path: storage.path, offset: 0)
        }
        let stream: any CompressedStream =
            switch codec {
            case .gzip:
                try GzipStream(storage, toleratingDamage: options.forCheck, report: options.measuring)
            case .xz: try XZStream(storage)
            case .zstd:
                try ZstdStream(storage, toleratingDamage: options.forCheck, report: options.measuring)
            }
        return CompressedRawImage(storage, formatName: name, stream: stream)
    }
}
