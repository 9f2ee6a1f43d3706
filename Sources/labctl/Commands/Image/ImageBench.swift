import ArgumentParser
import Glibc
import Images

struct ImageBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measures requests to an image.",
        discussion: ImageHelp.discussion(
            "bench -c 10000 -d 16 disk.qcow2",
            "bench -w -s 64k -S 1M disk.qcow2"))

    @OptionGroup var source: ImageSourceOptions
    @Option(name: .customShort("c"), help: ArgumentHelp("Number of requests (75000).", valueName: "N")) var countText:
        String?
    @Option(name: .customShort("d"), help: ArgumentHelp("Requests at a time (64).", valueName: "N")) var depthText:
        String?
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the image (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Option(name: .customLong("flush-interval"), help: ArgumentHelp("Flush after so many writes.", valueName: "N"))
    var flushText: String?
    @Flag(name: .customLong("no-drain"), help: "Accepted, no effect.") var noDrain = false
    @Flag(name: .customShort("n"), help: "Accepted, no effect.") var nativeIO = false
    @Option(
        name: .customShort("i"),
        help: ArgumentHelp("threads, native or io_uring (checked, no effect).", valueName: "threads|native|io_uring"))
    var aio: String?
    @Option(name: .customShort("t"), help: ArgumentHelp("Cache mode.", valueName: "MODE")) var cache: String?
    @Option(name: .customShort("o"), help: ArgumentHelp("Offset of the first request.", valueName: "OFFSET"))
    var offset: String?
    @Option(name: .customLong("pattern"), help: ArgumentHelp("Byte to write.", valueName: "BYTE")) var patternText:
        String?
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Option(name: .customShort("s"), help: ArgumentHelp("Bytes of a request.", valueName: "SIZE")) var size: String?
    @Option(name: .customShort("S"), help: ArgumentHelp("Bytes from one request to the next.", valueName: "SIZE"))
    var step: String?
    @Flag(name: .customShort("w"), help: "Write instead of read.") var write = false
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the image is in use.")
    var forceShare = false
    @Argument(help: "The image.") var filenames: [String] = []

    func run() throws {
        let filename = try onlyImage(filenames)
        func number(_ text: String?, _ what: String, default value: Int, limit: UInt64 = UInt64(Int32.max)) throws
            -> Int
        {
            guard let text else { return value }
            guard let parsed = UInt64(text), parsed <= limit else {
                let reason = ByteCount.isTooLarge(text) ? ": \(text) is too large" : ""
                throw fail("Invalid \(what) specified\(reason)")
            }
            return Int(parsed)
        }
        let count = try number(countText, "request count", default: 75000)
        let depth = try number(depthText, "queue depth", default: 64)
        let flushInterval = try number(flushText, "flush interval", default: 0)
        let pattern = UInt8(try number(patternText, "pattern byte", default: 0, limit: 255))
        let requestBytes = try ImageOptions.bytes(size, "buffer size", limit: UInt64(Int32.max)) ?? 4096
        let givenStep = try ImageOptions.bytes(step, "step_size", limit: UInt64(Int32.max)) ?? 0
        let stepBytes = givenStep == 0 ? requestBytes : givenStep
        let start = try ImageOptions.bytes(offset, "offset") ?? 0
        if let aio, !["threads", "native", "io_uring"].contains(aio) { throw fail("Invalid aio option: \(aio)") }
        guard let mode = CacheMode(rawValue: cache ?? "writeback") else { throw fail("Invalid cache mode") }
        if nativeIO, mode != .none, mode != .off, mode != .directsync {
            throw fail(
                "Could not open '\(filename)': aio=native was specified, but it requires cache.direct=on, which was not "
                    + "specified.")
        }
        if !write, flushInterval > 0 { throw fail("--flush-interval is only available in write tests") }
        if flushInterval > 0, flushInterval < depth { throw fail("Flush interval can't be smaller than depth") }
        guard depth > 0, requestBytes > 0 else { throw fail("A queue depth and a buffer size of 0 move nothing") }
        let device = try source.open(filename, format: format, readOnly: !write, forceShare: forceShare, cache: mode)
        guard device.size >= requestBytes, start <= device.size else {
            throw fail("Failed request: the disk of \(device.size) bytes ends before the first request does")
        }
        if !quiet {
            print(
                "Sending \(count) \(write ? "write" : "read") requests, \(requestBytes) bytes each, \(depth) in parallel "
                    + "(starting at offset \(start), step size \(stepBytes))")
            if flushInterval > 0 { print("Sending flush every \(flushInterval) requests") }
        }
        let plan = BenchPlan(
            device: device, count: count, requestBytes: Int(requestBytes), stepBytes: stepBytes, start: start,
            pattern: pattern, writes: write, flushInterval: flushInterval)
        let begin = Self.seconds()
        do {
            try DiskImage.bench(plan, threads: min(depth, 4))
        } catch {
            throw fail("Failed request: \(error.naming(filename))")
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
