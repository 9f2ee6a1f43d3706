/// What `amend` shall change.
public struct AmendRequest: Sendable {
    /// Options by name as given with `-o`, all of the driver's `amendOptions`.
    public var options: [String: String]
    public var secrets: [String: [UInt8]] = [:]
    /// `--force`: also what can make the data unreadable for good.
    public var force = false
    /// Called with steps done and total.
    public var progress: (@Sendable (UInt64, UInt64) -> Void)?

    public init(options: [String: String]) { self.options = options }
}

/// Images whose options can be changed after the fact.
public protocol OptionAmendable: BlockDevice {
    func amend(_ request: AmendRequest) throws(ImageError)
}

extension DiskImage {
    /// Changes options of an existing image.
    public static func amend(_ device: any BlockDevice, _ request: AmendRequest) throws(ImageError) {
        guard let image = device as? any OptionAmendable else {
            throw ImageError(
                .unsupported, "Format driver '\(device.formatName)' does not support option amendment",
                path: device.path)
        }
        try image.amend(request)
    }

    /// The same without secrets or progress.
    public static func amend(_ device: any BlockDevice, _ options: [String: String]) throws(ImageError) {
        try amend(device, AmendRequest(options: options))
    }
}
