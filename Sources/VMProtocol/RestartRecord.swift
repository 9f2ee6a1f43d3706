/// What a VM's watcher has done for it since it was started: `restarts.json` in the VM's state folder. There is none where
/// nothing had to be done.
public struct RestartRecord: Codable, Sendable, Equatable {
    /// How often the VM was started again.
    public var count: Int
    /// Why it ended the last time, in words.
    public var reason: String
    /// When it was started again the last time; seconds since 1970.
    public var startedAt: Double?
    /// While it is down: when it will be started again.
    public var nextAt: Double?

    public init(count: Int, reason: String, startedAt: Double? = nil, nextAt: Double? = nil) {
        self.count = count
        self.reason = reason
        self.startedAt = startedAt
        self.nextAt = nextAt
    }

    /// The record that a VM's folder has.
    public static func read(in folder: String) -> RestartRecord? {
        guard let bytes = try? StateFile.read(VMFile.restarts.path(in: folder)) else { return nil }
        return JSONCoding.decode(RestartRecord.self, from: bytes)
    }
}

extension ExitRecord.Reason {
    /// For sentences and tables.
    public var words: String {
        switch self {
        case .guestPowerOff: "the guest powered off"
        case .guestReset: "the guest reset"
        case .debugExit: "the guest ended through the debug port"
        case .quit: "told to quit"
        case .failed: "failed"
        case .crashed: "labvm crashed"
        }
    }
}
