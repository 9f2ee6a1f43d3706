/// Types on the guest's keyboard: chords are pressed in order, held, and released in reverse, one after the other.
///
/// Everything is timed by the guest's clock, so that a busy host loses no keys.
final class KeyInjector {
    private struct Chord {
        let keys: [ScanCodes.Key]
        let holdNanoseconds: UInt64
    }

    /// Pause between one chord's release and the next one's press; guests that poll by timer need it.
    private static let gapNanoseconds: UInt64 = 5_000_000
    /// Chords that may wait; more than a person types ahead, few enough for a client that never stops.
    static let queueLimit = 1024
    private let keyboard: PS2Keyboard
    private let scheduler: Scheduler
    private var waiting: [Chord] = []
    private var held: Chord?
    private var timer: Scheduler.Timer?

    init(keyboard: PS2Keyboard, scheduler: Scheduler) {
        self.keyboard = keyboard
        self.scheduler = scheduler
        timer = scheduler.makeTimer { [weak self] deadline in self?.step(deadline) }
    }

    /// Queues one chord such as `["ctrl", "alt", "delete"]`.
    /// - Returns: the first name that is no key; nothing is queued then. Nil when all are known, also when the queue is
    ///   full and the chord is lost.
    func press(_ names: [String], holdMilliseconds: Int = 100) -> String? {
        var keys: [ScanCodes.Key] = []
        for name in names {
            guard let key = ScanCodes.key(named: name) else { return name }
            keys.append(key)
        }
        guard waiting.count < Self.queueLimit else { return nil }
        let hold = UInt64(max(1, min(holdMilliseconds, 60_000))) * 1_000_000
        waiting.append(Chord(keys: keys, holdNanoseconds: hold))
        if held == nil, waiting.count == 1, let timer { scheduler.arm(timer, at: scheduler.nowNanoseconds) }
        return nil
    }

    /// Forgets what is queued; a reset keyboard knows of no pressed keys.
    func cancel() {
        waiting = []
        held = nil
        if let timer { scheduler.cancel(timer) }
    }

    private func step(_ deadline: UInt64) {
        guard let timer else { return }
        if let chord = held {
            chord.keys.reversed().forEach { keyboard.setKey($0, isDown: false) }
            held = nil
            if !waiting.isEmpty { scheduler.arm(timer, at: deadline + Self.gapNanoseconds) }
        } else if !waiting.isEmpty {
            // The guest has not read the last keys yet: wait instead of overrunning its buffer.
            guard keyboard.hasRoom else { return scheduler.arm(timer, at: deadline + Self.gapNanoseconds) }
            let chord = waiting.removeFirst()
            chord.keys.forEach { keyboard.setKey($0, isDown: true) }
            held = chord
            scheduler.arm(timer, at: deadline + chord.holdNanoseconds)
        }
    }
}
