import ArgumentParser
import Glibc
import Images

struct ImageCreate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Makes an empty image or an overlay.")

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Option(name: .customShort("f"), help: "Format of the new image.") var format = "raw"
    @Option(name: .customShort("b"), help: "Backing file: the new image holds only what differs.") var backingFile:
        String?
    @Option(name: .customShort("F"), help: "Format of the backing file.") var backingFormat: String?
    @Flag(name: .customShort("u"), help: "Do not open the backing file.") var unsafeBacking = false
    @Flag(name: .customShort("e"), help: "Encrypt (AES).") var encrypt = false
    @Flag(name: .customShort("6"), help: "VMware compatibility level 6.") var compat6 = false
    @Option(name: .customShort("o"), help: "Format options, name=value,…; help lists them.") var options: [String] = []
    @Argument(help: "The new image.") var filename: String?
    @Argument(help: "Virtual size, with k, M, G, T, P or E.") var size: String?

    func run() throws {
        if ImageOptions.asksForHelp(options) { return try ImageOptions.printHelp(format) }
        guard let filename else { throw failUsage("Expecting image file name") }
        var bytes: UInt64?
        if let size {
            guard let parsed = ByteCount.parse(size), parsed <= UInt64(Int64.max) else { throw ImageOptions.badSize() }
            bytes = parsed
        }
        var values = try ImageOptions.parse(options, format: format, filename: filename)
        if encrypt { values["encryption"] = "on" }
        if compat6 { values["compat6"] = "on" }
        do throws(ImageError) {
            let driver = try FormatRegistry.require(format)
            if let text = values.removeValue(forKey: "size"), bytes == nil {
                guard let parsed = ByteCount.parse(text) else {
                    throw ImageError(.invalidArgument, ImageOptions.badSizeParameter("size"))
                }
                bytes = parsed
            }
            let file = backingFile ?? values.removeValue(forKey: "backing_file")
            values["backing_file"] = nil
            let recorded = backingFormat ?? values.removeValue(forKey: "backing_fmt")
            values["backing_fmt"] = nil
            var request = CreateRequest(path: filename, size: 0, options: values)
            if file != nil, !driver.capabilities.contains(.backing) {
                throw ImageError(.invalidArgument, "Backing file not supported for file format '\(format)'")
            }
            try DiskImage.prepareBacking(
                &request, file: file, format: recorded, size: bytes, opensBacking: !unsafeBacking,
                warn: { ImageOutput.toStandardError("\(ImageOutput.program): warning: \($0)\n") })
            request.secrets = (try? source.secrets()) ?? [:]
            request.size = driver.roundedSize(request.size, options: request)
            if !quiet { print(ImageOptions.formattingLine(driver, request)) }
            try DiskImage.create(request, format: format)
        } catch {
            throw fail("\(filename): \(error.message)")
        }
    }
}
