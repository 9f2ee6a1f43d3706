import ArgumentParser
import Images

struct ImageBitmap: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bitmap", abstract: "Adds, removes and changes persistent dirty bitmaps of a qcow2 image.",
        discussion: ImageHelp.discussion(
            "bitmap --add disk.qcow2 monday",
            "bitmap --merge monday -b disk.qcow2 -F qcow2 copy.qcow2 all"))

    @OptionGroup var source: ImageSourceOptions
    @Flag(help: "Make the bitmap.") var add = false
    @Flag(help: "Delete it.") var remove = false
    @Flag(help: "Clear all its bits.") var clear = false
    @Flag(help: "Record writes in it.") var enable = false
    @Flag(help: "Stop recording.") var disable = false
    @Option(help: ArgumentHelp("Set the bits of this bitmap too (may be repeated).", valueName: "BITMAP")) var merge:
        [String] = []
    @Option(
        name: [.customShort("b"), .customLong("source-file")],
        help: ArgumentHelp("Image that --merge takes its bitmap from.", valueName: "FILE"))
    var sourceFile: String?
    @Option(
        name: [.customShort("F"), .customLong("source-format")],
        help: ArgumentHelp("Format of that image.", valueName: "FORMAT"), completion: ImageCompletion.formats)
    var sourceFormat: String?
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the image (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Option(
        name: [.customShort("g"), .customLong("granularity")],
        help: ArgumentHelp("Bytes per bit, with --add.", valueName: "SIZE")) var granularity: String?
    @Argument(help: "The image, then the bitmap's name.") var arguments: [String] = []

    func run() throws {
        let actions = try Self.actions(in: Self.givenArguments)
        guard !actions.isEmpty else {
            throw fail("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge")
        }
        guard sourceFile == nil || !merge.isEmpty else {
            throw fail("Merge bitmap source file only supported with --merge")
        }
        guard sourceFormat == nil || sourceFile != nil else { throw fail("-F only supported with -b") }
        if granularity != nil, !add { throw fail("granularity only supported with --add") }
        guard arguments.count == 2 else { throw fail("Expecting filename and bitmap name") }
        let bytes = try ImageOptions.bytes(granularity, "granularity", least: 1)
        let (filename, name) = (arguments[0], arguments[1])
        let device = try source.open(filename, format: format, readOnly: false, openBacking: false)
        defer { try? device.close() }
        var others: (any BlockDevice)?
        if let sourceFile {
            var plain = source
            plain.imageOpts = false
            others = try plain.open(sourceFile, format: sourceFormat, readOnly: true, openBacking: false)
        }
        for action in actions {
            do {
                try DiskImage.changeBitmap(
                    device, named: name, try Self.change(action, granularity: bytes, others ?? device))
            } catch {
                let verb = action.split(separator: " ")[0]
                throw fail("Operation \(verb) on bitmap \(name) failed: \(error.naming(filename))")
            }
        }
        do {
            try device.close()
        } catch {
            throw fail(error, on: filename)
        }
    }

    private static func change(
        _ action: String, granularity: UInt64?, _ others: any BlockDevice
    ) throws(ImageError) -> QCOW2Image.BitmapAction {
        switch action {
        case "add": return .add(granularity: granularity, disabled: false)
        case "remove": return .remove
        case "clear": return .clear
        case "enable": return .enable
        case "disable": return .disable
        default: return .merge(try DiskImage.bitmapContent(others, named: String(action.dropFirst(6))))
        }
    }

    /// The actions in the order they were given, which counts; of `--merge` with its bitmap.
    private static func actions(in arguments: [String]) throws -> [String] {
        var actions: [String] = []
        var isMerge = false
        for argument in arguments {
            if isMerge {
                actions.append("merge " + argument)
                isMerge = false
            } else if ["--add", "--remove", "--clear", "--enable", "--disable"].contains(argument) {
                actions.append(String(argument.dropFirst(2)))
            } else if argument.hasPrefix("--merge=") {
                actions.append("merge " + argument.dropFirst(8))
            } else if argument == "--merge" {
                isMerge = true
            } else if argument == "--" {
                break
            }
        }
        return actions
    }

    /// What stands on the command line: the parser keeps values, not their order.
    private static var givenArguments: [String] {
        let all = Array(CommandLine.arguments.dropFirst())
        guard QEMUImgLink.isActive, let table = GetoptTable.verbs["bitmap"] else { return all }
        return (try? table.canonical(Array(all.dropFirst()))) ?? all
    }
}
