import ArgumentParser
import Images

struct ImageBitmap: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bitmap", abstract: "Adds, removes and changes persistent dirty bitmaps of a qcow2 image.")

    @OptionGroup var source: ImageSourceOptions
    @Flag(help: "Make the bitmap.") var add = false
    @Flag(help: "Delete it.") var remove = false
    @Flag(help: "Clear all its bits.") var clear = false
    @Flag(help: "Record writes in it.") var enable = false
    @Flag(help: "Stop recording.") var disable = false
    @Option(help: "Set the bits of this bitmap too (may be repeated).") var merge: [String] = []
    @Option(name: .customShort("b"), help: "Image that --merge takes its bitmap from.") var sourceFile: String?
    @Option(name: .customShort("F"), help: "Format of that image.") var sourceFormat: String?
    @Option(name: .customShort("f"), help: "Format of the image (default: recognised).") var format: String?
    @Option(name: [.customShort("g"), .customLong("granularity")], help: "Bytes per bit, with --add.") var granularity:
        String?
    @Argument(help: "The image, then the bitmap's name.") var arguments: [String] = []

    func run() throws {
        guard arguments.count == 2 else { throw failUsage("Expecting filename and bitmap name") }
        guard add || remove || clear || enable || disable || !merge.isEmpty else {
            throw fail("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge")
        }
        var bytes: UInt64?
        if let granularity {
            guard add else { throw fail("granularity only supported with --add") }
            guard let parsed = ByteCount.parse(granularity) else { throw fail("Invalid granularity specified") }
            bytes = parsed
        }
        guard sourceFile == nil || !merge.isEmpty else {
            throw fail("Merge bitmap source file only supported with --merge")
        }
        let (filename, name) = (arguments[0], arguments[1])
        let device = try source.open(filename, format: format, readOnly: false, openBacking: false)
        func perform(_ verb: String, _ action: QCOW2Image.BitmapAction) throws {
            do {
                try DiskImage.changeBitmap(device, named: name, action)
            } catch {
                throw fail("Operation \(verb) on bitmap \(name) failed: \(error.message)")
            }
        }
        if add { try perform("add", .add(granularity: bytes, disabled: disable)) }
        if remove { try perform("remove", .remove) }
        if clear { try perform("clear", .clear) }
        if enable { try perform("enable", .enable) }
        if disable, !add { try perform("disable", .disable) }
        for other in merge {
            let from = try sourceFile.map {
                try source.open($0, format: sourceFormat, readOnly: true, openBacking: false)
            }
            do {
                try perform("merge", .merge(DiskImage.bitmapContent(from ?? device, named: other)))
            } catch let error as ImageError {
                throw fail("Operation merge on bitmap \(name) failed: \(error.message)")
            }
        }
        do {
            try device.close()
        } catch {
            throw fail(error.message)
        }
    }
}
