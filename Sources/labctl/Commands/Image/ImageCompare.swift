import ArgumentParser
import Images

struct ImageCompare: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Tells whether two disks hold the same (exit code 0 yes, 1 no, above: error).",
        discussion: ImageHelp.discussion(
            "compare -f raw -F qcow2 disk.raw disk.qcow2"))

    @OptionGroup var source: ImageSourceOptions
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the first image.", valueName: "FORMAT"),
        completion: ImageCompletion.formats) var format: String?
    @Option(
        name: .customShort("F"), help: ArgumentHelp("Format of the second image.", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var secondFormat: String?
    @Option(name: .customShort("T"), help: ArgumentHelp("Cache mode (accepted, no effect).", valueName: "MODE"))
    var cache: String?
    @Flag(name: .customShort("p"), help: "Show progress.") var progress = false
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Flag(name: .customShort("s"), help: "Sizes and allocation must agree too.") var strict = false
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although an image is in use.")
    var forceShare = false
    @Argument(help: "Two images.") var filenames: [String] = []

    func run() throws {
        guard filenames.count == 2 else {
            throw failUsage("Expecting two image file names")
        }
        do {
            try CacheMode.source(cache)
        } catch {
            throw ExitCode(2)
        }
        let first: any BlockDevice
        let second: any BlockDevice
        do {
            first = try source.open(filenames[0], format: format, readOnly: true, forceShare: forceShare)
            second = try source.open(filenames[1], format: secondFormat, readOnly: true, forceShare: forceShare)
        } catch is ExitCode {
            throw ExitCode(2)
        }
        let bar = ProgressLine(isShown: progress && !quiet)
        bar.begin()
        let result: ComparisonResult
        do {
            result = try DiskImage.compare(
                first, second, strict: strict, progress: { bar.update($0, of: $1) })
        } catch {
            throw fail("Error while reading: \(error.naming(filenames[0]))", code: 4)
        }
        defer { bar.finish() }
        func say(_ text: String) { if !quiet { print(text) } }
        switch result {
        case .identical: say("Images are identical.")
        case .identicalButSizes: say("Warning: Image size mismatch!\nImages are identical.")
        case .contentDiffers(let offset):
            if offset >= min(first.size, second.size) { say("Warning: Image size mismatch!") }
            say("Content mismatch at offset \(offset)!")
            throw ExitCode(1)
        case .sizeDiffers:
            say("Strict mode: Image size mismatch!")
            throw ExitCode(1)
        case .allocationDiffers(let offset):
            say("Strict mode: Offset \(offset) block status mismatch!")
            throw ExitCode(1)
        }
    }
}
