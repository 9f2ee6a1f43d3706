import Testing

@testable import Emulator

@Suite struct UART16550Tests {
    let clock = FakeClock()
    let probe = Probe()
    let ports = PortBus()
    let recorder = SerialRecorder()
    let uart: UART16550

    init() {
        uart = UART16550(base: 0x3F8, scheduler: clock.scheduler, irq: probe.line, backend: recorder)
        uart.attach(to: ports)
        ports.out8(0x3FC, 0x0B)
    }

    @Test func bytesLeaveAndTheTransmitterIsEmptyAgain() {
        for byte in "hello".utf8 {
            #expect(ports.in8(0x3FD) & 0x60 == 0x60)
            ports.out8(0x3F8, byte)
        }
        #expect(recorder.bytes == Array("hello".utf8))
    }

    @Test func theTransmitInterruptComesWithEnableAndAfterEachWrite() {
        ports.out8(0x3F9, 2)
        #expect(probe.level)
        #expect(ports.in8(0x3FA) == 0x02)
        #expect(!probe.level, "reading IIR takes it back")
        #expect(ports.in8(0x3FA) == 0x01)
        ports.out8(0x3F8, 0x41)
        #expect(probe.level)
        let before = probe.rises
        ports.out8(0x3F8, 0x42)
        #expect(probe.rises == before + 1, "a second write is a new edge")
    }

    @Test func receivedBytesWaitUntilThereIsRoom() {
        uart.receive(Array("abc".utf8))
        var got: [UInt8] = []
        while ports.in8(0x3FD) & 1 != 0 { got.append(ports.in8(0x3F8)) }
        #expect(got == Array("abc".utf8))
    }

    @Test func theFIFOInterruptsAtItsTriggerOrAfterFourCharacterTimes() {
        ports.out8(0x3FA, 0x81)
        ports.out8(0x3F9, 1)
        uart.receive([UInt8](repeating: 0x55, count: 7))
        #expect(!probe.level)
        uart.receive([0x55])
        #expect(ports.in8(0x3FA) == 0xC4)
        for _ in 0..<8 { _ = ports.in8(0x3F8) }
        #expect(!probe.level)
        uart.receive([1])
        clock.advance(by: 4_000_000)
        #expect(!probe.level)
        // Four characters of ten bits at 9600 baud.
        clock.advance(by: 200_000)
        #expect(ports.in8(0x3FA) == 0xCC)
        #expect(ports.in8(0x3F8) == 1)
        #expect(!probe.level)
    }

    @Test func theFIFOHoldsSixteenAndTheHostTheRest() {
        ports.out8(0x3FA, 0x01)
        uart.receive(0..<40)
        for expected in 0..<40 as Range<UInt8> { #expect(ports.in8(0x3F8) == expected) }
        #expect(ports.in8(0x3FD) & 1 == 0)
    }

    @Test func loopbackReturnsDataAndModemLines() {
        ports.out8(0x3FC, 0x1A)
        #expect(ports.in8(0x3FE) & 0xF0 == 0x90, "RTS and OUT2 come back as CTS and DCD")
        ports.out8(0x3F8, 0x7E)
        #expect(ports.in8(0x3F8) == 0x7E)
        #expect(recorder.bytes.isEmpty)
        ports.out8(0x3FC, 0x0B)
        #expect(ports.in8(0x3FE) & 0xF0 == 0xB0)
    }

    @Test func identificationAsDriversDoIt() {
        ports.out8(0x3FB, 0x80)
        ports.out8(0x3F8, 1)
        ports.out8(0x3F9, 0)
        #expect(ports.in8(0x3F8) == 1)
        ports.out8(0x3FB, 0x03)
        ports.out8(0x3FF, 0xA5)
        #expect(ports.in8(0x3FF) == 0xA5)
        ports.out8(0x3FA, 0x01)
        #expect(ports.in8(0x3FA) == 0xC1)
        ports.out8(0x3FA, 0x00)
        #expect(ports.in8(0x3FA) == 0x01)
    }

    @Test func breakIsALineStatusInterrupt() {
        ports.out8(0x3F9, 4)
        uart.receiveBreak()
        #expect(ports.in8(0x3FA) == 0x06)
        #expect(ports.in8(0x3FD) & 0x11 == 0x11)
        #expect(!probe.level)
    }

    @Test func interruptsDoNotHangOnOUT2() {
        ports.out8(0x3FC, 0)
        ports.out8(0x3F9, 1)
        uart.receive([1])
        #expect(probe.level)
    }
}
