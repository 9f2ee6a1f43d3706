/// Types on the guest's keyboard: chords are pressed in order, held, and released in reverse, one after the other.
///
/// Everything is timed by the guest's clock, so that a busy host loses no keys.
final class KeyInjector: BoardDevice {
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
        timer = scheduler.makeTimer("keys") { [weak self] deadline in self?.step(deadline) }
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
    func reset() {
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

extension KeyInjector {
    var stateID: String { "keys" }

    func exchange(_ c: StateCoder) {
        var count = waiting.count
        c.field("waitingCount", &count, in: 0...Self.queueLimit)
        var chords: [Chord?] = c.isRestoring ? Array(repeating: nil, count: count) : waiting
        for index in chords.indices { exchange(c, "waiting\(index)", &chords[index]) }
        waiting = chords.compactMap { $0 }
        exchange(c, "held", &held)
    }

    /// A chord is how long it is held, and its keys: code, and bit 8 where it is an extended one.
    private func exchange(_ c: StateCoder, _ name: String, _ chord: inout Chord?) {
        var hold = chord?.holdNanoseconds
        var codes = (chord?.keys ?? []).map { UInt16($0.code) | ($0.isExtended ? 0x100 : 0) }
        c.field(name + "Hold", &hold, in: 0...60_000_000_000)
        c.field(name + "Keys", &codes, count: 0...0xFFFF)
        guard c.isRestoring else { return }
        let keys = codes.map {
            ScanCodes.Key(code: UInt8(truncatingIfNeeded: $0), isExtended: $0 & 0x100 != 0)
        }
        chord = hold.map { Chord(keys: keys, holdNanoseconds: $0) }
    }
}
