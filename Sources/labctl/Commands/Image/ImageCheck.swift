import ArgumentParser
import Images

struct ImageCheck: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Looks for inconsistencies in an image and repairs them on demand.",
        discussion: ImageHelp.discussion(
            "check disk.qcow2",
            "check -r leaks disk.qcow2",
            "check --data appliance.ova"))

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the image (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Option(help: ArgumentHelp("human or json.", valueName: "human|json")) var output: String?
    @Option(
        name: [.customShort("r"), .customLong("repair")],
        help: ArgumentHelp("Repair: leaks or all.", valueName: "leaks|all")) var repair: String?
    @Option(
        name: .customShort("T"), help: ArgumentHelp("Cache mode of the image (accepted, no effect).", valueName: "MODE")
    ) var cache: String?
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the image is in use.")
    var forceShare = false
    @Flag(help: "Decompress and verify all data too.") var data = false
    @Argument(help: "The image.") var filenames: [String] = []

    func run() throws {
        let isJSON = try OutputFormat.isJSON(output)
        var mode = RepairMode.none
        if let repair {
            guard let parsed = RepairMode(rawValue: repair), parsed != .none else {
                throw failUsage("Unknown option value for -r (expecting 'leaks' or 'all'): \(repair)")
            }
            mode = parsed
        }
        let filename = try onlyImage(filenames)
        try CacheMode.source(cache)
        let device = try source.open(
            filename, format: format, readOnly: mode == .none, forceShare: forceShare, openBacking: false,
            forCheck: true)
        let driver = try FormatRegistry.require(device.formatName)
        guard driver.capabilities.contains(.check) else {
            throw fail("This image format does not support checks", code: 63)
        }
        var result = CheckResult()
        do throws(ImageError) {
            result = try DiskImage.check(device, repair: mode, verifyData: data)
            report(result, isFirst: true)
            let repaired = (result.leaksFixed, result.corruptionsFixed)
            if repaired.0 > 0 || repaired.1 > 0 {
                if !isJSON, !quiet {
                    print("The following inconsistencies were found and repaired:\n")
                    print("    \(repaired.0) leaked clusters\n    \(repaired.1) corruptions\n")
                    print("Double checking the fixed image now...")
                }
                result = try DiskImage.check(device, repair: .none, verifyData: false)
                report(result, isFirst: false)
                (result.leaksFixed, result.corruptionsFixed) = repaired
            }
            try device.close()
        } catch {
            throw fail("Check failed: \(error.naming(filename))")
        }
        if isJSON {
            print(QEMUJSON.render(Self.fields(result, device)), terminator: "")
        } else if !quiet {
            Self.printHuman(result)
        }
        if result.corruptions > 0 { throw ExitCode(2) }
        if result.leaks > 0 { throw ExitCode(3) }
        if result.checkErrors > 0 { throw ExitCode(1) }
    }

    private func report(_ result: CheckResult, isFirst: Bool) {
        for line in result.findings { ImageOutput.toStandardError(line + "\n") }
    }

    private static func printHuman(_ result: CheckResult) {
        if result.corruptions + result.leaks + result.checkErrors == 0 {
            print("No errors were found on the image.")
        } else {
            if result.corruptions > 0 {
                print("\n\(result.corruptions) errors were found on the image.")
                print("Data may be corrupted, or further writes to the image may corrupt it.")
            }
            if result.leaks > 0 {
                print("\n\(result.leaks) leaked clusters were found on the image.")
                print("This means waste of disk space, but no harm to data.")
            }
            if result.checkErrors > 0 {
                print("\n\(result.checkErrors) internal errors have occurred during the check.")
            }
        }
        if result.totalClusters > 0, result.allocatedClusters > 0 {
            let share = percent(result.allocatedClusters, result.totalClusters)
            let fragmented = percent(result.fragmentedClusters, result.allocatedClusters)
            let compressed = percent(result.compressedClusters, result.allocatedClusters)
            print(
                "\(result.allocatedClusters)/\(result.totalClusters) = \(share)% allocated, \(fragmented)% fragmented, "
                    + "\(compressed)% compressed clusters")
        }
        if let scope = result.scope { print(scope) }
        if let end = result.imageEndOffset, end > 0 { print("Image end offset: \(end)") }
    }

    /// A share with two decimals.
    private static func percent(_ part: UInt64, _ whole: UInt64) -> String {
        let hundredths = UInt64((Double(part) * 10000 / Double(whole)).rounded(.toNearestOrEven))
        let rest = String(hundredths % 100)
        return "\(hundredths / 100)." + (rest.count < 2 ? "0" : "") + rest
    }

    private static func fields(_ result: CheckResult, _ device: any BlockDevice) -> InfoValue {
        var fields = [
            InfoField("filename", .string(device.path)), InfoField("format", .string(device.formatName)),
            InfoField("check-errors", .integer(Int64(result.checkErrors))),
        ]
        func add(_ name: String, _ value: UInt64) {
            if value > 0 { fields.append(InfoField(name, .integer(Int64(clamping: value)))) }
        }
        add("image-end-offset", result.imageEndOffset ?? 0)
        add("corruptions", UInt64(result.corruptions))
        add("leaks", UInt64(result.leaks))
        add("corruptions-fixed", UInt64(result.corruptionsFixed))
        add("leaks-fixed", UInt64(result.leaksFixed))
        add("total-clusters", result.totalClusters)
        add("allocated-clusters", result.allocatedClusters)
        add("fragmented-clusters", result.fragmentedClusters)
        add("compressed-clusters", result.compressedClusters)
        return .object(fields)
    }
}
