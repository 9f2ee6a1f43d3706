import Images

/// An image named by options: `driver=qcow2,file.driver=file,file.filename=/path`. With `driver=raw`, `offset` and `size`
/// make a part of the file the disk. An option that is not understood is refused: it might change which bytes are meant.
struct ImageOptionString {
    /// A path, or the `json:` name of a part of a file.
    var path: String
    var driver: String?
    var keySecret: String?
    var isReadOnly = false
    var overlapCheck = OverlapCheck.cached

    /// Options that change neither bytes nor results here; those of the file begin with `file.`.
    private static let withoutEffect: Set<String> = [
        "node-name", "auto-read-only", "force-share", "discard", "detect-zeroes", "cache.direct", "cache.no-flush",
        "locking", "aio", "aio-max-batch", "x-check-cache-dropped", "drop-cache", "lazy-refcounts",
        "pass-discard-request", "pass-discard-snapshot", "pass-discard-other", "l2-cache-size",
        "l2-cache-entry-size", "refcount-cache-size", "cache-size", "cache-clean-interval", "encrypt.format",
    ]

    init(parsing text: String) throws {
        guard text.contains("=") else {
            throw fail("Could not open '\(text)': Cannot find device='\(text)' nor node-name='\(text)'")
        }
        var fields: [String: String] = [:]
        for item in KeyValueList.parse(text) { fields[item.key] = item.value }
        let isFile = fields["driver"] == "file"
        driver = isFile ? "raw" : fields["driver"]
        fields["driver"] = nil
        let protocolName = fields.removeValue(forKey: "file.driver") ?? "file"
        guard protocolName == "file", let file = fields.removeValue(forKey: isFile ? "filename" : "file.filename")
        else {
            let reason =
                protocolName == "file"
                ? "A block device must be specified for \"file\"" : "Unknown protocol '\(protocolName)'"
            throw fail("Could not open '\(text)': \(reason)")
        }
        path = file
        keySecret = fields.removeValue(forKey: "encrypt.key-secret") ?? fields.removeValue(forKey: "key-secret")
        isReadOnly = fields.removeValue(forKey: "read-only") == "on"
        // QEMU has the mode under two names.
        for key in ["overlap-check", "overlap-check.template"] {
            guard let value = fields.removeValue(forKey: key) else { continue }
            guard let mode = OverlapCheck(rawValue: value) else {
                throw fail(
                    "Could not open '\(text)': Unsupported value '\(value)' for qcow2 option 'overlap-check'. Allowed are "
                        + "any of the following: none, constant, cached, all")
            }
            overlapCheck = mode
        }
        var part = ""
        for key in ["offset", "size"] where driver == "raw" && !isFile {
            guard let value = fields.removeValue(forKey: key) else { continue }
            guard let bytes = ByteCount.parse(value) else {
                throw fail("Could not open '\(text)': \(ImageOptions.badSizeParameter(key))")
            }
            part += "\"\(key)\": \(bytes), "
        }
        if !part.isEmpty {
            path =
                "json:{\"driver\": \"raw\", \(part)\"file\": {\"driver\": \"file\", \"filename\": \(QEMUJSON.quoted(file))}}"
        }
        let unknown = fields.keys.sorted().first { key in
            !Self.withoutEffect.contains(key.hasPrefix("file.") ? String(key.dropFirst(5)) : key)
        }
        if let unknown {
            throw fail(
                "Could not open '\(text)': Block format '\(driver ?? "file")' does not support the option '\(unknown)'")
        }
    }
}
