/// Single-byte system ports that belong to no larger device.
///
/// | port | what |
/// | --- | --- |
/// | 80 | POST code: written by firmware, and by everybody as an I/O delay |
/// | 92 | system control port A: bit 0 fast reset, bit 1 A20 |
/// | F0, F1 | clear the FPU's busy latch (IRQ 13) |
/// | 402 | SeaBIOS's debug port: reads E9h, writes are characters of its log |
final class SystemPorts: PortDevice, BoardDevice {
    private static let debugPort: UInt16 = 0x402
    /// What tells the firmware that somebody reads its log.
    private static let debugPresent: UInt8 = 0xE9

    private var postCode: UInt8 = 0
    private var portA: UInt8 = 0
    private let a20: A20Gate
    /// Raised by the CPU for unmasked FPU errors while CR0.NE is clear.
    private let fpuIRQ: IRQLine
    var resetRequested: () -> Void = {}
    /// Characters of the firmware's log.
    var debugOutput: (UInt8) -> Void = { _ in }
    /// A byte written to port 80h.
    var postCodeWritten: (UInt8) -> Void = { _ in }

    init(a20: A20Gate, fpuIRQ: IRQLine) {
        self.a20 = a20
        self.fpuIRQ = fpuIRQ
    }

    func attach(to ports: PortBus) {
        ports.claim(0x80, count: 1, by: self)
        ports.claim(0x92, count: 1, by: self)
        ports.claim(0xF0, count: 2, by: self)
        ports.claim(Self.debugPort, count: 1, by: self)
    }

    /// FERR#: held until the handler writes port F0h.
    func raiseFloatingPointError() { fpuIRQ.set(true) }

    func reset() {
        postCode = 0
        portA = 0
        fpuIRQ.set(false)
    }

    func portRead(_ port: UInt16, size: Int) -> UInt32 { PortBus.splitRead(port, size: size, readByte) }
    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        PortBus.splitWrite(port, size: size, value: value, writeByte)
    }

    private func readByte(_ port: UInt16) -> UInt8 {
        switch port {
        case 0x80: postCode
        case 0x92: portA & ~2 | (a20.isOpen ? 2 : 0)
        case Self.debugPort: Self.debugPresent
        default: 0xFF
        }
    }

    private func writeByte(_ port: UInt16, _ value: UInt8) {
        switch port {
        case 0x80:
            postCode = value
            postCodeWritten(value)
        case 0x92:
            let wasReset = portA & 1 != 0
            portA = value & ~1
            a20.set(open: value & 2 != 0)
            if value & 1 != 0, !wasReset { resetRequested() }
        case 0xF0, 0xF1: fpuIRQ.set(false)
        case Self.debugPort: debugOutput(value)
        default: break
        }
    }
}

extension SystemPorts {
    var stateID: String { "system-ports" }

    func exchange(_ c: StateCoder) {
        c.field("fpuIRQ", fpuIRQ)
        c.field("postCode", &postCode)
        c.field("portA", &portA)
    }
}

/// The A20 gate: open when the keyboard controller or port 92h opens it.
final class A20Gate: BoardDevice {
    private let memory: PhysicalMap
    private(set) var isOpen = true

    init(memory: PhysicalMap) { self.memory = memory }

    /// The last writer wins: that is how guests that know only one of the two ports expect it.
    func set(open: Bool) {
        isOpen = open
        memory.a20Mask = open ? ~0 : ~(1 << 20)
    }

    /// Power-on and reset: open, as QEMU does it, so that the reset vector at the top of memory is reachable.
    func reset() { set(open: true) }

    var stateID: String { "a20" }

    func exchange(_ c: StateCoder) { c.field("isOpen", isOpen) { set(open: $0) } }
}

/// QEMU's `isa-debug-exit`: a write ends the virtual machine. Its status, `value << 1 | 1`, is made of the value by who ends the process.
final class DebugExitPort: PortDevice {
    private let exit: (UInt32) -> Void

    init(exit: @escaping (UInt32) -> Void) { self.exit = exit }

    func portRead(_ port: UInt16, size: Int) -> UInt32 { 0 }
    func portWrite(_ port: UInt16, size: Int, value: UInt32) { exit(value) }
}
