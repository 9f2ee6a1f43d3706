import ArgumentParser
import Glibc
import Images

struct ImageInfo: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Shows what an image is: format, sizes, backing file, snapshots.",
        discussion: ImageHelp.discussion(
            "info --backing-chain overlay.qcow2",
            "info --output=json disk.qcow2"))

    @OptionGroup var source: ImageSourceOptions
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the image (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Option(help: ArgumentHelp("human or json.", valueName: "human|json")) var output: String?
    @Flag(name: .customLong("backing-chain"), help: "Show the backing files too.") var backingChain = false
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the image is in use.")
    var forceShare = false
    @Argument(help: "The image.") var filenames: [String] = []

    func run() throws {
        let isJSON = try OutputFormat.isJSON(output)
        let filename = try onlyImage(filenames)
        // Without --backing-chain nothing that the image merely names is opened.
        let layers = try chain(filename)
        if isJSON {
            let infos = layers.map { Self.fields($0) }
            print(QEMUJSON.render(backingChain ? .array(infos) : infos[0]), terminator: "")
        } else {
            print(layers.map { Self.human($0) }.joined(separator: "\n"), terminator: "")
        }
    }

    /// The image, and with `--backing-chain` everything below it; each is opened by itself, so that an error names it.
    private func chain(_ filename: String) throws -> [any BlockDevice] {
        func open(_ name: String, _ format: String?) throws -> any BlockDevice {
            try source.open(
                name, format: format, readOnly: true, forceShare: forceShare, openBacking: false, forCheck: true,
                metadataOnly: true)
        }
        var layers = [try open(filename, format)]
        guard backingChain else { return layers }
        var below = source
        below.imageOpts = false
        while let reference = layers[layers.count - 1].backingReference {
            let above = layers[layers.count - 1]
            guard layers.count < DiskImage.maximumDepth, let path = DiskImage.backingPath(reference, from: above.path)
            else { throw fail("Backing file '\(reference.file)' creates an infinite loop.") }
            layers.append(
                try below.open(
                    path, format: reference.format, readOnly: true, forceShare: forceShare, openBacking: false,
                    forCheck: true, metadataOnly: true))
        }
        return layers
    }

    /// Formats of which QEMU's JSON says nothing in this respect.
    private static let formatsWithoutDirtyFlag: Set<String> = ["bochs", "cloop", "dmg", "parallels"]

    private static func fields(_ device: any BlockDevice) -> InfoValue {
        let summary = device.summary
        var fields = [
            InfoField("filename", .string(device.path)), InfoField("format", .string(device.formatName)),
            InfoField("virtual-size", .integer(Int64(clamping: device.size))),
        ]
        if !formatsWithoutDirtyFlag.contains(device.formatName) {
            fields.append(InfoField("dirty-flag", .bool(summary.isDirty)))
        }
        if let actual = summary.actualSize {
            fields.append(InfoField("actual-size", .integer(Int64(clamping: actual))))
        }
        if let cluster = device.clusterSize { fields.append(InfoField("cluster-size", .integer(Int64(cluster)))) }
        if summary.isEncrypted { fields.append(InfoField("encrypted", .bool(true))) }
        if summary.isCompressed { fields.append(InfoField("compressed", .bool(true))) }
        if let backing = device.backingReference {
            fields.append(InfoField("backing-filename", .string(backing.file)))
            fields.append(InfoField("full-backing-filename", .string(device.fullBackingPath ?? backing.file)))
            if let format = backing.format { fields.append(InfoField("backing-filename-format", .string(format))) }
        }
        if !summary.snapshots.isEmpty {
            fields.append(InfoField("snapshots", .array(summary.snapshots.map(snapshot))))
        }
        if let details = device.formatDetails {
            fields.append(
                InfoField(
                    "format-specific",
                    .object([
                        InfoField("type", .string(details.type)), InfoField("data", .object(details.fields)),
                    ])))
        }
        return .object(fields)
    }

    private static func snapshot(_ info: SnapshotInfo) -> InfoValue {
        var fields = [
            InfoField("id", .string(info.id)), InfoField("name", .string(info.name)),
            InfoField("vm-state-size", .integer(Int64(clamping: info.vmStateSize))),
            InfoField("date-sec", .integer(Int64(info.dateSeconds))),
            InfoField("date-nsec", .integer(Int64(info.dateNanoseconds))),
            InfoField("vm-clock-sec", .integer(Int64(info.vmClockNanoseconds / 1_000_000_000))),
            InfoField("vm-clock-nsec", .integer(Int64(info.vmClockNanoseconds % 1_000_000_000))),
        ]
        if let icount = info.icount { fields.append(InfoField("icount", .integer(Int64(clamping: icount)))) }
        return .object(fields)
    }

    private static func human(_ device: any BlockDevice) -> String {
        let summary = device.summary
        var out = "image: \(ImageOutput.printable(device.path))\n"
        out += "file format: \(device.formatName)\n"
        out += "virtual size: \(ByteCount.text(device.size)) (\(device.size) bytes)\n"
        out += "disk size: \(summary.actualSize.map(ByteCount.text) ?? "unavailable")\n"
        if summary.isEncrypted { out += "encrypted: yes\n" }
        if let cluster = device.clusterSize { out += "cluster_size: \(cluster)\n" }
        if summary.isDirty { out += "cleanly shut down: no\n" }
        if let backing = device.backingReference {
            out += "backing file: \(ImageOutput.printable(backing.file))"
            if let full = device.fullBackingPath {
                if full != backing.file { out += " (actual path: \(ImageOutput.printable(full)))" }
            } else {
                out += " (cannot determine actual path)"
            }
            out += "\n"
            if let format = backing.format { out += "backing file format: \(ImageOutput.printable(format))\n" }
        }
        if !summary.snapshots.isEmpty {
            out += "Snapshot list:\n" + SnapshotTable.text(summary.snapshots, printable: { ImageOutput.printable($0) })
        }
        if let details = device.formatDetails, !details.fields.isEmpty {
            out += "Format specific information:\n"
            dump(.object(details.fields), indent: 1, into: &out)
        }
        return out
    }

    /// Nested facts: names with spaces for dashes, list elements numbered.
    private static func dump(_ value: InfoValue, indent: Int, into out: inout String) {
        let margin = String(repeating: "    ", count: indent)
        func put(_ label: String, _ value: InfoValue) {
            switch value {
            case .object, .array:
                out += "\(margin)\(label):\n"
                dump(value, indent: indent + 1, into: &out)
            case .bool(let flag): out += "\(margin)\(label): \(flag)\n"
            case .integer(let number): out += "\(margin)\(label): \(number)\n"
            case .string(let text): out += "\(margin)\(label): \(ImageOutput.printable(text))\n"
            }
        }
        switch value {
        case .object(let fields):
            for field in QEMUJSON.ordered(fields) { put(field.name.replacing("-", with: " "), field.value) }
        case .array(let values):
            for (index, element) in values.enumerated() { put("[\(index)]", element) }
        default: break
        }
    }
}

extension BlockDevice {
    /// The backing file's path as seen from here, nil where the image names something that is no path.
    var fullBackingPath: String? { backingReference.flatMap { DiskImage.backingPath($0, from: path) } }
}
