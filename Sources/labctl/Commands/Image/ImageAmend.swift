import ArgumentParser
import Images

struct ImageAmend: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "amend", abstract: "Changes options of an existing image.",
        discussion: ImageHelp.discussion(
            "amend -o compat=0.10 disk.qcow2",
            "amend -f qcow2 -o help"))

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("p"), help: "Show progress.") var progress = false
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Flag(help: "Allow changes that can lose data: overwriting or erasing the last key.") var force = false
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the image (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Option(name: .customShort("t"), help: ArgumentHelp("Cache mode.", valueName: "MODE")) var cache: String?
    @Option(name: .customShort("o"), help: ArgumentHelp("Options, name=value,….", valueName: "LIST")) var options:
        [String] = []
    @Argument(help: "The image.") var filenames: [String] = []

    func run() throws {
        guard !options.isEmpty else { throw failUsage("Must specify options (-o)") }
        try ImageOptions.checkLists(options)
        let asksForHelp = ImageOptions.asksForHelp(options)
        if asksForHelp, filenames.isEmpty, let format { return try printHelp(format) }
        guard filenames.count == 1 else { throw fail("Expecting one image file name") }
        let mode = try CacheMode.target(cache)
        let secrets = try source.secrets()
        let device = try source.open(
            filenames[0], format: format, readOnly: false, secrets: secrets, cache: mode)
        defer { try? device.close() }
        if asksForHelp { return try printHelp(device.formatName) }
        let driver = try amendable(device.formatName)
        if let name = options.flatMap(KeyValueList.parse).map(\.key).first(where: { name in
            !driver.amendOptions.contains { $0.name == name } && driver.options.contains { $0.name == name }
        }) {
            ImageOutput.error("Invalid parameter '\(name)'")
            ImageOutput.toStandardError("This option is only supported for image creation\n")
            throw ExitCode(1)
        }
        let bar = ProgressLine(isShown: progress && !quiet)
        do {
            var request = AmendRequest(options: try ImageOptions.values(options, driver.amendOptions))
            request.secrets = secrets
            request.force = force
            bar.begin()
            request.progress = { bar.update($0, of: $1) }
            try DiskImage.amend(device, request)
            try device.close()
        } catch {
            throw fail(error, on: filenames[0])
        }
        bar.update(1, of: 1)
        bar.finish()
    }

    private func amendable(_ format: String) throws -> any ImageFormat {
        guard let driver = FormatRegistry.format(named: format) else { throw fail("Unknown file format '\(format)'") }
        guard !driver.amendOptions.isEmpty else {
            throw fail("Format driver '\(format)' does not support option amendment")
        }
        return driver
    }

    private func printHelp(_ format: String) throws {
        ImageOptions.printTable("Amend options for '\(format)':", try amendable(format).amendOptions)
    }
}
