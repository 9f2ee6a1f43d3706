import ArgumentParser
import Images

struct ImageMap: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "map", abstract: "Shows which parts of a disk come from where in its chain.",
        discussion: ImageHelp.discussion(
            "map --output=json disk.qcow2"))

    @OptionGroup var source: ImageSourceOptions
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the image (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Option(help: ArgumentHelp("human or json.", valueName: "human|json")) var output: String?
    @Option(
        name: [.customShort("s"), .customLong("start-offset")], help: ArgumentHelp("First byte.", valueName: "OFFSET"))
    var startOffset: String?
    @Option(
        name: [.customShort("l"), .customLong("max-length")],
        help: ArgumentHelp("At most this many bytes.", valueName: "SIZE")) var maxLength: String?
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the image is in use.")
    var forceShare = false
    @Argument(help: "The image.") var filenames: [String] = []

    func run() throws {
        let isJSON = try OutputFormat.isJSON(output)
        let filename = try onlyImage(filenames)
        let start = try ImageOptions.bytes(startOffset, "start offset") ?? 0
        let length = try ImageOptions.bytes(maxLength, "max length")
        let device = try source.open(filename, format: format, readOnly: true, forceShare: forceShare)
        let entries: [MapEntry]
        do {
            entries = try DiskImage.map(device, from: start, length: length)
        } catch {
            throw fail("Failed to read image metadata: \(error.naming(filename))")
        }
        if isJSON {
            // Of nothing there is one entry of no length.
            let nothing = MapEntry(
                start: start, length: 0, depth: 0, isPresent: false, isZero: false, isData: false, file: device.path)
            print("[" + (entries.isEmpty ? [nothing] : entries).map(Self.json).joined(separator: ",\n") + "]")
            return
        }
        print("Offset          Length          Mapped to       File")
        for entry in entries where entry.isData && !entry.isZero {
            guard let host = entry.hostOffset else {
                throw fail("File contains external, encrypted or compressed clusters.")
            }
            print("\(hex(entry.start)) \(hex(entry.length)) \(hex(host)) \(ImageOutput.printable(entry.file))")
        }
    }

    /// Hexadecimal as C's `%#-15x` prints it: zero without a prefix.
    private func hex(_ value: UInt64) -> String {
        let text = value == 0 ? "0" : "0x" + String(value, radix: 16)
        return text + String(repeating: " ", count: max(0, 15 - text.count))
    }

    private static func json(_ entry: MapEntry) -> String {
        var line = "{ \"start\": \(entry.start), \"length\": \(entry.length), \"depth\": \(entry.depth), "
        line += "\"present\": \(entry.isPresent), \"zero\": \(entry.isZero), \"data\": \(entry.isData)"
        if let host = entry.hostOffset { line += ", \"offset\": \(host)" }
        return line + "}"
    }
}
