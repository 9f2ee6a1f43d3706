import Testing

@testable import Emulator

@Suite struct PIC8259Tests {
    let ports = PortBus()
    let pic = PIC8259()

    init() {
        pic.attach(to: ports)
        initialise()
    }

    /// Vectors 20h and 28h, everything unmasked, as an operating system does it.
    private func initialise(icw4: UInt8 = 1) {
        for (base, vector, cascade) in [(UInt16(0x20), UInt8(0x20), UInt8(4)), (0xA0, 0x28, 2)] {
            ports.out8(base, 0x11)
            ports.out8(base + 1, vector)
            ports.out8(base + 1, cascade)
            ports.out8(base + 1, icw4)
            ports.out8(base + 1, 0)
        }
    }

    @Test func anEdgeIsDeliveredOnceUntilEOI() {
        pic.setInput(1, true)
        #expect(pic.output)
        #expect(pic.acknowledge() == 0x21)
        #expect(!pic.output)
        pic.setInput(1, false)
        pic.setInput(1, true)
        #expect(!pic.output, "the level in service blocks itself")
        ports.out8(0x20, 0x20)
        #expect(pic.output)
    }

    @Test func theSlaveInterruptsThroughTheCascade() {
        pic.setInput(14, true)
        #expect(pic.acknowledge() == 0x2E)
        ports.out8(0x20, 0x0B)
        ports.out8(0xA0, 0x0B)
        #expect(ports.in8(0x20) == 0x04)
        #expect(ports.in8(0xA0) == 0x40)
    }

    @Test func lowerNumbersComeFirstAndPreempt() {
        pic.setInput(4, true)
        pic.setInput(3, true)
        #expect(pic.acknowledge() == 0x23)
        pic.setInput(0, true)
        #expect(pic.acknowledge() == 0x20)
        ports.out8(0x20, 0x20)
        ports.out8(0x20, 0x20)
        #expect(pic.acknowledge() == 0x24)
    }

    @Test func aLevelInputAsksAgainWhileItIsHigh() {
        ports.out8(0x4D1, 0x0C)
        pic.setInput(10, true)
        #expect(pic.acknowledge() == 0x2A)
        ports.out8(0xA0, 0x20)
        ports.out8(0x20, 0x20)
        #expect(pic.output)
        #expect(pic.acknowledge() == 0x2A)
        pic.setInput(10, false)
        ports.out8(0xA0, 0x20)
        ports.out8(0x20, 0x20)
        #expect(!pic.output)
    }

    @Test func inputsOfTheBoardCannotBeLevelTriggered() {
        ports.out8(0x4D0, 0xFF)
        ports.out8(0x4D1, 0xFF)
        #expect(ports.in8(0x4D0) == 0xF8)
        #expect(ports.in8(0x4D1) == 0xDE)
    }

    @Test func aRequestThatIsGoneIsSpurious() {
        ports.out8(0x4D0, 0x20)
        pic.setInput(5, true)
        pic.setInput(5, false)
        #expect(pic.acknowledge() == 0x27)
    }

    @Test func maskedInputsWaitInTheIRR() {
        ports.out8(0x21, 0x02)
        pic.setInput(1, true)
        pic.setInput(1, false)
        #expect(!pic.output)
        ports.out8(0x20, 0x0A)
        #expect(ports.in8(0x20) == 0x02)
        ports.out8(0x21, 0x00)
        #expect(pic.acknowledge() == 0x21)
    }

    @Test func automaticEOILeavesNothingInService() {
        initialise(icw4: 3)
        pic.setInput(6, true)
        #expect(pic.acknowledge() == 0x26)
        ports.out8(0x20, 0x0B)
        #expect(ports.in8(0x20) == 0)
    }

    @Test func rotationMakesTheServedInputTheLast() {
        pic.setInput(3, true)
        _ = pic.acknowledge()
        ports.out8(0x20, 0xA0)
        pic.setInput(3, false)
        pic.setInput(3, true)
        pic.setInput(4, true)
        #expect(pic.acknowledge() == 0x24)
        ports.out8(0x20, 0xC7)
        ports.out8(0x20, 0x64)
        #expect(pic.acknowledge() == 0x23)
    }

    @Test func specialMaskModeLetsLowerPrioritiesThrough() {
        pic.setInput(2 + 1, true)
        _ = pic.acknowledge()
        pic.setInput(5, true)
        #expect(!pic.output)
        ports.out8(0x21, 0x08)
        ports.out8(0x20, 0x68)
        #expect(pic.acknowledge() == 0x25)
    }

    @Test func pollingAcknowledges() {
        pic.setInput(6, true)
        ports.out8(0x20, 0x0C)
        #expect(ports.in8(0x20) == 0x86)
        #expect(!pic.output)
        ports.out8(0x20, 0x0C)
        #expect(ports.in8(0x20) == 0)
    }
}
