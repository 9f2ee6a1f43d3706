import ArgumentParser
import Images

struct ImageMeasure: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "measure", abstract: "Tells how large an image would become.",
        discussion: ImageHelp.discussion(
            "measure -O qcow2 disk.raw",
            "measure -O qcow2 --size 10G"))

    @OptionGroup var source: ImageSourceOptions
    @Option(help: ArgumentHelp("human or json.", valueName: "human|json")) var output: String?
    @Option(
        name: .customShort("O"), help: ArgumentHelp("Format of the image to be.", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var outputFormat = "raw"
    @Option(name: .customShort("o"), help: ArgumentHelp("Its options, name=value,….", valueName: "LIST")) var options:
        [String] = []
    @Option(help: ArgumentHelp("Size of an empty disk to measure.", valueName: "SIZE")) var size: String?
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the source (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Option(name: .customShort("l"), help: ArgumentHelp("Snapshot of the source.", valueName: "SNAPSHOT")) var snapshot:
        String?
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the source is in use.")
    var forceShare = false
    @Argument(help: "The source.") var filenames: [String] = []

    func run() throws {
        let isJSON = try OutputFormat.isJSON(output)
        guard filenames.count <= 1 else { throw fail("At most one filename argument is allowed.") }
        let filename = filenames.first
        if filename == nil, source.imageOpts || format != nil || snapshot != nil {
            throw fail("--image-opts, -f, and -l require a filename argument.")
        }
        if size != nil, filename != nil { throw fail("--size N cannot be used together with a filename.") }
        guard size != nil || filename != nil else {
            throw fail("Either --size N or one filename must be specified.")
        }
        if let snapshot { try SnapshotParameter.check(snapshot) }
        guard FormatRegistry.format(named: outputFormat) != nil else {
            throw fail("Unknown file format '\(outputFormat)'")
        }
        let values: [String: String]
        do {
            values = try ImageOptions.parse(options, format: outputFormat)
        } catch {
            throw fail("Invalid options for file format '\(outputFormat)'")
        }
        let secrets = try source.secrets()
        var bytes: UInt64 = 0
        var device: (any BlockDevice)?
        if let size {
            bytes = try ImageOptions.bytes(size, "image size") ?? 0
        } else if let filename {
            let opened = try source.open(filename, format: format, readOnly: true, forceShare: forceShare)
            do {
                if let snapshot { try DiskImage.loadSnapshot(snapshot, of: opened) }
            } catch {
                throw fail("Failed to load snapshot: \(error.naming(filename))")
            }
            bytes = opened.size
            device = opened
        }
        do {
            let answer = try DiskImage.measure(
                format: outputFormat, options: values, size: bytes, source: device,
                secrets: secrets)
            if isJSON {
                var fields = [
                    InfoField("required", .integer(Int64(clamping: answer.required))),
                    InfoField("fully-allocated", .integer(Int64(clamping: answer.fullyAllocated))),
                ]
                if let bitmaps = answer.bitmaps {
                    fields.append(InfoField("bitmaps", .integer(Int64(clamping: bitmaps))))
                }
                print(QEMUJSON.render(.object(fields)), terminator: "")
            } else {
                print("required size: \(answer.required)\nfully allocated size: \(answer.fullyAllocated)")
                if let bitmaps = answer.bitmaps { print("bitmaps size: \(bitmaps)") }
            }
        } catch {
            throw fail(error, on: filename ?? "")
        }
    }
}
