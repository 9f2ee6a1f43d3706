import Testing

@testable import Emulator

@Suite struct HPETTests {
    let rig: BoardRig

    init() throws {
        rig = try BoardRig()
        // Deliver GSI 2 as vector 30h, so that the local APIC counts for us.
        rig.board.localAPIC.mmioWrite(0xF0, size: 4, value: 0x1FF)
        rig.board.localAPIC.mmioWrite(0x350, size: 4, value: 0x1_0000)
        rig.board.ioAPIC.mmioWrite(0x00, size: 4, value: 0x14)
        rig.board.ioAPIC.mmioWrite(0x10, size: 4, value: 0x30)
    }

    private func read(_ offset: UInt64, size: Int = 8) -> UInt64 {
        rig.board.memory.read(HPET.base + offset, size: size)
    }
    private func write(_ offset: UInt64, _ value: UInt64, size: Int = 4) {
        rig.board.memory.write(HPET.base + offset, size: size, value: value)
    }

    /// Takes and ends the pending interrupt, if there is one.
    private func takeInterrupt() -> Bool {
        guard rig.board.localAPIC.acknowledgeInterrupt() != nil else { return false }
        rig.board.localAPIC.mmioWrite(0xB0, size: 4, value: 0)
        return true
    }

    @Test func capabilitiesSayThreeTimersAt100MHz() {
        #expect(read(0) == 0x0098_9680_8086_A201)
        #expect(read(0x04, size: 4) == 0x0098_9680)
        #expect(read(0x100) == 0x4_0000_0030)
    }

    @Test func theCounterRunsOnlyWhenEnabled() {
        rig.clock.advance(by: 1000)
        #expect(read(0xF0) == 0)
        write(0x10, 1)
        rig.clock.advance(by: 1000)
        #expect(read(0xF0) == 100)
        write(0x10, 0)
        rig.clock.advance(by: 1000)
        #expect(read(0xF0) == 100)
        write(0xF0, 7)
        #expect(read(0xF0) == 7)
    }

    /// SeaBIOS leaves the PIT running with its output high; the HPET takes over the same wire.
    @Test func legacyReplacementTakesTheTimersWire() {
        let ports = rig.ports
        ports.out8(0x43, 0x34)
        ports.out8(0x40, 0)
        ports.out8(0x40, 0)
        _ = takeInterrupt()
        write(0x10, 3)
        write(0x100, 0x14C)
        write(0x108, 1000)
        write(0x108, 1000)
        for _ in 0..<50 {
            rig.clock.advance(by: 10_000)
            #expect(takeInterrupt())
            #expect(!takeInterrupt())
        }
        write(0x10, 1)
        write(0x100, 0)
        rig.clock.advance(by: 60_000_000)
        #expect(takeInterrupt(), "the PIT has its wire back")
    }

    @Test func aOneShotTimerFiresOnceOnItsRoute() {
        write(0x10, 1)
        write(0x120, 0x0404)
        write(0x128, 500, size: 8)
        rig.clock.advance(by: 4990)
        #expect(!takeInterrupt())
        rig.clock.advance(by: 10)
        #expect(takeInterrupt())
        rig.clock.advance(by: 1_000_000)
        #expect(!takeInterrupt())
    }

    @Test func levelTriggeredTimersHoldTheirWireUntilTheStatusIsCleared() {
        write(0x10, 1)
        write(0x120, 0x0406)
        write(0x128, 500, size: 8)
        rig.clock.advance(by: 5000)
        #expect(read(0x20) == 2)
        write(0x20, 2)
        #expect(read(0x20) == 0)
    }
}
