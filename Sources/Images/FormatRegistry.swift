/// Every image format there is. A new format is a folder under Formats and one line here.
public enum FormatRegistry {
    /// In the order in which equal confidence is decided; raw takes what nobody else knows.
    public static let formats: [any ImageFormat] = [
        QCOW2Format(),
        QCOW1Format(),
        VDIFormat(),
        VHDFormat(),
        VMDKFormat(),
        VHDXFormat(),
        COWFormat(),
        ParallelsFormat(),
        BochsFormat(),
        CloopFormat(),
        LUKSFormat(),
        DMGFormat(),
        OVAFormat(),
        CompressedRawFormat(.gzip),
        CompressedRawFormat(.xz),
        CompressedRawFormat(.zstd),
        RawFormat(),
    ]

    /// The driver of that name, nil for an unknown one. QEMU's names for the bytes of a file mean raw.
    public static func format(named name: String) -> (any ImageFormat)? {
        if ImageName.protocols.contains(name) { return RawFormat() }
        return formats.first { $0.name == name }
    }

    /// Whether two names mean one driver.
    static func isSame(_ one: String, _ other: String) -> Bool {
        one == other || format(named: one)?.name == format(named: other)?.name
    }

    /// The driver of that name, or the error that `-f` and `-O` give.
    public static func require(_ name: String) throws(ImageError) -> any ImageFormat {
        guard let format = format(named: name) else {
            throw ImageError(.invalidArgument, "Unknown file format '\(name)'")
        }
        return format
    }

    /// The table of docs/FORMATS.md: what each registered format can do.
    public static func capabilityTable() -> String {
        let columns: [(String, FormatCapabilities)] = [
            ("read", .read), ("write in place", .write), ("create", .create), ("backing file", .backing),
            ("compress", .compress), ("snapshots", .snapshots), ("encryption", .encryption), ("resize", .resize),
            ("check", .check), ("zero blocks", .zeroes), ("written once", .writeOnce),
        ]
        var lines = ["| format | " + columns.map(\.0).joined(separator: " | ") + " | options |"]
        lines.append(String(repeating: "| --- ", count: columns.count + 2) + "|")
        for format in formats {
            let cells = columns.map { format.capabilities.contains($0.1) ? "✓" : "–" }
            let options = format.options.map(\.name).filter { $0 != "size" }.map { "`\($0)`" }.joined(separator: " ")
            lines.append("| `\(format.name)` | " + cells.joined(separator: " | ") + " | \(options) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// How many leading bytes of a file the probes see.
    static let probeBytes = 65536

    /// The driver that recognises the bytes in `storage`; raw when none does.
    public static func probe(_ storage: any Storage) throws(ImageError) -> any ImageFormat {
        let count = Int(min(UInt64(probeBytes), storage.byteCount))
        let head = HeapBuffer(count)
        try storage.read(into: head.bytes.part(0, count), at: 0)
        return best(head: head.readable.part(0, count), fileSize: storage.byteCount, path: storage.path)
    }

    /// The driver most sure of a file that begins with `head`.
    static func best(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> any ImageFormat {
        var winner: any ImageFormat = RawFormat()
        var confidence = 0
        for format in formats {
            let score = format.probe(head: head, fileSize: fileSize, path: path)
            if score > confidence { (winner, confidence) = (format, score) }
        }
        return winner
    }
}
