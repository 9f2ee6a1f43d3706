/// The name of an image as users and backing fields give it (QEMU, "json:" pseudo-protocol): a path, `file:` and a path,
/// or QEMU's blockdev options, as an object behind `json:` or as the list of `--image-opts`:
///
///     driver              format, or "file" or "host_device" for the bytes of the file
///     file.driver         must be "file" or "host_device"
///     file.filename       the path, relative to the current folder as in QEMU (filename where the driver is "file")
///     offset, size        with driver raw: the part of the file that is the disk
///     encrypt.key-secret  id of the secret that opens this layer (LUKS: key-secret)
///     read-only           on: opening for writing is refused
///     overlap-check       with driver qcow2: none, constant, cached or all
///     data-file.filename  the external data file, instead of what the image records (and data-file.driver)
///     backing.…           the same of the layer below, instead of what the image records; backing= for none
///
/// An option that is not understood is refused: it might change which bytes are meant.
public struct ImageName: Sendable {
    /// What is opened below an image.
    public enum Backing: Sendable {
        /// What the image records.
        case recorded
        case none
        /// What these options say; the image's own record holds where they are silent.
        indirect case named(ImageName)
    }

    /// Empty in options of a backing file that do not say which.
    public internal(set) var path: String
    /// Format that the name demands.
    public internal(set) var format: String?
    public internal(set) var keySecret: String?
    public internal(set) var isReadOnly = false
    var overlapCheck: OverlapCheck?
    /// The external data file of a qcow2.
    var dataFile: String?
    var backing = Backing.recorded
    /// The first option of the layer below, for a complaint that nothing below is opened.
    private(set) var backingOption: String?
    var offset: UInt64 = 0
    /// Length of the part; nil goes to the end.
    var length: UInt64?

    public var isPart: Bool { offset > 0 || length != nil }

    /// What the name says of the layer that lies `depth` below it; nil where it says nothing.
    func layer(_ depth: Int) -> ImageName? {
        guard depth > 0 else { return self }
        guard case .named(let below) = backing else { return nil }
        return below.layer(depth - 1)
    }

    /// Ids of the secrets of this layer and those below.
    public var keySecrets: [String] {
        var ids = keySecret.map { [$0] } ?? []
        if case .named(let below) = backing { ids += below.keySecrets }
        return ids
    }

    init(_ name: String) throws(ImageError) {
        path = name
        guard let scheme = FilePath.scheme(of: name) else { return }
        switch scheme {
        case "file": path = String(name.dropFirst(5))
        case "json":
            guard let fields = JSONFields(name.dropFirst(5))?.values else {
                throw ImageError(.invalidArgument, "Could not parse the JSON options in '\(name)'", path: name)
            }
            guard fields["driver"] != nil else {
                throw ImageError(.invalidArgument, "'driver' is missing in '\(name)'", path: name)
            }
            do throws(ImageError) {
                self = try ImageName(options: fields)
            } catch {
                throw ImageError(error.kind, "\(error.message), in '\(name)'", path: name)
            }
        default:
            guard FilePath.real(name) != nil else {
                throw ImageError(.unsupported, "Unknown protocol '\(scheme)'", path: name)
            }
        }
    }

    /// Drivers whose disk is the bytes of the file.
    static let protocols: Set<String> = ["file", "host_device"]

    /// Options that change neither bytes nor results here; those of the file begin with `file.`.
    private static let withoutEffect: Set<String> = [
        "node-name", "auto-read-only", "force-share", "discard", "detect-zeroes", "cache.direct", "cache.no-flush",
        "locking", "aio", "aio-max-batch", "x-check-cache-dropped", "drop-cache", "lazy-refcounts",
        "pass-discard-request", "pass-discard-snapshot", "pass-discard-other", "l2-cache-size",
        "l2-cache-entry-size", "refcount-cache-size", "cache-size", "cache-clean-interval", "encrypt.format",
    ]

    /// A layer by its options: names with dots, as `--image-opts` has them. Throws `.invalidArgument` for values that make
    /// no sense and `.unsupported` for what is not understood.
    public init(options: [String: String]) throws(ImageError) { try self.init(options: options, isBacking: false) }

    private init(options: [String: String], isBacking: Bool) throws(ImageError) {
        var fields = options.filter { !$0.key.hasPrefix("backing.") }
        let driver = fields.removeValue(forKey: "driver")
        let isFile = driver.map(Self.protocols.contains) ?? false
        format = driver
        if let driver, FormatRegistry.format(named: driver) == nil {
            throw ImageError(.unsupported, "Unknown driver '\(driver)'")
        }
        if !isFile, let below = fields.removeValue(forKey: "file.driver"), !Self.protocols.contains(below) {
            throw ImageError(.unsupported, "Unknown protocol '\(below)'")
        }
        path = fields.removeValue(forKey: isFile ? "filename" : "file.filename") ?? ""
        guard !path.isEmpty || isBacking else {
            throw ImageError(.invalidArgument, "A block device must be specified for \"file\"")
        }
        keySecret = fields.removeValue(forKey: "encrypt.key-secret") ?? fields.removeValue(forKey: "key-secret")
        let reader = OptionReader(fields)
        isReadOnly = try reader.bool("read-only") ?? false
        fields["read-only"] = nil
        // QEMU has the mode under two names.
        for key in ["overlap-check", "overlap-check.template"] {
            guard let value = fields.removeValue(forKey: key) else { continue }
            guard let mode = OverlapCheck(rawValue: value) else {
                throw ImageError(
                    .invalidArgument,
                    "Unsupported value '\(value)' for qcow2 option 'overlap-check'. Allowed are any of the following: "
                        + OverlapCheck.allCases.map(\.rawValue).joined(separator: ", "))
            }
            overlapCheck = mode
        }
        dataFile =
            fields.removeValue(forKey: "data-file.filename") ?? fields.removeValue(forKey: "data-file.file.filename")
        for key in ["data-file.driver", "data-file.file.driver"] where dataFile != nil {
            guard let value = fields.removeValue(forKey: key) else { continue }
            guard value == "raw" || Self.protocols.contains(value) else {
                throw ImageError(.unsupported, "the driver '\(value)' cannot give an external data file")
            }
        }
        if driver == "raw" {
            (offset, length) = (try reader.size("offset") ?? 0, try reader.size("size"))
            (fields["offset"], fields["size"]) = (nil, nil)
        }
        if fields.removeValue(forKey: "backing")?.isEmpty == true { backing = .none }
        let below = options.filter { $0.key.hasPrefix("backing.") }
        if !below.isEmpty {
            backingOption = below.keys.min()
            let named = below.map { (String($0.key.dropFirst("backing.".count)), $0.value) }
            backing = .named(try ImageName(options: Dictionary(uniqueKeysWithValues: named), isBacking: true))
        }
        let unknown = fields.keys.sorted().first { key in
            !Self.withoutEffect.contains(key.hasPrefix("file.") ? String(key.dropFirst(5)) : key)
        }
        if let unknown {
            throw ImageError(
                .unsupported, "Block format '\(driver ?? "file")' does not support the option '\(unknown)'")
        }
    }

    /// The part of the file that the name means.
    func window(of storage: any Storage) throws(ImageError) -> any Storage {
        guard isPart else { return storage }
        guard storage.isReadOnly else {
            throw ImageError(.unsupported, "a part of '\(path)' can be read only", path: path)
        }
        let rest = storage.byteCount - min(offset, storage.byteCount)
        guard offset <= storage.byteCount, length ?? 0 <= rest else {
            throw ImageError(
                .invalidArgument,
                "the part of \(length ?? 0) bytes from \(offset) on leaves '\(path)' of \(storage.byteCount) bytes",
                path: path)
        }
        return StorageWindow(storage, start: offset, byteCount: length ?? rest, path: path) {
            (_) throws(ImageError) in
            throw ImageError(.unsupported, "a part of a file has no companion files", path: nil)
        }
    }
}
