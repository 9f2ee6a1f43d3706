import ArgumentParser
import Glibc
import Images
import Orchestrator

struct ImageConvert: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert", abstract: "Copies images into a new image of any format.",
        discussion: ImageHelp.discussion(
            "convert -p -O qcow2 disk.vmdk disk.qcow2",
            "convert -c -O qcow2 -o compression_type=zstd disk.raw small.qcow2",
            "convert -O raw appliance.ova#2 second.raw"))

    @OptionGroup var source: ImageSourceOptions
    @Option(
        name: .customShort("f"),
        help: ArgumentHelp("Format of the sources (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats
    ) var format: String?
    @Option(
        name: .customShort("O"), help: ArgumentHelp("Format of the target (raw).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var outputFormat: String?
    @Option(
        name: .customShort("o"),
        help: ArgumentHelp("Options of the target, name=value,…; help lists them.", valueName: "LIST")) var options:
        [String] = []
    @Option(name: .customShort("B"), help: ArgumentHelp("Backing file of the target.", valueName: "FILE"))
    var backingFile: String?
    @Option(
        name: .customShort("F"), help: ArgumentHelp("Format of that backing file.", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var backingFormat: String?
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
    @Option(name: .customShort("m"), help: ArgumentHelp("Parallel work, 1 to 16 (8).", valueName: "N")) var workersText:
        String?
    @Option(
        name: .customShort("S"),
        help: ArgumentHelp("Runs of this many zeros become holes (default 4k, 0: none).", valueName: "SIZE"))
    var sparse: String?
    @Option(
        name: .customShort("l"),
        help: ArgumentHelp("Snapshot to read: name, id, or snapshot.id=…,snapshot.name=….", valueName: "SNAPSHOT"))
    var snapshot: String?
    @Option(
        name: .customShort("t"),
        help: ArgumentHelp("Cache mode of the target; default: wait only where a file is replaced.", valueName: "MODE"))
    var cache: String?
    @Option(
        name: .customShort("T"),
        help: ArgumentHelp("Cache mode of the sources (accepted, no effect).", valueName: "MODE")) var sourceCache:
        String?
    @Option(name: .customShort("r"), help: ArgumentHelp("Bytes per second at most.", valueName: "BYTES")) var rateLimit:
        String?
    @Flag(help: "Replace unreadable parts by zeros.") var salvage = false
    @Flag(help: "Copy the source's persistent bitmaps too.") var bitmaps = false
    @Flag(help: "With --bitmaps: leave out those that cannot be used.") var skipBrokenBitmaps = false
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the sources are in use.")
    var forceShare = false
    @Argument(help: "Sources, then the target.") var filenames: [String] = []

    func run() throws {
        try ImageOptions.checkLists(options)
        guard let workers = UInt64(workersText ?? "8"), (1...16).contains(workers) else {
            throw fail("Invalid number of coroutines. Allowed number of coroutines is between 1 and 16")
        }
        let sparseBytes = try sparse.map(Self.sparseBytes)
        let rate = try ImageOptions.bytes(rateLimit, "rate limit") ?? 0
        try checkFlags()
        let target = filenames.last ?? ""
        if ImageOptions.asksForHelp(options) {
            return try ImageOptions.printHelp(outputFormat ?? "raw", filename: filenames.isEmpty ? nil : target)
        }
        guard filenames.count >= 2 else { throw fail("Must specify image file name") }
        try CacheMode.source(sourceCache)
        let secrets = try source.secrets()
        let sources = try openSources(secrets)
        var request = ConvertRequest(sources: sources, targetPath: target, targetFormat: outputFormat ?? "raw")
        let mode = cache == nil ? CacheMode.writeback : try CacheMode.target(cache)
        if targetImageOpts {
            let parsed = try ImageOptionString(parsing: target).name
            guard !parsed.isPart, !parsed.isReadOnly else {
                throw fail("Could not open '\(target)': a part of a file, or read-only=on, cannot be written")
            }
            request.targetPath = parsed.path
            request.targetFormat = try parsed.format ?? Self.recognised(parsed.path, target)
            request.targetName = parsed
        }
        guard let driver = FormatRegistry.format(named: request.targetFormat) else {
            throw fail("Unknown file format '\(request.targetFormat)'")
        }
        guard skipCreate || driver.capabilities.contains(.create) else {
            throw fail("Format driver '\(driver.name)' does not support image creation")
        }
        var values = skipCreate ? [:] : try ImageOptions.parse(options, format: driver.name)
        if encrypt { values["encryption"] = "on" }
        if compat6 { values["compat6"] = "on" }
        try settleBacking(&values, &request, driver)
        if compress { try checkCompression(driver, values) }
        try prepareBitmaps(&request)
        request.options = values
        request.secrets = secrets
        request.warn = { ImageOutput.warn($0) }
        request.isCompressed = compress
        request.usesExistingTarget = skipCreate
        request.targetIsZero = targetIsZero
        request.outOfOrder = outOfOrder
        request.workers = Int(workers)
        request.salvage = salvage
        request.didLose = { offset, count, reason in
            ImageOutput.warn("error while reading offset \(offset): \(reason.message); \(count) bytes became zeros")
        }
        request.copyOffload = copyOffload
        request.durability = cache == nil ? .whenReplacing : mode == .unsafe ? .never : .always
        if let sparseBytes { request.sparseBytes = sparseBytes }
        request.rateLimit = rate
        let bar = ProgressLine(isShown: progress && !quiet)
        bar.begin()
        request.progress = { bar.update($0, of: $1) }
        let interruption = try StopSignal(signals: [SIGINT, SIGTERM, SIGHUP])
        request.isCancelled = { interruption.isRequested }
        do {
            try DiskImage.convert(request)
            bar.finish()
        } catch {
            bar.finish()
            if interruption.isRequested { throw fail("interrupted; no target was written", code: 130) }
            throw fail(error, on: target)
        }
        for device in sources { try? device.close() }
    }

    /// The format of an existing target that was not named: raw bytes written into an image would be its end.
    private static func recognised(_ path: String, _ name: String) throws -> String {
        do {
            return try DiskImage.probe(path)
        } catch {
            throw fail("Could not open '\(name)': \(error.message)")
        }
    }

    /// Flags that exclude or need one another.
    private func checkFlags() throws {
        if copyOffload, compress { throw fail("Cannot enable copy offloading when -c is used") }
        if copyOffload, sparse != nil { throw fail("Cannot enable copy offloading when -S is used") }
        if copyOffload, salvage { throw fail("Cannot use copy offloading in salvaging mode") }
        if targetImageOpts, !skipCreate { throw fail("--target-image-opts requires use of -n flag") }
        if skipBrokenBitmaps, !bitmaps { throw fail("Use of --skip-broken-bitmaps requires --bitmaps") }
        if skipCreate, !options.isEmpty { throw fail("-o has no effect when skipping image creation") }
        if targetIsZero, !skipCreate { throw fail("--target-is-zero requires use of -n flag") }
        if targetIsZero, backingFile != nil {
            throw fail("Cannot use --target-is-zero when the destination image has a backing file")
        }
        if targetImageOpts, outputFormat != nil { throw fail("--image-opts and --format are mutually exclusive") }
    }

    private static func sparseBytes(_ text: String) throws -> Int {
        guard let bytes = ByteCount.parse(text) else {
            throw ImageOptions.badNumber("buffer size for sparse output", text)
        }
        guard bytes % 512 == 0, bytes <= 16 << 20 else {
            throw fail(
                "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. Select "
                    + "0 to disable sparse detection (fully allocates output).")
        }
        return Int(bytes)
    }

    private func openSources(_ secrets: [String: [UInt8]]) throws -> [any BlockDevice] {
        var sources: [any BlockDevice] = []
        for name in filenames.dropLast() {
            sources.append(
                try source.open(name, format: format, readOnly: true, forceShare: forceShare, secrets: secrets))
        }
        guard let snapshot else { return sources }
        try SnapshotParameter.check(snapshot)
        guard sources.count == 1 else { throw fail("No support for concatenating multiple snapshot") }
        do {
            try DiskImage.loadSnapshot(snapshot, of: sources[0])
        } catch {
            throw fail("Failed to load snapshot: \(error.naming(sources[0].path))")
        }
        return sources
    }

    /// `-B`, or `-o backing_file`, and the format to record with it.
    private func settleBacking(
        _ values: inout [String: String], _ request: inout ConvertRequest, _ driver: any ImageFormat
    ) throws {
        let optionFile = values.removeValue(forKey: "backing_file")
        let optionFormat = values.removeValue(forKey: "backing_fmt")
        guard let file = backingFile ?? optionFile else {
            if backingFormat ?? optionFormat != nil {
                throw fail(
                    "\(request.targetPath): error while converting \(driver.name): Backing format cannot be used without "
                        + "backing file")
            }
            return
        }
        guard driver.capabilities.contains(.backing) else {
            throw fail("Backing file not supported for file format '\(driver.name)'")
        }
        guard request.sources.count == 1 else {
            throw fail(
                "Having a backing file for the target makes no sense when concatenating multiple input images")
        }
        let recorded = backingFormat ?? optionFormat
        if let recorded, FormatRegistry.format(named: recorded) == nil {
            throw fail(
                "\(request.targetPath): error while converting \(driver.name): Parameter 'backing-fmt' does not accept value "
                    + "'\(recorded)'")
        }
        do {
            request.backing = try DiskImage.backingReference(
                file, format: recorded, from: request.targetPath, opens: true,
                warn: ImageOutput.warn)
        } catch {
            throw fail(error.message)
        }
    }

    private func checkCompression(_ driver: any ImageFormat, _ values: [String: String]) throws {
        guard driver.capabilities.contains(.compress) else {
            throw fail("Compression not supported for this file format")
        }
        if values["encryption"] == "on" || values["encrypt.format"] != nil {
            throw fail("Compression and encryption not supported at the same time")
        }
        if values["preallocation"] ?? "off" != "off" {
            throw fail("Compression and preallocation not supported at the same time")
        }
    }

    /// `--bitmaps`: which of the source's bitmaps the target gets.
    private func prepareBitmaps(_ request: inout ConvertRequest) throws {
        guard bitmaps else { return }
        guard request.sources.count == 1 else { throw fail("Copying bitmaps only possible with single source") }
        do {
            let found = try DiskImage.bitmapsToCopy(request.sources[0], skipBroken: skipBrokenBitmaps)
            request.bitmaps = found.usable
            for name in found.skipped {
                ImageOutput.warn("Skipping inconsistent bitmap '\(name)'")
            }
        } catch {
            let parts = error.message.split(separator: "\n", maxSplits: 1)
            ImageOutput.error(String(parts.first ?? ""))
            if parts.count > 1 { ImageOutput.toStandardError("\(parts[1])\n") }
            throw ExitCode(1)
        }
    }
}
