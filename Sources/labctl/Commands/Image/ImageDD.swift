import ArgumentParser
import Images

struct ImageDD: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dd", abstract: "Copies a part of a disk: if=… of=… [bs=…] [count=…] [skip=…]. Holes are kept.")

    @OptionGroup var source: ImageSourceOptions
    @Option(name: .customShort("f"), help: "Format of the input (default: recognised).") var format: String?
    @Option(name: .customShort("O"), help: "Format of the output.") var outputFormat = "raw"
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
        func number(_ name: String, atLeast least: UInt64, upTo limit: UInt64) throws -> UInt64? {
            guard let text = values[name] else { return nil }
            guard let value = ByteCount.parse(text), value >= least, value <= limit else {
                throw fail("Invalid \(name) specified. Must be between \(least) and \(limit).")
            }
            return value
        }
        let block = try number("bs", atLeast: 1, upTo: 2_147_483_647) ?? 512
        let count = try number("count", atLeast: 0, upTo: UInt64(Int64.max))
        let skip = try number("skip", atLeast: 0, upTo: UInt64(Int64.max)) ?? 0
        guard let input = values["if"], let output = values["of"] else {
            throw fail("Must specify both input and output files")
        }
        guard FormatRegistry.format(named: outputFormat) != nil else {
            throw fail("Unknown file format '\(outputFormat)'")
        }
        let device = try source.open(input, format: format, readOnly: true, forceShare: forceShare)
        let start = min(device.size, block.multipliedReportingOverflow(by: skip).overflow ? device.size : block * skip)
        var length = device.size - start
        if let count, !block.multipliedReportingOverflow(by: count).overflow { length = min(length, block * count) }
        var request = ConvertRequest(
            sources: [DeviceWindow(device, start: start, length: length)], targetPath: output,
            targetFormat: outputFormat)
        request.outOfOrder = false
        request.durability = .whenReplacing
        do {
            try DiskImage.convert(request)
        } catch {
            throw fail(error.message)
        }
    }
}
