import LabSpec
import VMProtocol

/// What was found of a VM on the host.
public struct VMObservation: Sendable, Equatable {
    /// Its process lives.
    public var isRunning: Bool
    public var record: VMRecord?
    /// Why its record, which is there, cannot be used.
    public var fault: RecordFault?
    /// How its latest run ended, by its own account.
    public var exit: ExitRecord?
    /// How it is while it runs, by its own account.
    public var condition: VMCondition?
    /// What its watcher did for it since it was started.
    public var restarts: RestartRecord?
    /// Slots whose overlay file exists.
    public var overlays: Set<DiskSlot>
    /// Slots whose golden image is no longer the one below the overlay, with a sentence each.
    public var drift: [DiskSlot: String]

    public init(
        isRunning: Bool = false, record: VMRecord? = nil, fault: RecordFault? = nil, exit: ExitRecord? = nil,
        overlays: Set<DiskSlot> = [], drift: [DiskSlot: String] = [:]
    ) {
        self.isRunning = isRunning
        self.record = record
        self.fault = fault
        self.exit = exit
        self.overlays = overlays
        self.drift = drift
    }

    /// Slots with an overlay that the record does not know: what it was made on is not known either.
    public var strays: Set<DiskSlot> { overlays.filter { record?.overlays[$0.rawValue] == nil } }

    /// What it comes down to.
    public var phase: VMPhase {
        if fault != nil, !isRunning { return .unknown }
        if isRunning, restarts?.nextAt != nil { return .restarting }
        if isRunning, condition?.paused != nil { return .paused }
        guard let run = record?.run else { return isRunning ? .running : record == nil ? .absent : .stopped }
        if isRunning {
            // One that was started again has not been seen ready since.
            guard let readyAt = run.readyAt, readyAt >= restarts?.startedAt ?? 0 else { return .running }
            return .ready
        }
        guard let exit, exit.endedAt >= run.startedAt else {
            return run.stopRequested ? .stopped : .killed
        }
        switch exit.reason {
        case .failed, .crashed: return .failed
        case .guestPowerOff, .guestReset, .debugExit, .quit: return .stopped
        }
    }
}

/// The state of a VM in one word.
public enum VMPhase: String, Sendable, Codable, CaseIterable {
    /// Never brought up, or destroyed.
    case absent
    /// Its process lives and it was seen ready.
    case ready
    /// Its process lives; not seen ready.
    case running
    /// Its process lives and the guest is held: it was paused, or the host cannot write.
    case paused
    /// It ended, and its watcher starts it again in a moment.
    case restarting
    /// Ended in order.
    case stopped
    /// Ended with an error of its own account.
    case failed
    /// Ended without a word: killed, or the host went down.
    case killed
    /// Its process does not live, and its record cannot be read.
    case unknown
}

extension VMCondition {
    /// So many resets before a VM is ready are no accident.
    static let suspiciousResets = 3

    /// What is to be known, in sentences.
    func sentences(isReady: Bool) -> [String] {
        var sentences: [String] = []
        if let paused { sentences.append("paused: \(paused)") }
        if let trouble, trouble != paused { sentences.append(trouble) }
        if resets > 0 {
            let times = "the guest restarted \(resets) time\(resets == 1 ? "" : "s")"
            sentences.append(times + (!isReady && resets >= Self.suspiciousResets ? ", is its memory too small?" : ""))
        }
        return sentences
    }
}
