import ArgumentParser
import Glibc
import Images
import Synchronization

struct ImageConvert: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert", abstract: "Copies images into a new image of any format.")

    @OptionGroup var source: ImageSourceOptions
    @Option(name: .customShort("f"), help: "Format of the sources (default: recognised).") var format: String?
    @Option(name: .customShort("O"), help: "Format of the target.") var outputFormat = "raw"
    @Option(name: .customShort("o"), help: "Options of the target, name=value,…; help lists them.") var options:
        [String] = []
    @Option(name: .customShort("B"), help: "Backing file of the target.") var backingFile: String?
    @Option(name: .customShort("F"), help: "Format of that backing file.") var backingFormat: String?
    @Flag(name: .customShort("c"), help: "Compress.") var compress = false
    @Flag(name: .customShort("e"), help: "Encrypt (AES).") var encrypt = false
    @Flag(name: .customShort("6"), help: "VMware compatibility level 6.") var compat6 = false
    @Flag(name: .customShort("p"), help: "Show progress.") var progress = false
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Flag(name: .customShort("n"), help: "Write into an existing target.") var skipCreate = false
    @Flag(name: .customLong("target-is-zero"), help: "With -n: the target reads as zeros.") var targetIsZero = false
    @Flag(name: .customLong("target-image-opts"), help: "The target is an option string.") var targetImageOpts = false
    @Flag(name: .customShort("W"), help: "Write clusters in any order.") var outOfOrder = false
    @Flag(name: .customShort("C"), help: "Use copy offload where possible.") var copyOffload = false
    @Option(name: .customShort("m"), help: "Parallel work, 1 to 16.") var workers = 8
    @Option(name: .customShort("S"), help: "Runs of this many zeros become holes (default 4k, 0: none).") var sparse:
        String?
    @Option(name: .customShort("l"), help: "Snapshot to read: name, id, or snapshot.id=…,snapshot.name=….")
    var snapshot: String?
    @Option(name: .customShort("t"), help: "Cache mode of the target (default: wait only where an old file is replaced).")
    var cache: String?
    @Option(name: .customShort("T"), help: "Cache mode of the sources (accepted, no effect).") var sourceCache: String?
    @Option(name: .customShort("r"), help: "Bytes per second at most.") var rateLimit: String?
    @Flag(help: "Replace unreadable parts by zeros.") var salvage = false
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the sources are in use.")
    var forceShare = false
    @Argument(help: "Sources, then the target.") var filenames: [String] = []

    func run() throws {
        if ImageOptions.asksForHelp(options) { return try ImageOptions.printHelp(outputFormat) }
        guard (1...16).contains(workers) else {
            throw fail("Invalid number of coroutines. Allowed number of coroutines is between 1 and 16")
        }
        guard filenames.count >= 2, let target = filenames.last else { throw fail("Must specify image file name") }
        guard FormatRegistry.format(named: outputFormat) != nil else {
            throw fail("Unknown file format '\(outputFormat)'")
        }
        var sparseBytes: Int?
        if let sparse {
            guard let bytes = ByteCount.parse(sparse), bytes <= 1 << 30, bytes % 512 == 0 else {
                ImageOutput.error(
                    "Invalid buffer size for sparse output specified. You may use k, M, G, T, P or E suffixes for")
                throw fail("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.")
            }
            sparseBytes = Int(bytes)
        }
        if targetIsZero, !skipCreate { throw fail("--target-is-zero requires use of -n flag") }
        var values = try ImageOptions.parse(options, format: outputFormat)
        if encrypt { values["encryption"] = "on" }
        if compat6 { values["compat6"] = "on" }
        if skipCreate, !values.isEmpty {
            ImageOutput.toStandardError(
                "\(ImageOutput.program): warning: -o has no effect when skipping image creation\n")
        }
        let secrets = try source.secrets()
        var sources: [any BlockDevice] = []
        for name in filenames.dropLast() {
            sources.append(
                try source.open(name, format: format, readOnly: true, forceShare: forceShare, secrets: secrets))
        }
        if let snapshot {
            guard sources.count == 1 else { throw fail("No support for concatenating multiple snapshot") }
            do {
                try DiskImage.loadSnapshot(snapshot, of: sources[0])
            } catch {
                throw fail("Failed to load snapshot: \(error.message)")
            }
        }
        var request = ConvertRequest(sources: sources, targetPath: target, targetFormat: outputFormat)
        if targetImageOpts {
            let parsed = try ImageOptionString(parsing: target)
            request.targetPath = parsed.path
            request.targetFormat = parsed.driver ?? outputFormat
            request.targetKeySecret = parsed.keySecret
        }
        if let file = backingFile ?? values.removeValue(forKey: "backing_file") {
            guard let recorded = backingFormat ?? values.removeValue(forKey: "backing_fmt") else {
                throw fail("Use of backing file requires explicit backing format")
            }
            request.backing = BackingReference(file: file, format: recorded)
        }
        request.options = values
        request.secrets = secrets
        request.isCompressed = compress
        request.usesExistingTarget = skipCreate
        request.targetIsZero = targetIsZero
        request.outOfOrder = outOfOrder
        request.workers = workers
        request.salvage = salvage
        request.copyOffload = copyOffload
        request.durability = cache == nil ? .whenReplacing : cache == "unsafe" ? .never : .always
        if let sparseBytes { request.sparseBytes = sparseBytes }
        if let rateLimit {
            guard let rate = ByteCount.parse(rateLimit) else {
                throw fail("Invalid rate limit specified: \(rateLimit)")
            }
            request.rateLimit = rate
        }
        let bar = progress && !quiet ? ProgressLine() : nil
        if let bar { request.progress = { bar.update($0, of: $1) } }
        ConvertInterruption.watch()
        request.isCancelled = { ConvertInterruption.happened }
        do {
            try DiskImage.convert(request)
            bar?.finish()
        } catch {
            bar?.finish()
            if ConvertInterruption.happened { throw fail("interrupted; no target was written", code: 130) }
            throw fail(error.message)
        }
        for device in sources { try? device.close() }
    }
}

/// Notices Ctrl-C, so that half-made results are removed before the program ends. A second one ends it at once.
enum ConvertInterruption {
    fileprivate static let flag = Atomic<Bool>(false)
    static var happened: Bool { flag.load(ordering: .relaxed) }

    static func watch() {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number) { number in
                if ConvertInterruption.flag.exchange(true, ordering: .relaxed) { _exit(128 + number) }
            }
        }
    }
}
