import ArgumentParser
import Images

struct ImageRebase: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebase", abstract: "Gives an overlay another backing file.",
        discussion: ImageHelp.discussion(
            "rebase -b new.qcow2 -F qcow2 overlay.qcow2",
            "rebase -b \"\" overlay.qcow2"))

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Flag(name: .customShort("p"), help: "Show progress.") var progress = false
    @Flag(name: .customShort("u"), help: "Unsafe: only change the name, whatever the new file holds.") var unsafeMode =
        false
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the image (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Option(name: .customShort("b"), help: ArgumentHelp("New backing file; empty for none.", valueName: "FILE"))
    var backingFile: String?
    @Option(
        name: .customShort("F"), help: ArgumentHelp("Format of the new backing file.", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var backingFormat: String?
    @Option(
        name: .customShort("t"),
        help: ArgumentHelp("Cache mode (accepted, the result is always synced).", valueName: "MODE")) var cache: String?
    @Option(
        name: .customShort("T"),
        help: ArgumentHelp("Cache mode of the sources (accepted, no effect).", valueName: "MODE")) var sourceCache:
        String?
    @Flag(
        name: [.customShort("U"), .customLong("force-share")],
        help: "Accepted; the image is written and so cannot be shared.")
    var forceShare = false
    @Argument(help: "The overlay.") var filenames: [String] = []

    func run() throws {
        let filename = try onlyImage(filenames)
        guard backingFile != nil || unsafeMode else {
            throw failUsage("Must specify backing file (-b) or use unsafe mode (-u)")
        }
        let mode = try CacheMode.target(cache)
        try CacheMode.source(sourceCache)
        let secrets = try source.secrets()
        let image = try source.open(
            filename, format: format, readOnly: false, openBacking: !unsafeMode,
            secrets: secrets, cache: mode)
        defer { try? image.close() }
        if let backingFormat, FormatRegistry.format(named: backingFormat) == nil {
            throw fail("Invalid format name: '\(backingFormat)'")
        }
        var reference: BackingReference?
        do {
            if let backingFile, !backingFile.isEmpty {
                reference = try DiskImage.backingReference(
                    backingFile, format: backingFormat, from: image.path, opens: !unsafeMode,
                    warn: ImageOutput.warn)
            }
            let bar = ProgressLine(isShown: progress && !quiet)
            bar.begin()
            try DiskImage.rebase(
                image, to: reference, unsafe: unsafeMode, secrets: secrets,
                progress: { bar.update($0, of: $1) })
            try image.close()
            bar.update(1, of: 1)
            bar.finish()
        } catch {
            throw fail(error, on: filename)
        }
    }
}
