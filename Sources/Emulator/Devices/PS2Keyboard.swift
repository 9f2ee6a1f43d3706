/// A PS/2 keyboard with 101 keys and more (IBM PS/2 Hardware Interface Technical Reference, "Keyboards").
///
/// | command | answer |
/// | --- | --- |
/// | ED n | FA, FA: LEDs 0 scroll, 1 num, 2 caps |
/// | EE | EE |
/// | F0 n | FA, FA: scan-code set 1 or 2; n = 0: FA, FA, the set |
/// | F2 | FA AB 83 |
/// | F3 n | FA, FA: typematic rate |
/// | F4, F5, F6 | FA: scan, stop with defaults, defaults |
/// | FE | the last byte again |
/// | FF | FA AA |
final class PS2Keyboard {
    private enum Reply {
        static let acknowledge: UInt8 = 0xFA, resend: UInt8 = 0xFE, echo: UInt8 = 0xEE, passed: UInt8 = 0xAA
    }
    /// A real keyboard's buffer; more keys than that are lost with an overrun code.
    private static let bufferBytes = 16
    /// Answers to commands come before keys. A guest that sends commands and reads nothing loses the later answers.
    private var answers = ByteQueue(capacity: PS2Keyboard.bufferBytes)
    /// One byte more than the buffer: the overrun code.
    private var codes = ByteQueue(capacity: PS2Keyboard.bufferBytes + 1)
    private var isScanning = true
    private var codeSet: UInt8 = 2
    private var pendingCommand: UInt8?
    private var lastByte: UInt8 = 0
    /// Bits: 0 scroll lock, 1 num lock, 2 caps lock.
    private(set) var leds: UInt8 = 0
    /// Tells the controller to look for bytes.
    var hasData: () -> Void = {}

    func reset() {
        answers.removeAll()
        codes.removeAll()
        (isScanning, codeSet, leds) = (true, 2, 0)
        pendingCommand = nil
    }

    // MARK: From the host

    /// Room for a key's longest sequence (Pause, eight bytes).
    var hasRoom: Bool { codes.count + 8 <= Self.bufferBytes }

    /// A key goes down or up. Nothing is sent while the guest has scanning turned off.
    func setKey(_ key: ScanCodes.Key, isDown: Bool) {
        guard isScanning else { return }
        let sequence = ScanCodes.sequence(key, isDown: isDown, set: codeSet)
        if codes.count + sequence.count > Self.bufferBytes {
            codes.append(codeSet == 1 ? 0xFF : 0x00)
        } else {
            sequence.forEach { codes.append($0) }
        }
        hasData()
    }

    // MARK: For the controller

    func nextByte() -> UInt8? {
        guard let byte = answers.popFirst() ?? codes.popFirst() else { return nil }
        lastByte = byte
        return byte
    }

    func receive(_ value: UInt8) {
        // A command in the place of a parameter cancels the one that waits.
        if let command = pendingCommand, value < 0xED {
            pendingCommand = nil
            parameter(value, of: command)
        } else {
            pendingCommand = nil
            self.command(value)
        }
        hasData()
    }

    private func answer(_ bytes: UInt8...) { bytes.forEach { answers.append($0) } }

    private func parameter(_ value: UInt8, of command: UInt8) {
        switch command {
        case 0xED: leds = value & 7
        case 0xF0 where value == 0: return answer(Reply.acknowledge, codeSet)
        case 0xF0 where value == 1 || value == 2: codeSet = value
        case 0xF0: return answer(Reply.resend)
        default: break
        }
        answer(Reply.acknowledge)
    }

    private func command(_ value: UInt8) {
        switch value {
        case 0xED, 0xF0, 0xF3:
            pendingCommand = value
            answer(Reply.acknowledge)
        case 0xEE: answer(Reply.echo)
        case 0xF2: answer(Reply.acknowledge, 0xAB, 0x83)
        case 0xF4:
            isScanning = true
            answer(Reply.acknowledge)
        case 0xF5, 0xF6:
            codes.removeAll()
            codeSet = 2
            isScanning = value == 0xF6 ? isScanning : false
            answer(Reply.acknowledge)
        // Set 3's key types: accepted and without effect in the other sets.
        case 0xF7...0xFA: answer(Reply.acknowledge)
        case 0xFE: answer(lastByte)
        case 0xFF:
            reset()
            answer(Reply.acknowledge, Reply.passed)
        default: answer(Reply.resend)
        }
    }
}

extension PS2Keyboard {
    func exchange(_ c: StateCoder) {
        c.field("answers", &answers)
        c.field("codes", &codes)
        c.field("isScanning", &isScanning)
        c.field("codeSet", &codeSet, in: 1...2)
        c.field("pendingCommand", &pendingCommand)
        c.field("lastByte", &lastByte)
        c.field("leds", &leds)
    }
}
