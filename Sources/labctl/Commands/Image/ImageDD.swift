import ArgumentParser
import Images

struct ImageDD: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dd", abstract: "Copies a part of a disk: if=… of=… [bs=…] [count=…] [skip=…]. Holes are kept.",
        discussion: ImageHelp.discussion(
            "dd -O qcow2 bs=1M count=100 if=disk.raw of=part.qcow2"))

    @OptionGroup var source: ImageSourceOptions
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the input (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Option(
        name: .customShort("O"), help: ArgumentHelp("Format of the output.", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var outputFormat = "raw"
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the input is in use.")
    var forceShare = false
    @Argument(help: "Operands.") var operands: [String] = []

    func run() throws {
        var values: [String: String] = [:]
        for operand in operands {
            let parts = operand.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2, ["if", "of", "bs", "count", "skip"].contains(parts[0]) else {
                throw fail("unrecognized operand \(parts.first ?? operand)")
            }
            values[parts[0]] = parts[1]
        }
        let block = try ImageOptions.bytes(values["bs"], "bs", least: 1, limit: UInt64(Int32.max)) ?? 512
        let count = try ImageOptions.bytes(values["count"], "count")
        let skip = try ImageOptions.bytes(values["skip"], "skip") ?? 0
        guard let input = values["if"], let output = values["of"] else {
            throw fail("Must specify both input and output files")
        }
        guard FormatRegistry.format(named: outputFormat) != nil else {
            throw fail("Unknown file format")
        }
        guard FormatRegistry.format(named: outputFormat)?.capabilities.contains(.create) == true else {
            throw fail("Format driver '\(outputFormat)' does not support image creation")
        }
        let device = try source.open(input, format: format, readOnly: true, forceShare: forceShare)
        let isBeyond = block.multipliedReportingOverflow(by: skip).overflow || block * skip > device.size
        if isBeyond { ImageOutput.error("\(input): cannot skip to specified offset") }
        let start = min(device.size, isBeyond ? device.size : block * skip)
        var length = device.size - start
        if let count, !block.multipliedReportingOverflow(by: count).overflow { length = min(length, block * count) }
        var request = ConvertRequest(
            sources: [DeviceWindow(device, start: start, length: length)], targetPath: output,
            targetFormat: outputFormat)
        request.outOfOrder = false
        request.durability = .whenReplacing
        request.purpose = "error while creating output image"
        do {
            try DiskImage.convert(request)
        } catch {
            throw fail(error, on: input)
        }
    }
}
