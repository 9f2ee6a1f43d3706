/// A PS/2 mouse that knows the IntelliMouse extensions (IBM PS/2 technical reference, "Mouse"; Microsoft IntelliMouse).
///
/// Packet: byte 0 buttons 0 left, 1 right, 2 middle, bit 3 set, 4–5 signs, 6–7 overflow of x and y; x; y (up is positive);
/// with a wheel a fourth byte, bits 3–0 wheel (signed), with identity 4 also bits 4–5 side buttons.
/// Sample rates 200, 100, 80 in a row turn identity 0 into 3; 200, 200, 80 turn 3 into 4.
final class PS2Mouse {
    private static let acknowledge: UInt8 = 0xFA
    private static let queueBytes = 64

    /// Packets stop short of the end; what a guest makes the mouse echo and does not read is lost beyond it.
    private var queue = ByteQueue(capacity: PS2Mouse.queueBytes)
    private var identity: UInt8 = 0
    private var sampleRate: UInt8 = 100
    private var resolution: UInt8 = 2
    private var scales = false
    private var isReporting = false
    private var isRemote = false
    private var wraps = false
    private var pendingCommand: UInt8?
    private var lastRates: [UInt8] = []
    private var moved = (x: 0, y: 0, wheel: 0)
    private var buttons: UInt8 = 0
    private var reportedButtons: UInt8 = 0
    private var lastByte: UInt8 = 0
    var hasData: () -> Void = {}

    func reset() {
        queue.removeAll()
        (identity, sampleRate, resolution) = (0, 100, 2)
        (scales, isReporting, isRemote, wraps) = (false, false, false, false)
        pendingCommand = nil
        lastRates = []
        moved = (0, 0, 0)
    }

    // MARK: From the host

    /// - Parameters:
    ///   - dx: counts to the right.
    ///   - dy: counts downwards, as screens count.
    ///   - wheel: notches towards the user.
    ///   - buttons: bits 0 left, 1 right, 2 middle, 3 and 4 side buttons.
    func move(dx: Int, dy: Int, wheel: Int = 0, buttons newButtons: UInt8) {
        guard isReporting || isRemote else { return }
        let limit = 32_767
        moved.x = max(-limit, min(limit, moved.x + dx))
        moved.y = max(-limit, min(limit, moved.y - dy))
        moved.wheel = max(-limit, min(limit, moved.wheel + wheel))
        buttons = newButtons & 0x1F
        guard isReporting, !isRemote else { return }
        report()
        hasData()
    }

    /// Packets until everything is told or the queue is full; what is left goes with the next movement.
    private func report() {
        while moved != (0, 0, 0) || buttons != reportedButtons, queue.count + 4 <= Self.queueBytes { appendPacket() }
    }

    private func appendPacket() {
        let x = max(-255, min(255, moved.x))
        let y = max(-255, min(255, moved.y))
        moved.x -= x
        moved.y -= y
        queue.append(buttons & 7 | 0x08 | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0))
        queue.append(UInt8(truncatingIfNeeded: x))
        queue.append(UInt8(truncatingIfNeeded: y))
        let wheelRange = identity == 4 ? -8...7 : -127...127
        let wheel = max(wheelRange.lowerBound, min(wheelRange.upperBound, moved.wheel))
        if identity == 3 { queue.append(UInt8(truncatingIfNeeded: wheel)) }
        if identity == 4 { queue.append(UInt8(truncatingIfNeeded: wheel) & 0x0F | (buttons & 0x18) << 1) }
        // Without a wheel its movement is nobody's business.
        moved.wheel = identity == 0 ? 0 : moved.wheel - wheel
        reportedButtons = buttons
    }

    // MARK: For the controller

    func nextByte() -> UInt8? {
        guard let byte = queue.popFirst() else { return nil }
        lastByte = byte
        return byte
    }

    func receive(_ value: UInt8) {
        defer { hasData() }
        if wraps, value != 0xEC, value != 0xFF { return queue.append(value) }
        if let command = pendingCommand {
            pendingCommand = nil
            if command == 0xF3 { setSampleRate(value) } else { resolution = value & 3 }
            return queue.append(Self.acknowledge)
        }
        // A command stops a packet in flight.
        if value != 0xFE { queue.removeAll() }
        command(value)
    }

    private func setSampleRate(_ value: UInt8) {
        sampleRate = value
        lastRates = (lastRates + [value]).suffix(3)
        if lastRates == [200, 100, 80] { identity = 3 }
        if lastRates == [200, 200, 80], identity != 0 { identity = 4 }
    }

    private func command(_ value: UInt8) {
        if value == 0xFE { return queue.append(lastByte) }
        queue.append(Self.acknowledge)
        switch value {
        case 0xE6: scales = false
        case 0xE7: scales = true
        case 0xE8, 0xF3: pendingCommand = value
        case 0xE9: appendStatus()
        case 0xEA: isRemote = false
        case 0xEB: appendPacket()
        case 0xEC: wraps = false
        case 0xEE: wraps = true
        case 0xF0: isRemote = true
        case 0xF2: queue.append(identity)
        case 0xF4: isReporting = true
        case 0xF5: isReporting = false
        case 0xF6:
            let kept = identity
            reset()
            identity = kept
            queue.append(Self.acknowledge)
        case 0xFF:
            reset()
            for byte in [Self.acknowledge, 0xAA, 0x00] { queue.append(byte) }
        default:
            queue.removeAll()
            queue.append(0xFE)
        }
    }

    /// Status: 6 remote, 5 reporting, 4 scaling 2:1, 2 left, 1 middle, 0 right; then resolution and rate.
    private func appendStatus() {
        let pressed = (buttons & 1) << 2 | (buttons & 4) >> 1 | (buttons & 2) >> 1
        queue.append((isRemote ? 0x40 : 0) | (isReporting ? 0x20 : 0) | (scales ? 0x10 : 0) | pressed)
        queue.append(resolution)
        queue.append(sampleRate)
    }
}

extension PS2Mouse {
    func exchange(_ c: StateCoder) {
        c.field("queue", &queue)
        c.field("identity", &identity)
        c.field("sampleRate", &sampleRate)
        c.field("resolution", &resolution)
        c.field("scales", &scales)
        c.field("isReporting", &isReporting)
        c.field("isRemote", &isRemote)
        c.field("wraps", &wraps)
        c.field("pendingCommand", &pendingCommand)
        c.field("lastRates", &lastRates, count: 0...3)
        let limit = 32_767
        c.field("movedX", &moved.x, in: -limit...limit)
        c.field("movedY", &moved.y, in: -limit...limit)
        c.field("movedWheel", &moved.wheel, in: -limit...limit)
        c.field("buttons", &buttons)
        c.field("reportedButtons", &reportedButtons)
        c.field("lastByte", &lastByte)
    }
}
