/// An open image that can look for inconsistencies in itself; its format has the capability `.check`.
protocol CheckableImage: BlockDevice {
    /// Looks for inconsistencies and repairs those that `repair` names. With `verifyData` the content is read and held
    /// against whatever checksums the format has. Findings are in the result; errors end the check.
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult
}

extension DiskImage {
    /// `CheckableImage.check` of any open image. Throws `.unsupported` for a format without checks.
    public static func check(
        _ device: any BlockDevice, repair: RepairMode, verifyData: Bool
    ) throws(ImageError) -> CheckResult {
        guard let image = device as? any CheckableImage else {
            throw ImageError(
                .unsupported, "This image format does not support checks", format: device.formatName, path: device.path)
        }
        return try image.check(repair: repair, verifyData: verifyData)
    }
}

/// Which inconsistencies `check` may repair.
public enum RepairMode: String, Sendable {
    case none, leaks, all
}

/// The answer of `check`.
public struct CheckResult: Sendable {
    public var corruptions = 0
    public var leaks = 0
    public var checkErrors = 0
    public var corruptionsFixed = 0
    public var leaksFixed = 0
    public var totalClusters: UInt64 = 0
    public var allocatedClusters: UInt64 = 0
    public var fragmentedClusters: UInt64 = 0
    public var compressedClusters: UInt64 = 0
    public var imageEndOffset: UInt64?
    /// A sentence on what was looked at, where that is not simply the image.
    public var scope: String?
    /// One line per finding, the first thousand of them.
    public private(set) var findings: [String] = []
    static let shownFindings = 1000
    public init() {}

    /// Adds a line. The counters say how many there were; a hostile image must not fill memory with lines.
    mutating func note(_ line: String) {
        if findings.count < Self.shownFindings { findings.append(line) }
    }
}
