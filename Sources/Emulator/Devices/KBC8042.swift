/// Intel 8042 keyboard controller of the PS/2, with keyboard and mouse (IBM PS/2 Hardware Interface Technical Reference,
/// "Keyboard and Auxiliary Device Controller").
///
/// | port | read | write |
/// | --- | --- | --- |
/// | 60 | output buffer | byte for the keyboard, or a command's parameter |
/// | 64 | status: 0 output full, 2 self test passed, 3 last write was a command, 4 not locked, 5 from the mouse | command |
///
/// Command byte: 0 keyboard interrupt, 1 mouse interrupt, 2 system flag, 4 keyboard off, 5 mouse off, 6 translate to set 1.
/// Output port: 0 not reset, 1 A20, 4 keyboard data, 5 mouse data. IRQ 1 and IRQ 12 follow the output buffer.
final class KBC8042: PortDevice, BoardDevice {
    private enum Status {
        static let outputFull: UInt8 = 0x01, system: UInt8 = 0x04, command: UInt8 = 0x08, unlocked: UInt8 = 0x10
        static let fromMouse: UInt8 = 0x20
    }
    private enum Mode {
        static let keyboardInterrupt: UInt8 = 0x01, mouseInterrupt: UInt8 = 0x02, system: UInt8 = 0x04
        static let keyboardOff: UInt8 = 0x10, mouseOff: UInt8 = 0x20, translates: UInt8 = 0x40
    }
    private enum Source: UInt8 { case controller = 0, keyboard, mouse, mouseEcho }

    let keyboard = PS2Keyboard()
    let mouse = PS2Mouse()
    private let a20: A20Gate
    private let keyboardIRQ: IRQLine
    private let mouseIRQ: IRQLine
    var resetRequested: () -> Void = {}

    private var mode: UInt8 = Mode.keyboardInterrupt | Mode.mouseInterrupt
    private var ram = [UInt8](repeating: 0, count: 32)
    private var selfTested = false
    private var lastWriteWasCommand = true
    /// The command that the next write to port 60h completes.
    private var pendingCommand: UInt8?
    /// Answers that wait for the output buffer. A real controller has room for the one in the buffer only; a guest that
    /// asks without reading loses what comes when all of these are taken.
    private var replies: [(byte: UInt8, isMouse: Bool)] = []
    private static let replyLimit = 16
    private var output: UInt8 = 0
    private var source: Source?
    /// The translator saw F0h: the next code is a release.
    private var releasing = false

    init(a20: A20Gate, keyboardIRQ: IRQLine, mouseIRQ: IRQLine) {
        self.a20 = a20
        self.keyboardIRQ = keyboardIRQ
        self.mouseIRQ = mouseIRQ
        keyboard.hasData = { [weak self] in self?.fill() }
        mouse.hasData = { [weak self] in self?.fill() }
    }

    func attach(to ports: PortBus) {
        ports.claim(0x60, count: 1, by: self)
        ports.claim(0x64, count: 1, by: self)
    }

    func reset() {
        mode = Mode.keyboardInterrupt | Mode.mouseInterrupt
        (selfTested, lastWriteWasCommand, releasing) = (false, true, false)
        pendingCommand = nil
        replies = []
        source = nil
        keyboard.reset()
        mouse.reset()
        updateInterrupts()
    }

    // MARK: Output buffer

    /// Moves the next byte into the empty output buffer: the controller's own first, then keyboard, then mouse.
    private func fill() {
        guard source == nil else { return }
        if !replies.isEmpty {
            let reply = replies.removeFirst()
            output = reply.byte
            source = reply.isMouse ? .mouseEcho : .controller
        } else if mode & Mode.keyboardOff == 0, let byte = nextKeyboardByte() {
            output = byte
            source = .keyboard
        } else if mode & Mode.mouseOff == 0, let byte = mouse.nextByte() {
            output = byte
            source = .mouse
        }
        updateInterrupts()
    }

    private func nextKeyboardByte() -> UInt8? {
        while let byte = keyboard.nextByte() {
            guard mode & Mode.translates != 0 else { return byte }
            if byte == 0xF0 {
                releasing = true
                continue
            }
            defer { releasing = false }
            return ScanCodes.translated(byte) | (releasing ? 0x80 : 0)
        }
        return nil
    }

    private var isFromMouse: Bool { source == .mouse || source == .mouseEcho }

    private func updateInterrupts() {
        keyboardIRQ.set(source != nil && !isFromMouse && mode & Mode.keyboardInterrupt != 0)
        mouseIRQ.set(isFromMouse && mode & Mode.mouseInterrupt != 0)
    }

    private func reply(_ byte: UInt8, isMouse: Bool = false) {
        if replies.count < Self.replyLimit { replies.append((byte, isMouse)) }
        fill()
    }

    // MARK: Ports

    func portRead(_ port: UInt16, size: Int) -> UInt32 { port == 0x64 ? UInt32(status) : UInt32(readData()) }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        let byte = UInt8(truncatingIfNeeded: value)
        lastWriteWasCommand = port == 0x64
        if port == 0x64 { writeCommand(byte) } else { writeData(byte) }
    }

    private var status: UInt8 {
        (source != nil ? Status.outputFull : 0) | (isFromMouse ? Status.fromMouse : 0)
            | (selfTested || mode & Mode.system != 0 ? Status.system : 0)
            | (lastWriteWasCommand ? Status.command : 0) | Status.unlocked
    }

    /// Reading empties the buffer; the wire falls, so that the next byte is an edge again.
    private func readData() -> UInt8 {
        let value = output
        source = nil
        updateInterrupts()
        fill()
        return value
    }

    private var outputPort: UInt8 {
        0x01 | (a20.isOpen ? 0x02 : 0) | (source != nil && !isFromMouse ? 0x10 : 0) | (isFromMouse ? 0x20 : 0)
    }

    private func writeOutputPort(_ value: UInt8) {
        a20.set(open: value & 2 != 0)
        if value & 1 == 0 { resetRequested() }
    }

    private func writeCommand(_ command: UInt8) {
        pendingCommand = nil
        switch command {
        case 0x20: reply(mode)
        case 0x21...0x3F: reply(ram[Int(command & 0x1F)])
        case 0x60...0x7F, 0xD1...0xD4: pendingCommand = command
        case 0xA7: mode |= Mode.mouseOff
        case 0xA8: setMode(mode & ~Mode.mouseOff)
        case 0xA9, 0xAB: reply(0x00)
        case 0xAA:
            selfTested = true
            reply(0x55)
        case 0xAD: mode |= Mode.keyboardOff
        case 0xAE: setMode(mode & ~Mode.keyboardOff)
        // Input port: bit 7 says that the keyboard is not locked.
        case 0xC0: reply(0x80)
        case 0xD0: reply(outputPort)
        case 0xDD: a20.set(open: false)
        case 0xDF: a20.set(open: true)
        // Pulses of output port bits 3–0 that are clear in the command; only bit 0 is wired.
        case 0xF0...0xFF: if command & 1 == 0 { resetRequested() }
        default: break
        }
    }

    private func setMode(_ value: UInt8) {
        mode = value
        fill()
        updateInterrupts()
    }

    private func writeData(_ value: UInt8) {
        let command = pendingCommand
        pendingCommand = nil
        switch command {
        case 0x60: setMode(value)
        case .some(0x61...0x7F): ram[Int((command ?? 0) & 0x1F)] = value
        case 0xD1: writeOutputPort(value)
        case 0xD2: reply(value)
        case 0xD3: reply(value, isMouse: true)
        case 0xD4:
            // Talking to a device turns its clock on.
            mode &= ~Mode.mouseOff
            mouse.receive(value)
        default:
            mode &= ~Mode.keyboardOff
            keyboard.receive(value)
        }
    }
}

extension KBC8042 {
    var stateID: String { "kbc" }

    func exchange(_ c: StateCoder) {
        c.field("keyboardIRQ", keyboardIRQ)
        c.field("mouseIRQ", mouseIRQ)
        c.field("mode", &mode)
        c.field("ram", &ram)
        c.field("selfTested", &selfTested)
        c.field("lastWriteWasCommand", &lastWriteWasCommand)
        c.field("pendingCommand", &pendingCommand)
        // Bit 8: from the mouse.
        var words = replies.map { UInt16($0.byte) | ($0.isMouse ? 0x100 : 0) }
        c.field("replies", &words, count: 0...Self.replyLimit)
        if c.isRestoring { replies = words.map { (UInt8(truncatingIfNeeded: $0), $0 & 0x100 != 0) } }
        c.field("output", &output)
        var code = source?.rawValue
        c.field("source", &code)
        c.check(code == nil || code.flatMap(Source.init(rawValue:)) != nil, "an output buffer filled by nobody")
        source = code.flatMap(Source.init(rawValue:))
        c.field("releasing", &releasing)
        c.group("keyboard") { keyboard.exchange(c) }
        c.group("mouse") { mouse.exchange(c) }
    }
}
