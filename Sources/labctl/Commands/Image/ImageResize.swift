import ArgumentParser
import Images

struct ImageResize: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resize", abstract: "Changes the size of a disk: a size, +size or -size.",
        discussion: ImageHelp.discussion(
            "resize disk.qcow2 +5G",
            "resize --shrink -f raw disk.raw 2G"))

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Flag(help: "Allow the disk to become smaller.") var shrink = false
    @Option(help: ArgumentHelp("off, metadata, falloc or full.", valueName: "MODE")) var preallocation: String?
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the image (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Argument(parsing: .allUnrecognized, help: "The image, then the size.") var arguments: [String] = []

    func run() throws {
        let operands = arguments.filter { $0 != "--" }
        guard operands.count == 2 else {
            throw failUsage(operands.count < 2 ? "Not enough arguments" : "Expecting image file name and size")
        }
        let (filename, text) = (operands[0], operands[1])
        var mode = Preallocation.off
        if let preallocation {
            guard let parsed = Preallocation(rawValue: preallocation) else {
                throw fail("Invalid preallocation mode '\(preallocation)'")
            }
            mode = parsed
        }
        let sign = text.first.flatMap { $0 == "+" || $0 == "-" ? $0 : nil }
        guard let amount = ByteCount.parse(sign == nil ? text : String(text.dropFirst())) else {
            let number = sign == nil ? text : String(text.dropFirst())
            throw fail(
                ByteCount.isTooLarge(number)
                    ? "Value '\(number)' is out of range for parameter 'size'" : ImageOptions.badSizeParameter("size"))
        }
        let device = try source.open(filename, format: format, readOnly: false)
        defer { try? device.close() }
        let (size, isOutside) =
            switch sign {
            case "+": device.size.addingReportingOverflow(amount)
            case "-": device.size.subtractingReportingOverflow(amount)
            default: (amount, false)
            }
        guard !isOutside, size > 0, size <= UInt64(Int64.max) else { throw fail("New image size must be positive") }
        if size < device.size, !shrink {
            ImageOutput.error("Use the --shrink option to perform a shrink operation.")
            throw fail(
                "warning: Shrinking an image will delete all data beyond the shrunken image's end. "
                    + "Before performing such an operation, make sure there is no important data there.")
        }
        if size <= device.size, mode != .off { throw fail("Preallocation can only be used for growing images") }
        do {
            try device.resize(to: size, preallocation: mode)
            try device.close()
        } catch {
            throw fail(error, on: filename)
        }
        if !quiet { print("Image resized.") }
    }
}
