import Testing

@testable import Emulator

@Suite struct PIT8254Tests {
    let clock = FakeClock()
    let probe = Probe()
    let ports = PortBus()
    let pit: PIT8254

    init() {
        pit = PIT8254(scheduler: clock.scheduler, irq: probe.line)
        pit.attach(to: ports)
    }

    private func program(_ counter: UInt8, mode: UInt8, count: UInt16, bcd: Bool = false) {
        ports.out8(0x43, counter << 6 | 0x30 | mode << 1 | (bcd ? 1 : 0))
        ports.out8(0x40 + UInt16(counter), UInt8(truncatingIfNeeded: count))
        ports.out8(0x40 + UInt16(counter), UInt8(count >> 8))
    }

    private func readCount(_ counter: UInt8) -> UInt16 {
        ports.out8(0x43, counter << 6)
        let low = ports.in8(0x40 + UInt16(counter))
        return UInt16(low) | UInt16(ports.in8(0x40 + UInt16(counter))) << 8
    }

    /// Moves to the first moment at which `ticks` input clocks have passed since zero.
    private func advance(toTick ticks: UInt64) {
        clock.advance(to: ClockRates.nanoseconds(at: ticks, hertz: ClockRates.pitHertz))
    }

    @Test(arguments: [UInt8(2), 3]) func theRateGeneratorsInterruptOncePerPeriodForever(mode: UInt8) {
        program(0, mode: mode, count: 11932)
        let before = probe.rises
        clock.advance(to: 10_000_000_000)
        // 1193182 Hz / 11932 for ten seconds.
        #expect(probe.rises - before == 11_931_820 / 11_932)
    }

    @Test func modeZeroInterruptsOnceAtTerminalCount() {
        program(0, mode: 0, count: 1000)
        #expect(!probe.level)
        advance(toTick: 999)
        #expect(!probe.level)
        advance(toTick: 1000)
        #expect(probe.level)
        clock.advance(by: 1_000_000_000)
        #expect(probe.rises == 1)
        program(0, mode: 0, count: 10)
        #expect(!probe.level, "a new count lowers the output")
    }

    @Test func countsAreExactInTheMiddleOfAPeriod() {
        program(2, mode: 2, count: 5000)
        ports.out8(0x61, 1)
        advance(toTick: 1234)
        #expect(readCount(2) == 5000 - 1234)
        advance(toTick: 5001)
        #expect(readCount(2) == 4999)
    }

    @Test func theSquareWaveCountsByTwos() {
        program(0, mode: 3, count: 1000)
        advance(toTick: 100)
        #expect(readCount(0) == 800)
        advance(toTick: 600)
        #expect(readCount(0) == 800)
        ports.out8(0x43, 0xE2)
        #expect(ports.in8(0x40) & 0x80 == 0, "second half of the wave is low")
    }

    @Test func readBackLatchesStatusAndCount() {
        program(0, mode: 2, count: 0x1234)
        advance(toTick: 0x34)
        ports.out8(0x43, 0xC2)
        advance(toTick: 0x200)
        #expect(ports.in8(0x40) == 0xB4, "OUT high, both bytes, mode 2")
        #expect(ports.in8(0x40) == 0x00)
        #expect(ports.in8(0x40) == 0x12)
    }

    @Test func binaryCodedDecimalCounts() {
        program(0, mode: 2, count: 0x1000, bcd: true)
        advance(toTick: 1)
        #expect(readCount(0) == 0x0999)
    }

    @Test func modeZeroRunsOnThroughZero() {
        program(0, mode: 0, count: 10)
        advance(toTick: 12)
        #expect(readCount(0) == 0xFFFE)
    }

    @Test func theGateOfCounterTwoStopsAndReloads() {
        program(2, mode: 0, count: 1000)
        #expect(ports.in8(0x61) & 0x20 == 0)
        advance(toTick: 5000)
        #expect(ports.in8(0x61) & 0x20 == 0, "the gate is closed")
        ports.out8(0x61, 1)
        advance(toTick: 5900)
        ports.out8(0x61, 0)
        advance(toTick: 9000)
        #expect(readCount(2) == 100)
        ports.out8(0x61, 1)
        advance(toTick: 9101)
        #expect(ports.in8(0x61) & 0x20 != 0)
    }

    @Test func theHardwareOneShotWaitsForTheGate() {
        program(2, mode: 1, count: 100)
        advance(toTick: 1000)
        #expect(ports.in8(0x61) & 0x20 != 0)
        ports.out8(0x61, 1)
        #expect(ports.in8(0x61) & 0x20 == 0)
        advance(toTick: 1101)
        #expect(ports.in8(0x61) & 0x20 != 0)
    }

    @Test func theStrobeIsLowForOneTick() {
        program(0, mode: 4, count: 50)
        advance(toTick: 50)
        ports.out8(0x43, 0xE2)
        #expect(ports.in8(0x40) & 0x80 == 0)
        let before = probe.rises
        advance(toTick: 51)
        #expect(probe.rises == before + 1)
        clock.advance(by: 1_000_000_000)
        #expect(probe.rises == before + 1)
    }

    @Test func aNewCountOfARateGeneratorWaitsForThePeriodsEnd() {
        program(2, mode: 2, count: 1000)
        ports.out8(0x61, 1)
        advance(toTick: 400)
        ports.out8(0x42, 0xF4)
        ports.out8(0x42, 0x01)
        #expect(readCount(2) == 600)
        advance(toTick: 1100)
        #expect(readCount(2) == 400)
    }

    @Test func theRefreshBitTogglesWithTime() {
        var toggles = 0
        var last = ports.in8(0x61) & 0x10
        for _ in 0..<1000 {
            clock.advance(by: 1000)
            let now = ports.in8(0x61) & 0x10
            toggles += now == last ? 0 : 1
            last = now
        }
        #expect(toggles == 1_000_000 / 15_085)
    }
}
