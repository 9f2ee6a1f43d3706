import ArgumentParser
import Images

struct ImageRebase: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebase", abstract: "Gives an overlay another backing file.")

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Flag(name: .customShort("p"), help: "Show progress.") var progress = false
    @Flag(name: .customShort("u"), help: "Unsafe: only change the name, whatever the new file holds.") var unsafeMode =
        false
    @Option(name: .customShort("f"), help: "Format of the image (default: recognised).") var format: String?
    @Option(name: .customShort("b"), help: "New backing file; empty for none.") var backingFile: String?
    @Option(name: .customShort("F"), help: "Format of the new backing file.") var backingFormat: String?
    @Option(name: .customShort("t"), help: "Cache mode (accepted, the result is always synced).") var cache: String?
    @Option(name: .customShort("T"), help: "Cache mode of the sources (accepted, no effect).") var sourceCache: String?
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the image is in use.")
    var forceShare = false
    @Argument(help: "The overlay.") var filename: String?

    func run() throws {
        guard let filename else { throw failUsage("Expecting one image file name") }
        guard backingFile != nil || unsafeMode else {
            throw failUsage("Must specify backing file (-b) or use unsafe mode (-u)")
        }
        let bar = progress && !quiet ? ProgressLine() : nil
        var reference: BackingReference?
        if let backingFile, !backingFile.isEmpty {
            reference = BackingReference(file: backingFile, format: backingFormat)
        }
        do {
            try DiskImage.rebase(
                filename, format: format, to: reference, unsafe: unsafeMode, secrets: source.secrets(),
                progress: bar.map { bar in { bar.update($0, of: $1) } })
        } catch let error as ImageError {
            let isOwn = error.message.hasPrefix("Could not open new") || error.message.hasPrefix("Could not change")
            throw fail(isOwn ? error.message : "Could not open '\(filename)': \(error.message)")
        }
        bar?.finish()
    }
}
