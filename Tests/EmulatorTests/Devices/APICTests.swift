import Testing

@testable import Emulator

/// Local APIC, I/O APIC and the 8259 pair wired as on the board.
final class APICRig {
    let clock = FakeClock()
    let pic = PIC8259()
    let apic: LocalAPIC
    let ioAPIC: IOAPIC
    let wires: InterruptWires
    let ports = PortBus()
    var line = false

    init() {
        let clock = clock
        apic = LocalAPIC(pic: pic, scheduler: clock.scheduler, tscHertz: 1_000_000_000) { clock.now }
        ioAPIC = IOAPIC(bus: APICBus([apic]), pic: pic)
        wires = InterruptWires(pic: pic, ioAPIC: ioAPIC)
        apic.interruptLineChanged = { [unowned self] in self.line = $0 }
        pic.attach(to: ports)
        for (base, vector) in [(UInt16(0x20), UInt8(0x20)), (0xA0, 0x28)] {
            ports.out8(base, 0x11)
            ports.out8(base + 1, vector)
            ports.out8(base + 1, base == 0x20 ? 4 : 2)
            ports.out8(base + 1, 1)
            ports.out8(base + 1, 0)
        }
    }

    func write(_ offset: UInt64, _ value: UInt32) { apic.mmioWrite(offset, size: 4, value: UInt64(value)) }
    func read(_ offset: UInt64) -> UInt32 { UInt32(apic.mmioRead(offset, size: 4)) }
    func enable() { write(0xF0, 0x1FF) }

    func redirect(_ pin: Int, low: UInt32, high: UInt32 = 0) {
        ioWrite(0x11 + UInt32(pin) * 2, high)
        ioWrite(0x10 + UInt32(pin) * 2, low)
    }
    func ioWrite(_ register: UInt32, _ value: UInt32) {
        ioAPIC.mmioWrite(0x00, size: 4, value: UInt64(register))
        ioAPIC.mmioWrite(0x10, size: 4, value: UInt64(value))
    }
    func ioRead(_ register: UInt32) -> UInt32 {
        ioAPIC.mmioWrite(0x00, size: 4, value: UInt64(register))
        return UInt32(ioAPIC.mmioRead(0x10, size: 4))
    }
}

@Suite struct LocalAPICTests {
    let rig = APICRig()

    @Test func afterResetThe8259PassesThrough() {
        rig.wires.line(4).set(true)
        #expect(rig.line)
        #expect(rig.apic.acknowledgeInterrupt() == 0x24)
        #expect(!rig.line)
    }

    @Test func enabledWithMaskedLINT0The8259IsShutOut() {
        rig.enable()
        rig.write(0x350, 0x1_0700)
        rig.wires.line(4).set(true)
        #expect(!rig.line)
        #expect(rig.apic.acknowledgeInterrupt() == nil)
        rig.write(0x350, 0x700)
        #expect(rig.line)
        rig.write(0x350, 0x1_0700)
        #expect(rig.apic.writeBase(rig.apic.baseMSR & ~0x800))
        #expect(rig.line, "globally disabled: the wire goes straight to the processor")
    }

    @Test func LINT0AsFixedInputTakesTheEdge() {
        rig.enable()
        rig.write(0x350, 0x31)
        rig.wires.line(0).set(true)
        #expect(rig.apic.acknowledgeInterrupt() == 0x31)
    }

    @Test func prioritiesAndEOI() {
        rig.enable()
        rig.apic.deliver(vector: 0x41, mode: .fixed, isLevel: false)
        rig.apic.deliver(vector: 0x55, mode: .fixed, isLevel: false)
        #expect(rig.apic.acknowledgeInterrupt() == 0x55)
        #expect(!rig.line)
        #expect(rig.read(0xA0) == 0x50)
        #expect(rig.read(0x100 + 0x20) == 1 << 21)
        #expect(rig.read(0x200 + 0x20) == 1 << 1)
        rig.apic.deliver(vector: 0x61, mode: .fixed, isLevel: false)
        #expect(rig.apic.acknowledgeInterrupt() == 0x61, "a higher class preempts")
        rig.write(0xB0, 0)
        rig.write(0xB0, 0)
        #expect(rig.apic.acknowledgeInterrupt() == 0x41)
    }

    @Test func theTaskPriorityHoldsInterruptsBack() {
        rig.enable()
        rig.apic.taskPriority = 0x50
        rig.apic.deliver(vector: 0x5F, mode: .fixed, isLevel: false)
        #expect(!rig.line)
        rig.write(0x80, 0x4F)
        #expect(rig.line)
        #expect(rig.apic.taskPriority == 0x4F)
    }

    @Test func theTimerCountsDownAndRepeats() {
        rig.enable()
        rig.write(0x320, 0x2_0030)
        rig.write(0x3E0, 0x3)
        rig.write(0x380, 1000)
        rig.clock.advance(by: 1600)
        #expect(rig.read(0x390) == 900)
        #expect(!rig.line)
        rig.clock.advance(by: 14_400)
        #expect(rig.apic.acknowledgeInterrupt() == 0x30)
        rig.write(0xB0, 0)
        rig.clock.advance(by: 16_000)
        #expect(rig.line)
        rig.write(0x380, 0)
        _ = rig.apic.acknowledgeInterrupt()
        rig.write(0xB0, 0)
        rig.clock.advance(by: 1_000_000)
        #expect(!rig.line)
    }

    @Test func theOneShotTimerFiresOnce() {
        rig.enable()
        rig.write(0x320, 0x31)
        rig.write(0x3E0, 0xB)
        rig.write(0x380, 5000)
        rig.clock.advance(by: 5000)
        #expect(rig.apic.acknowledgeInterrupt() == 0x31)
        #expect(rig.read(0x390) == 0)
        rig.write(0xB0, 0)
        rig.clock.advance(by: 100_000)
        #expect(!rig.line)
    }

    @Test func theDeadlineTimerFollowsTheTSC() {
        rig.enable()
        rig.apic.tscDeadlineMSR = 500
        #expect(rig.apic.tscDeadlineMSR == 0, "only in its mode")
        rig.write(0x320, 0x4_0032)
        rig.apic.tscDeadlineMSR = 7000
        rig.clock.advance(by: 6999)
        #expect(!rig.line)
        rig.clock.advance(by: 1)
        #expect(rig.apic.acknowledgeInterrupt() == 0x32)
        #expect(rig.apic.tscDeadlineMSR == 0)
        rig.write(0xB0, 0)
        rig.apic.tscDeadlineMSR = 10
        #expect(rig.line, "a deadline in the past fires at once")
        #expect(rig.apic.tscDeadlineMSR == 0)
    }

    @Test func anExpiredTimerStaysSoWhenItBecomesPeriodic() {
        rig.enable()
        rig.write(0x3E0, 0xB)
        rig.write(0x320, 0x32)
        rig.write(0x380, 100)
        rig.clock.advance(by: 150)
        #expect(rig.apic.acknowledgeInterrupt() == 0x32)
        rig.write(0xB0, 0)
        rig.write(0x320, 0x2_0032)
        #expect(rig.read(0x390) == 0)
        rig.clock.advance(by: 1000)
        #expect(!rig.line)
        rig.write(0x380, 100)
        rig.clock.advance(by: 100)
        #expect(rig.line)
        // The other way round the count of the running period goes on.
        rig.clock.advance(by: 230)
        rig.write(0x320, 0x32)
        #expect(rig.read(0x390) == 70)
    }

    @Test func theBaseRefusesReservedBits() {
        #expect(rig.apic.writeBase(0xFEE0_0900))
        for bit in [0, 7, 9, 40, 63] { #expect(!rig.apic.writeBase(0xFEE0_0900 | 1 << UInt64(bit)), "bit \(bit)") }
        rig.apic.offersX2APIC = false
        #expect(!rig.apic.writeBase(0xFEE0_0D00))
    }

    @Test func x2APICModeIsEnteredFromXAPICModeAndLeftByDisabling() {
        let base: UInt64 = 0xFEE0_0000, enabled: UInt64 = 0x800, extended: UInt64 = 0x400
        #expect(!rig.apic.writeBase(base | extended))
        #expect(rig.apic.writeBase(base | enabled | extended))
        #expect(rig.apic.mappedBase == nil)
        #expect(!rig.apic.writeBase(base | enabled))
        #expect(rig.apic.writeBase(base))
        #expect(!rig.apic.writeBase(base | enabled | extended))
        #expect(rig.apic.writeBase(base | enabled))
        #expect(rig.apic.mappedBase == base)
    }

    @Test func x2APICRegistersAreMSRs() {
        #expect(rig.apic.readX2APIC(0x803) == nil, "not in xAPIC mode")
        #expect(rig.apic.writeBase(0xFEE0_0D00))
        #expect(rig.apic.readX2APIC(0x803) == 0x5_0014)
        #expect(rig.apic.readX2APIC(0x80D) == 1)
        #expect(rig.apic.writeX2APIC(0x80F, 0x1FF))
        // To itself, by shorthand, by destination, and through the register for that.
        #expect(rig.apic.writeX2APIC(0x830, 0x4_0055))
        #expect(rig.apic.acknowledgeInterrupt() == 0x55)
        #expect(rig.apic.writeX2APIC(0x80B, 0))
        #expect(rig.apic.writeX2APIC(0x830, 0x1_0000_0056))
        #expect(!rig.line, "no such processor")
        #expect(rig.apic.writeX2APIC(0x830, 0x1_0000_0856))
        #expect(rig.apic.acknowledgeInterrupt() == 0x56)
        #expect(rig.apic.writeX2APIC(0x80B, 0))
        #expect(rig.apic.writeX2APIC(0x83F, 0x57))
        #expect(rig.apic.acknowledgeInterrupt() == 0x57)
        for (number, value) in [(0x80B, 1), (0x802, 0), (0x80E, 0), (0x831, 0), (0x808, 0x100), (0x83F, 0x100)] {
            #expect(!rig.apic.writeX2APIC(UInt32(number), UInt64(value)), "\(String(number, radix: 16))")
        }
        for number in [0x80B, 0x80E, 0x831, 0x83F, 0x804] {
            #expect(rig.apic.readX2APIC(UInt32(number)) == nil, "\(String(number, radix: 16))")
        }
    }

    @Test func interruptCommands() {
        rig.enable()
        rig.write(0x300, 0x4_0077)
        #expect(rig.apic.acknowledgeInterrupt() == 0x77)
        rig.write(0xB0, 0)
        rig.write(0x300, 0xC_0078)
        #expect(!rig.line, "all but self is nobody")
        rig.write(0x310, 0x0100_0000)
        rig.write(0x300, 0x79)
        #expect(!rig.line, "no such processor")
        var nmis = 0
        rig.apic.nmi = { nmis += 1 }
        rig.write(0x310, 0)
        rig.write(0x300, 0x400)
        #expect(nmis == 1)
        rig.write(0x300, 0x4_0005)
        rig.write(0x280, 0)
        #expect(rig.read(0x280) == 0x20, "vectors below 16 are errors")
    }

    @Test func logicalDestinations() {
        rig.write(0xD0, 0x0200_0000)
        #expect(rig.apic.matches(destination: 0x03, isLogical: true))
        #expect(!rig.apic.matches(destination: 0x01, isLogical: true))
        rig.write(0xE0, 0x0FFF_FFFF)
        rig.write(0xD0, 0x1200_0000)
        #expect(rig.apic.matches(destination: 0x12, isLogical: true))
        #expect(!rig.apic.matches(destination: 0x22, isLogical: true))
        #expect(rig.apic.matches(destination: 0xFF, isLogical: false))
        #expect(!rig.apic.matches(destination: 1, isLogical: false))
    }

    @Test func disablingInSoftwareMasksTheTable() {
        rig.enable()
        rig.write(0x320, 0x30)
        rig.write(0xF0, 0xFF)
        #expect(rig.read(0x320) == 0x1_0030)
        rig.write(0x320, 0x30)
        #expect(rig.read(0x320) == 0x1_0030, "the mask is stuck while disabled")
    }
}

@Suite struct IOAPICTests {
    let rig = APICRig()

    init() { rig.enable(); rig.write(0x350, 0x1_0000) }

    @Test func versionAndEntries() {
        #expect(rig.ioRead(1) == 0x17_0020)
        #expect(rig.ioRead(0x10) == 0x1_0000)
        rig.ioWrite(0, 0x0F00_0000)
        #expect(rig.ioRead(0) == 0x0F00_0000)
    }

    @Test func theTimerArrivesAtPinTwo() {
        rig.redirect(2, low: 0x40)
        rig.wires.line(0).pulse()
        #expect(rig.apic.acknowledgeInterrupt() == 0x40)
    }

    @Test func edgesAtMaskedPinsAreLost() {
        rig.wires.line(4).set(true)
        rig.redirect(4, low: 0x44)
        #expect(!rig.line)
    }

    @Test func levelsRepeatUntilTheWireFalls() {
        let wire = rig.wires.line(10)
        rig.redirect(10, low: 0x8000 | 0x4A)
        wire.set(true)
        #expect(rig.apic.acknowledgeInterrupt() == 0x4A)
        #expect(rig.ioRead(0x10 + 20) == 0xC04A)
        #expect(rig.read(0x180 + 0x20) == 1 << 10)
        rig.write(0xB0, 0)
        #expect(rig.apic.acknowledgeInterrupt() == 0x4A)
        wire.set(false)
        rig.write(0xB0, 0)
        #expect(!rig.line)
        #expect(rig.ioRead(0x10 + 20) == 0x804A)
    }

    @Test func aWaitingLevelIsDeliveredWhenUnmasked() {
        rig.wires.line(11).set(true)
        rig.redirect(11, low: 0x8000 | 0x4B)
        #expect(rig.apic.acknowledgeInterrupt() == 0x4B)
    }

    @Test func twoSourcesShareALevelLine() {
        let (first, second) = (rig.wires.line(10), rig.wires.line(10))
        rig.redirect(10, low: 0x8000 | 0x4A)
        first.set(true)
        second.set(true)
        _ = rig.apic.acknowledgeInterrupt()
        first.set(false)
        rig.write(0xB0, 0)
        #expect(rig.line, "the other one still asks")
    }

    @Test func externalModeRunsThe8259sCycle() {
        rig.redirect(0, low: 0x700)
        rig.redirect(4, low: 0x1_0000)
        rig.wires.line(4).set(true)
        rig.ioAPIC.setInput(0, true)
        #expect(rig.apic.acknowledgeInterrupt() == 0x24)
    }
}
