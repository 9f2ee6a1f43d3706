import ArgumentParser
import Images

struct ImageCommit: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commit", abstract: "Writes what an overlay holds into its backing file.")

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Flag(name: .customShort("p"), help: "Show progress.") var progress = false
    @Flag(name: .customShort("d"), help: "Do not empty the overlay.") var drop = false
    @Option(name: .customShort("f"), help: "Format of the image (default: recognised).") var format: String?
    @Option(name: .customShort("b"), help: "Commit down to this layer of the chain.") var base: String?
    @Option(name: .customShort("t"), help: "Cache mode (accepted, the result is always synced).") var cache: String?
    @Option(name: .customShort("r"), help: "Bytes per second at most (accepted, no effect).") var rateLimit: String?
    @Argument(help: "The overlay.") var filename: String?

    func run() throws {
        guard let filename else { throw failUsage("Expecting one image file name") }
        let bar = progress && !quiet ? ProgressLine() : nil
        do {
            try DiskImage.commit(
                filename, format: format, baseName: base, keepTop: drop || base != nil, secrets: source.secrets(),
                progress: bar.map { bar in { bar.update($0, of: $1) } })
        } catch let error as ImageError {
            throw fail(
                error.kind == .notFound || error.kind == .locked
                    ? "Could not open '\(filename)': \(error.message)" : error.message)
        }
        bar?.finish()
        if !quiet { print("Image committed.") }
    }
}
