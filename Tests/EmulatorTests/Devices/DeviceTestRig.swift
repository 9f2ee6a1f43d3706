@testable import Emulator

/// A clock that tests move by hand.
final class FakeClock {
    private(set) var now: UInt64 = 0
    /// The queue that `advance` serves; a board brings its own.
    lazy var scheduler = Scheduler { [unowned self] in self.now }

    /// Moves to a moment, firing every timer on the way at its own time.
    func advance(to target: UInt64) {
        while scheduler.nextDeadline <= target {
            now = max(now, scheduler.nextDeadline)
            scheduler.advance(to: now)
        }
        now = target
    }

    func advance(by nanoseconds: UInt64) { advance(to: now + nanoseconds) }
}

/// Counts rising edges of a wire.
final class Probe {
    private(set) var rises = 0
    private(set) var level = false
    lazy var line = IRQLine { [unowned self] level in
        self.level = level
        if level { self.rises += 1 }
    }
}

extension PortBus {
    func in8(_ port: UInt16) -> UInt8 { UInt8(truncatingIfNeeded: read(port, size: 1)) }
    func out8(_ port: UInt16, _ value: UInt8) { write(port, size: 1, value: UInt32(value)) }
}

/// Collects what a serial port sends. Used on the test's thread only.
final class SerialRecorder: SerialBackend, @unchecked Sendable {
    var bytes: [UInt8] = []
    func transmit(_ byte: UInt8) { bytes.append(byte) }
}
