import ArgumentParser
import Glibc
import Images

struct ImageBench: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "bench", abstract: "Measures requests to an image.")

    @OptionGroup var source: ImageSourceOptions
    @Option(name: .customShort("c"), help: "Number of requests.") var count = 75000
    @Option(name: .customShort("d"), help: "Requests at a time.") var depth = 64
    @Option(name: .customShort("f"), help: "Format of the image (default: recognised).") var format: String?
    @Option(name: .customLong("flush-interval"), help: "Flush after so many writes.") var flushInterval = 0
    @Flag(name: .customLong("no-drain"), help: "Accepted, no effect.") var noDrain = false
    @Flag(name: .customShort("n"), help: "Accepted, no effect.") var nativeIO = false
    @Option(name: .customShort("i"), help: "Accepted, no effect.") var aio: String?
    @Option(name: .customShort("t"), help: "Accepted, no effect.") var cache: String?
    @Option(name: .customShort("o"), help: "Offset of the first request.") var offset: String?
    @Option(help: "Byte to write.") var pattern: UInt8 = 0
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Option(name: .customShort("s"), help: "Bytes of a request.") var size: String?
    @Option(name: .customShort("S"), help: "Bytes from one request to the next.") var step: String?
    @Flag(name: .customShort("w"), help: "Write instead of read.") var write = false
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the image is in use.")
    var forceShare = false
    @Argument(help: "The image.") var filename: String?

    func run() throws {
        guard let filename else { throw failUsage("Expecting one image file name") }
        func bytes(_ text: String?, _ what: String) throws -> UInt64? {
            guard let text else { return nil }
            guard let value = ByteCount.parse(text) else { throw fail("Invalid \(what) specified") }
            return value
        }
        let requestBytes = try bytes(size, "buffer size") ?? 4096
        let stepBytes = try bytes(step, "step size") ?? requestBytes
        let start = try bytes(offset, "offset") ?? 0
        guard count > 0, depth > 0, requestBytes > 0, requestBytes <= 1 << 31 else {
            throw fail("Invalid request count or size")
        }
        let device = try source.open(filename, format: format, readOnly: !write, forceShare: forceShare)
        guard device.size >= requestBytes else { throw fail("Image is smaller than one request") }
        if !quiet {
            print(
                "Sending \(count) \(write ? "write" : "read") requests, \(requestBytes) bytes each, \(depth) in parallel "
                    + "(starting at offset \(start), step size \(stepBytes))")
        }
        let plan = BenchPlan(
            device: device, count: count, requestBytes: Int(requestBytes), stepBytes: stepBytes, start: start,
            pattern: pattern, writes: write, flushInterval: flushInterval)
        let begin = Self.seconds()
        do {
            try DiskImage.bench(plan, threads: min(depth, 4))
        } catch {
            throw fail("Failed request: \(error.message)")
        }
        let milliseconds = Int((Self.seconds() - begin) * 1000)
        let fraction = String(milliseconds % 1000)
        if !quiet {
            print(
                "Run completed in \(milliseconds / 1000).\(String(repeating: "0", count: 3 - fraction.count))\(fraction) seconds."
            )
        }
        try? device.close()
    }

    private static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
