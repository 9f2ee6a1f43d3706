import ArgumentParser
import Glibc
import Images

struct ImageCreate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Makes an empty image or an overlay.",
        discussion: ImageHelp.discussion(
            "create -f qcow2 disk.qcow2 10G",
            "create -f qcow2 -b golden.qcow2 -F qcow2 overlay.qcow2",
            "create -f qcow2 -o cluster_size=2M,preallocation=metadata disk.qcow2 10G"))

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the new image.", valueName: "FORMAT"),
        completion: ImageCompletion.formats) var format =
        "raw"
    @Option(
        name: .customShort("b"),
        help: ArgumentHelp("Backing file: the new image holds only what differs.", valueName: "FILE")) var backingFile:
        String?
    @Option(
        name: .customShort("F"), help: ArgumentHelp("Format of the backing file.", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var backingFormat: String?
    @Flag(name: .customShort("u"), help: "Do not open the backing file.") var unsafeBacking = false
    @Flag(name: .customShort("e"), help: "Encrypt (AES).") var encrypt = false
    @Flag(name: .customShort("6"), help: "VMware compatibility level 6.") var compat6 = false
    @Option(
        name: .customShort("o"), help: ArgumentHelp("Format options, name=value,…; help lists them.", valueName: "LIST")
    ) var options: [String] = []
    @Argument(help: "The new image.") var filename: String?
    @Argument(help: "Virtual size, with k, M, G, T, P or E.") var size: String?
    @Argument(help: .hidden) var surplus: String?

    func run() throws {
        try ImageOptions.checkLists(options)
        if ImageOptions.asksForHelp(options) { return try ImageOptions.printHelp(format, filename: filename) }
        guard let filename else { throw failUsage("Expecting image file name") }
        if let surplus { throw failUsage("Unexpected argument: \(surplus)") }
        var bytes = try ImageOptions.bytes(size, "image size")
        let secrets = try source.secrets()
        guard let driver = FormatRegistry.format(named: format) else {
            throw fail("\(filename): Unknown file format '\(format)'")
        }
        guard driver.capabilities.contains(.create) else {
            throw fail("\(filename): Format driver '\(format)' does not support image creation")
        }
        var values = try ImageOptions.parse(options, format: format, filename: filename)
        if encrypt { values["encryption"] = "on" }
        if compat6 { values["compat6"] = "on" }
        func refuse(_ message: String) -> ExitCode { fail("\(filename): \(message)") }
        if let text = values.removeValue(forKey: "size") {
            guard bytes == nil else { throw refuse("The image size must be specified only once") }
            bytes = ByteCount.parse(text)
        }
        let hasBacking = driver.capabilities.contains(.backing)
        if backingFile != nil, !hasBacking { throw refuse("Backing file not supported for file format '\(format)'") }
        if backingFormat != nil, !hasBacking {
            throw refuse("Backing file format not supported for file format '\(format)'")
        }
        let file = backingFile ?? values.removeValue(forKey: "backing_file")
        values["backing_file"] = nil
        let recorded = backingFormat ?? values.removeValue(forKey: "backing_fmt")
        values["backing_fmt"] = nil
        do throws(ImageError) {
            var request = CreateRequest(path: filename, size: 0, options: values)
            try DiskImage.prepareBacking(
                &request, file: file, format: recorded, size: bytes, opensBacking: !unsafeBacking,
                warn: ImageOutput.warn)
            request.secrets = secrets
            request.warn = { ImageOutput.warn($0) }
            if !quiet {
                var shown = request
                if file == nil { shown.backing = recorded.map { BackingReference(file: "", format: $0) } }
                print(ImageOptions.formattingLine(driver, shown))
            }
            if file == nil, recorded != nil {
                throw ImageError(.invalidArgument, "Backing format cannot be used without backing file")
            }
            request.size = driver.roundedSize(request.size, options: request)
            try DiskImage.create(request, format: format)
        } catch {
            throw refuse(error.naming(filename))
        }
    }
}
