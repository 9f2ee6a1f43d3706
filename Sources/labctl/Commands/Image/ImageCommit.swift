import ArgumentParser
import Images

struct ImageCommit: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commit", abstract: "Writes what an overlay holds into its backing file.",
        discussion: ImageHelp.discussion(
            "commit overlay.qcow2",
            "commit -b golden.qcow2 -d overlay.qcow2"))

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Flag(name: .customShort("p"), help: "Show progress.") var progress = false
    @Flag(name: .customShort("d"), help: "Do not empty the overlay.") var drop = false
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the image (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Option(name: .customShort("b"), help: ArgumentHelp("Commit down to this layer of the chain.", valueName: "FILE"))
    var base: String?
    @Option(name: .customShort("t"), help: ArgumentHelp("Cache mode of the overlay.", valueName: "MODE")) var cache:
        String?
    @Option(name: .customShort("r"), help: ArgumentHelp("Bytes per second at most.", valueName: "BYTES")) var rateLimit:
        String?
    @Argument(help: "The overlay.") var filenames: [String] = []

    func run() throws {
        let filename = try onlyImage(filenames)
        let mode = try CacheMode.target(cache)
        let rate = try ImageOptions.bytes(rateLimit, "rate limit") ?? 0
        // The base is written while the chain above reads through it, so of the chain only top and base are locked.
        let top = try source.open(filename, format: format, readOnly: false, cache: mode, backingLock: LockMode.none)
        let bar = ProgressLine(isShown: progress && !quiet)
        do {
            defer { try? top.close() }
            bar.begin()
            try DiskImage.commit(
                top, name: try source.parsed(filename), baseName: base, keepTop: drop || base != nil,
                secrets: source.secrets(), rateLimit: rate,
                progress: { bar.update($0, of: $1) })
        } catch let error as ImageError {
            throw fail(
                error.kind == .locked ? "Could not open '\(filename)': \(error.message)" : error.naming(filename))
        }
        bar.finish()
        if !quiet { print("Image committed.") }
    }
}
