/// One counter of an Intel 8254 (datasheet 231164, "Mode definitions"), computed rather than counted.
///
/// Everything is a function of the input clock's tick number, so that reading the count in the middle of a run is exact and an idle
/// counter costs nothing. `origin` is the tick at which the present count began to run.
struct PITCounter {
    /// How bytes are paired: control word bits 5–4.
    enum Access: UInt8 { case latch = 0, low, high, lowThenHigh }

    private(set) var mode: UInt8 = 0
    private(set) var access = Access.lowThenHigh
    private var isBCD = false
    /// Counts per cycle, 1–65536 (or 10000 in BCD): what the guest wrote, zero meaning the most.
    private(set) var reload: UInt64 = 0x10000
    private var origin: UInt64 = 0
    /// A count was written since the control word.
    private(set) var hasCount = false
    /// Modes 1 and 5 run once the gate rises.
    private var isTriggered = false
    private(set) var gate: Bool
    /// Ticks already counted when the gate stopped the counter.
    private var frozenAt: UInt64?
    /// Modes 2 and 3: the count of the next cycle and the tick at which that begins.
    private var next: (reload: UInt64, from: UInt64)?

    private var writeLowByte: UInt8?
    private var readsHighNext = false
    private var latchedCount: UInt16?
    private var latchedStatus: UInt8?

    init(gate: Bool) { self.gate = gate }

    /// - Parameter now: the tick of the state.
    mutating func exchange(_ c: StateCoder, now: UInt64) {
        c.field("mode", &mode, in: 0...5)
        c.field("access", &access)
        c.field("isBCD", &isBCD)
        c.field("reload", &reload, in: 1...0x10000)
        c.field("origin", &origin, in: 0...now)
        c.field("hasCount", &hasCount)
        c.field("isTriggered", &isTriggered)
        c.field("gate", &gate)
        c.field("frozenAt", &frozenAt)
        var nextReload = next?.reload, nextFrom = next?.from
        c.field("nextReload", &nextReload, in: 1...0x10000)
        c.field("nextFrom", &nextFrom)
        if let nextReload, let nextFrom { next = (nextReload, nextFrom) } else { next = nil }
        c.field("writeLowByte", &writeLowByte)
        c.field("readsHighNext", &readsHighNext)
        c.field("latchedCount", &latchedCount)
        c.field("latchedStatus", &latchedStatus)
        let isOneShot = mode == 1 || mode == 5
        c.check(nextFrom ?? 0 <= now + 0x20000 || isOneShot, "a count that begins in the far future")
    }

    // MARK: Counting

    private func elapsed(_ tick: UInt64) -> UInt64 { frozenAt ?? (tick > origin ? tick - origin : 0) }

    /// Takes over a count that was waiting for its cycle to begin.
    mutating func settle(_ tick: UInt64) {
        guard let due = next, frozenAt == nil, tick >= due.from else { return }
        reload = due.reload
        origin = due.from
        next = nil
    }

    private var isRunning: Bool { hasCount && (mode != 1 && mode != 5 || isTriggered) }

    /// The OUT pin.
    func output(_ tick: UInt64) -> Bool {
        guard isRunning else { return mode != 0 }
        let passed = elapsed(tick)
        switch mode {
        case 0, 1: return passed >= reload
        case 2: return !gate || passed % reload != reload - 1
        case 3: return !gate || passed % reload < (reload + 1) / 2
        default: return passed != reload
        }
    }

    /// The first tick after `tick` at which OUT rises; nil when it never will without the guest's help.
    func nextRise(after tick: UInt64) -> UInt64? {
        guard isRunning, frozenAt == nil else { return nil }
        switch mode {
        case 0, 1: return origin + reload > tick ? origin + reload : nil
        case 2, 3:
            if let next { return next.from > tick ? next.from : next.from + next.reload }
            return origin + (elapsed(tick) / reload + 1) * reload
        default: return origin + reload + 1 > tick ? origin + reload + 1 : nil
        }
    }

    /// The counting element as the guest reads it.
    private func count(_ tick: UInt64) -> UInt16 {
        let passed = isRunning ? elapsed(tick) : 0
        let value: UInt64
        switch mode {
        case 2: value = reload - passed % reload
        case 3:
            // Counts down by two, twice per cycle.
            let half = passed % reload
            let high = (reload + 1) / 2
            let even = reload & ~1
            value = even - 2 * (half < high ? min(half, even / 2) : half - high) % max(even, 1)
        default:
            // One-shot modes run on through zero.
            let wrap: UInt64 = isBCD ? 10_000 : 0x10000
            value = (reload + wrap - passed % wrap) % wrap
        }
        return isBCD ? Self.toBCD(value % 10_000) : UInt16(truncatingIfNeeded: value)
    }

    // MARK: Guest access

    /// Control word for this counter (not read-back). `access` latch freezes the count instead.
    mutating func writeControl(_ value: UInt8, _ tick: UInt64) {
        guard let access = Access(rawValue: value >> 4 & 3), access != .latch else { return latchCount(tick) }
        let field = value >> 1 & 7
        self = PITCounter(gate: gate)
        self.access = access
        // Modes 6 and 7 are 2 and 3 with a don't-care bit.
        mode = field > 5 ? field - 4 : field
        isBCD = value & 1 != 0
    }

    mutating func latchCount(_ tick: UInt64) {
        if latchedCount == nil { latchedCount = count(tick) }
    }

    /// Status byte: bit 7 OUT, 6 null count, 5–4 access, 3–1 mode, 0 BCD.
    mutating func latchStatus(_ tick: UInt64) {
        guard latchedStatus == nil else { return }
        let isNull = !hasCount || next != nil || (mode == 1 || mode == 5) && !isTriggered
        latchedStatus =
            (output(tick) ? 0x80 : 0) | (isNull ? 0x40 : 0) | access.rawValue << 4 | mode << 1 | (isBCD ? 1 : 0)
    }

    /// - Returns: true when a whole count has been written.
    mutating func write(_ value: UInt8, _ tick: UInt64) -> Bool {
        let raw: UInt16
        switch access {
        case .low: raw = UInt16(value)
        case .high: raw = UInt16(value) << 8
        default:
            guard let low = writeLowByte else {
                writeLowByte = value
                // The first byte stops a mode 0 count.
                if mode == 0, hasCount { frozenAt = elapsed(tick) }
                return false
            }
            writeLowByte = nil
            raw = UInt16(low) | UInt16(value) << 8
        }
        load(isBCD ? Self.fromBCD(raw) : UInt64(raw), tick)
        return true
    }

    private mutating func load(_ value: UInt64, _ tick: UInt64) {
        let count = value == 0 ? (isBCD ? 10_000 : 0x10000) : value
        let isPeriodic = mode == 2 || mode == 3
        if hasCount, isPeriodic, frozenAt == nil {
            next = (count, origin + (elapsed(tick) / reload + 1) * reload)
            return
        }
        if hasCount, mode == 1 || mode == 5, isTriggered {
            // Takes effect at the next trigger; the running shot is not disturbed.
            next = (count, .max)
            return
        }
        reload = count
        origin = tick
        frozenAt = gate || mode == 1 || mode == 5 ? nil : 0
        hasCount = true
    }

    mutating func read(_ tick: UInt64) -> UInt8 {
        if let status = latchedStatus {
            latchedStatus = nil
            return status
        }
        let value = latchedCount ?? count(tick)
        switch access {
        case .low:
            latchedCount = nil
            return UInt8(truncatingIfNeeded: value)
        case .high:
            latchedCount = nil
            return UInt8(truncatingIfNeeded: value >> 8)
        default:
            readsHighNext.toggle()
            if readsHighNext { return UInt8(truncatingIfNeeded: value) }
            latchedCount = nil
            return UInt8(truncatingIfNeeded: value >> 8)
        }
    }

    mutating func setGate(_ level: Bool, _ tick: UInt64) {
        guard level != gate else { return }
        let passed = elapsed(tick)
        gate = level
        switch mode {
        case 1, 5:
            guard level else { return }
            if let next { (reload, self.next) = (next.reload, nil) }
            origin = tick
            isTriggered = true
        case 2, 3:
            // Low stops and forces OUT high; rising starts a new cycle.
            frozenAt = level ? nil : 0
            if level { origin = tick }
        default:
            if level {
                origin = tick - min(tick, frozenAt ?? 0)
                frozenAt = nil
            } else {
                frozenAt = passed
            }
        }
    }

    private static func toBCD(_ value: UInt64) -> UInt16 {
        UInt16(value / 1000 % 10) << 12 | UInt16(value / 100 % 10) << 8 | UInt16(value / 10 % 10) << 4
            | UInt16(value % 10)
    }

    private static func fromBCD(_ value: UInt16) -> UInt64 {
        UInt64(value >> 12) * 1000 + UInt64(value >> 8 & 15) * 100 + UInt64(value >> 4 & 15) * 10 + UInt64(value & 15)
    }
}
