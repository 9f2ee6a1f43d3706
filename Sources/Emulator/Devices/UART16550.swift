/// National Semiconductor PC16550D serial port (datasheet, section 8).
///
/// | offset | read | write |
/// | --- | --- | --- |
/// | 0 | RBR; DLL when DLAB | THR; DLL |
/// | 1 | IER; DLM | IER: 0 data, 1 THR empty, 2 line status, 3 modem status |
/// | 2 | IIR: 0 none pending, 3–1 cause, 7–6 FIFOs on | FCR: 0 enable, 1 clear RX, 2 clear TX, 7–6 trigger level |
/// | 3 | LCR: 1–0 bits, 2 stop, 3–5 parity, 6 break, 7 DLAB | LCR |
/// | 4 | MCR: 0 DTR, 1 RTS, 2 OUT1, 3 OUT2, 4 loop | MCR |
/// | 5 | LSR: 0 data, 1 overrun, 4 break, 5 THR empty, 6 idle | – |
/// | 6 | MSR: 0–3 deltas, 4 CTS, 5 DSR, 6 RI, 7 DCD | – |
/// | 7 | scratch | scratch |
///
/// Bytes leave at once, so the transmitter is always empty; incoming bytes wait on the host's side until there is room.
final class UART16550: PortDevice, BoardDevice {
    private enum IER { static let data: UInt8 = 1, transmit: UInt8 = 2, line: UInt8 = 4, modem: UInt8 = 8 }
    private enum LSR {
        static let data: UInt8 = 0x01, overrun: UInt8 = 0x02, breakReceived: UInt8 = 0x10
        static let transmitEmpty: UInt8 = 0x60
    }
    private enum MCR { static let dtr: UInt8 = 1, rts: UInt8 = 2, out1: UInt8 = 4, out2: UInt8 = 8, loop: UInt8 = 0x10 }
    private static let fifoDepth = 16
    /// Bytes from the host that may wait; what a host sends beyond that without waiting is lost, as on a real line.
    static let waitingLimit = 1 << 20
    /// CTS, DSR and DCD of a connected peer.
    private static let connected: UInt8 = 0xB0

    private let base: UInt16
    private let scheduler: Scheduler
    private let irq: IRQLine
    private let backend: (any SerialBackend)?

    private var interruptEnable: UInt8 = 0
    private var fifoControl: UInt8 = 0
    private var lineControl: UInt8 = 0
    private var modemControl: UInt8 = 0
    private var lineErrors: UInt8 = 0
    private var modemStatus: UInt8 = UART16550.connected
    private var scratch: UInt8 = 0
    private var divisor: UInt16 = 12
    /// THR-empty interrupt pending: set by the emptying transmitter, cleared by reading IIR or writing THR.
    private var transmitPending = false
    /// Received data sat below the trigger level for four character times.
    private var timedOut = false
    private var received = ByteQueue(capacity: UART16550.fifoDepth)
    /// What the host has sent and the receiver has no room for yet. Hosts wait for `inputTaken` long before it is full.
    private var waiting = ByteQueue(capacity: UART16550.waitingLimit)
    private var timeout: Scheduler.Timer?

    init(base: UInt16, scheduler: Scheduler, irq: IRQLine, backend: (any SerialBackend)?) {
        self.base = base
        self.scheduler = scheduler
        self.irq = irq
        self.backend = backend
        timeout = scheduler.makeTimer("uart-\(String(base, radix: 16))") { [weak self] _ in
            guard let self, !self.received.isEmpty else { return }
            self.timedOut = true
            self.updateIRQ()
        }
    }

    func attach(to ports: PortBus) { ports.claim(base, count: 8, by: self) }

    func reset() {
        (interruptEnable, fifoControl, lineControl, modemControl, lineErrors) = (0, 0, 0, 0, 0)
        modemStatus = Self.connected
        scratch = 0
        divisor = 12
        (transmitPending, timedOut) = (false, false)
        received.removeAll()
        updateIRQ()
    }

    // MARK: From the host

    /// Bytes for the guest; kept until it reads them.
    func receive(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { waiting.append(byte) }
        refill()
    }

    /// The peer holds the line in break condition.
    func receiveBreak() {
        lineErrors |= LSR.breakReceived
        if received.isFull { lineErrors |= LSR.overrun } else { received.append(0) }
        updateIRQ()
    }

    private var usesFIFO: Bool { fifoControl & 1 != 0 }
    private var capacity: Int { usesFIFO ? Self.fifoDepth : 1 }
    private var trigger: Int { usesFIFO ? [1, 4, 8, 14][Int(fifoControl >> 6)] : 1 }

    private func refill() {
        var taken = 0
        while received.count < capacity, modemControl & MCR.loop == 0, let byte = waiting.popFirst() {
            received.append(byte)
            taken += 1
        }
        if taken > 0 { backend?.inputTaken(taken) }
        armTimeout()
        updateIRQ()
    }

    /// Four characters of ten bits at the programmed rate.
    private func armTimeout() {
        guard let timeout else { return }
        if usesFIFO, !received.isEmpty, received.count < trigger, !timedOut {
            let characterNanoseconds = UInt64(max(divisor, 1)) * 16 * 10 * ClockRates.nanosecondsPerSecond / 1_843_200
            scheduler.arm(timeout, at: scheduler.nowNanoseconds + 4 * characterNanoseconds)
        } else {
            scheduler.cancel(timeout)
        }
    }

    // MARK: Interrupts

    /// IIR bits 3–0 of the most urgent cause.
    private var interruptCause: UInt8 {
        if interruptEnable & IER.line != 0, lineErrors != 0 { return 0x06 }
        if interruptEnable & IER.data != 0, !received.isEmpty {
            if received.count >= trigger { return 0x04 }
            if timedOut { return 0x0C }
        }
        if interruptEnable & IER.transmit != 0, transmitPending { return 0x02 }
        if interruptEnable & IER.modem != 0, modemStatus & 0x0F != 0 { return 0x00 }
        return 0x01
    }

    private func updateIRQ() {
        // OUT2 gates nothing, as on QEMU's PC: small kernels leave it clear.
        irq.set(interruptCause != 0x01)
    }

    private func setModemLines(_ lines: UInt8) {
        let changed = (modemStatus ^ lines) & 0xF0
        // RI reports only its trailing edge.
        let deltas = changed >> 4 & 0x0B | (changed & 0x40 != 0 && lines & 0x40 == 0 ? 4 : 0)
        modemStatus = lines & 0xF0 | modemStatus & 0x0F | deltas
    }

    // MARK: Ports

    func portRead(_ port: UInt16, size: Int) -> UInt32 {
        PortBus.splitRead(port, size: size) { $0 &- base < 8 ? readRegister($0 &- base) : 0xFF }
    }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        PortBus.splitWrite(port, size: size, value: value) { port, byte in
            if port &- base < 8 { writeRegister(port &- base, byte) }
        }
    }

    private var isDivisorSelected: Bool { lineControl & 0x80 != 0 }

    private func readRegister(_ offset: UInt16) -> UInt8 {
        switch offset {
        case 0:
            if isDivisorSelected { return UInt8(truncatingIfNeeded: divisor) }
            let byte = received.popFirst() ?? 0
            timedOut = false
            refill()
            return byte
        case 1: return isDivisorSelected ? UInt8(truncatingIfNeeded: divisor >> 8) : interruptEnable
        case 2:
            let cause = interruptCause
            if cause == 0x02 {
                transmitPending = false
                updateIRQ()
            }
            return cause | (usesFIFO ? 0xC0 : 0)
        case 3: return lineControl
        case 4: return modemControl
        case 5:
            let status = LSR.transmitEmpty | lineErrors | (received.isEmpty ? 0 : LSR.data)
            lineErrors = 0
            updateIRQ()
            return status
        case 6:
            let status = modemStatus
            modemStatus &= 0xF0
            updateIRQ()
            return status
        default: return scratch
        }
    }

    private func writeRegister(_ offset: UInt16, _ value: UInt8) {
        switch offset {
        case 0 where isDivisorSelected: divisor = divisor & 0xFF00 | UInt16(value)
        case 0: transmit(value)
        case 1 where isDivisorSelected: divisor = divisor & 0x00FF | UInt16(value) << 8
        case 1:
            let enabled = value & ~interruptEnable
            interruptEnable = value & 0x0F
            // The transmitter is empty: enabling its interrupt raises it.
            if enabled & IER.transmit != 0 { transmitPending = true }
            updateIRQ()
        case 2: writeFIFOControl(value)
        case 3: lineControl = value
        case 4: writeModemControl(value)
        case 7: scratch = value
        default: break
        }
    }

    private func transmit(_ value: UInt8) {
        if modemControl & MCR.loop != 0 {
            if received.count < capacity { received.append(value) } else { lineErrors |= LSR.overrun }
            armTimeout()
        } else {
            backend?.transmit(value)
        }
        transmitPending = true
        // The interrupt goes away with the write and comes back with the empty transmitter: listeners see the edge.
        if interruptCause == 0x02 { irq.set(false) }
        updateIRQ()
    }

    private func writeFIFOControl(_ value: UInt8) {
        // Switching the FIFOs on or off empties them.
        if (value ^ fifoControl) & 1 != 0 || value & 2 != 0 {
            received.removeAll()
            timedOut = false
        }
        if value & 4 != 0 || (value ^ fifoControl) & 1 != 0 { transmitPending = true }
        fifoControl = value & 1 != 0 ? value & 0xC9 : 0
        refill()
    }

    private func writeModemControl(_ value: UInt8) {
        let wasLoop = modemControl & MCR.loop != 0
        modemControl = value & 0x1F
        if value & MCR.loop != 0 {
            // DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD.
            let lines: UInt8 =
                (value & MCR.dtr != 0 ? 0x20 : 0) | (value & MCR.rts != 0 ? 0x10 : 0)
                | (value & MCR.out1 != 0 ? 0x40 : 0) | (value & MCR.out2 != 0 ? 0x80 : 0)
            setModemLines(lines)
        } else if wasLoop {
            setModemLines(Self.connected)
        }
        refill()
    }
}

extension UART16550 {
    var stateID: String { "uart-\(String(base, radix: 16))" }

    func exchange(_ c: StateCoder) {
        c.field("irq", irq)
        c.field("interruptEnable", &interruptEnable)
        c.field("fifoControl", &fifoControl)
        c.field("lineControl", &lineControl)
        c.field("modemControl", &modemControl)
        c.field("lineErrors", &lineErrors)
        c.field("modemStatus", &modemStatus)
        c.field("scratch", &scratch)
        c.field("divisor", &divisor)
        c.field("transmitPending", &transmitPending)
        c.field("timedOut", &timedOut)
        c.field("received", &received)
        c.field("waiting", &waiting)
    }
}
