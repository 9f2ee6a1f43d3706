import ArgumentParser
import Images

struct ImageAmend: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "amend", abstract: "Changes options of an existing image.")

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("p"), help: "Show progress.") var progress = false
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Flag(help: "Allow changes that can lose data (accepted, none are made).") var force = false
    @Option(name: .customShort("f"), help: "Format of the image (default: recognised).") var format: String?
    @Option(name: .customShort("t"), help: "Cache mode (accepted, the result is always synced).") var cache: String?
    @Option(name: .customShort("o"), help: "Options, name=value,….") var options: [String] = []
    @Argument(help: "The image.") var filename: String?

    func run() throws {
        guard !options.isEmpty else { throw failUsage("Must specify options (-o)") }
        guard let filename else { throw failUsage("Expecting one image file name") }
        let device = try source.open(filename, format: format, readOnly: false)
        let values = try ImageOptions.parse(options, format: device.formatName)
        for name in values.keys.sorted() where !DiskImage.amendableOptions.contains(name) {
            throw fail("Invalid parameter '\(name)'\nThis option is only supported for image creation")
        }
        let bar = progress && !quiet ? ProgressLine() : nil
        do {
            try DiskImage.amend(device, values)
            try device.close()
        } catch {
            throw fail(error.message)
        }
        bar?.update(1, of: 1)
        bar?.finish()
    }
}
