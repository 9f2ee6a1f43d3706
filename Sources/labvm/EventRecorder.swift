import VMProtocol

/// Writes a VM's events. What a guest or client can make happen over and over is counted, not told each time.
///
/// Used on the I/O thread only.
final class EventRecorder {
    /// The same event is told once in this time, and then how often it came.
    private static let quietMilliseconds: UInt64 = 60_000
    /// Events that wait for room on the disk.
    private static let mostWaiting = 64

    private let history: EventHistory?
    private let name: String
    private let loop: IOLoop
    private var waiting: [LifecycleEvent] = []
    /// How often each event came in its present quiet time.
    private var counts: [String: Int] = [:]

    /// - Parameter path: the history; nil keeps none.
    init(_ path: String?, of name: String, loop: IOLoop) throws(HostError) {
        history = try path.map { path throws(HostError) in try EventHistory(path) }
        history?.reserve()
        self.name = name
        self.loop = loop
    }

    /// Adds an event.
    func record(_ event: String, _ detail: String? = nil) {
        waiting.append(LifecycleEvent(time: WallClock.now, vm: name, event: event, detail: detail))
        flush()
    }

    /// Adds an event, or counts it when the same was told a short while ago.
    func recordOften(_ event: String) {
        guard counts[event] == nil else {
            counts[event, default: 0] += 1
            return
        }
        counts[event] = 0
        record(event)
        loop.after(milliseconds: Self.quietMilliseconds) { [weak self] in self?.tellCount(of: event) }
    }

    /// Tells of everything that was counted and not told.
    func finish() {
        for event in counts.keys.sorted() { tellCount(of: event) }
    }

    private func tellCount(of event: String) {
        guard let count = counts.removeValue(forKey: event), count > 0 else { return }
        record(event, "\(count) more times")
    }

    /// Writes what waits. A full disk makes events wait; the oldest of too many are lost.
    func flush() {
        guard let history else { return waiting.removeAll() }
        while let event = waiting.first {
            do throws(HostError) {
                try history.append(event)
                waiting.removeFirst()
            } catch {
                if waiting.count > Self.mostWaiting { waiting.removeFirst(waiting.count - Self.mostWaiting) }
                return
            }
        }
    }
}
