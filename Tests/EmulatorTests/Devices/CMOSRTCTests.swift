import Testing

@testable import Emulator

@Suite struct CMOSRTCTests {
    let clock = FakeClock()
    let probe = Probe()
    let ports = PortBus()
    let rtc: CMOSRTC

    init() {
        // 2024-02-29 23:59:58 UTC, a Thursday.
        rtc = CMOSRTC(scheduler: clock.scheduler, irq: probe.line, epochSeconds: 1_709_251_198)
        rtc.attach(to: ports)
    }

    private func read(_ index: UInt8) -> UInt8 {
        ports.out8(0x70, index)
        return ports.in8(0x71)
    }

    private func write(_ index: UInt8, _ value: UInt8) {
        ports.out8(0x70, index)
        ports.out8(0x71, value)
    }

    @Test func theTimeIsBCDAndCarriesIntoTheNextMonth() {
        #expect([0, 2, 4, 6, 7, 8, 9, 0x32].map(read) == [0x58, 0x59, 0x23, 0x05, 0x29, 0x02, 0x24, 0x20])
        clock.advance(by: 2_000_000_000)
        #expect([0, 2, 4, 6, 7, 8, 9, 0x32].map(read) == [0x00, 0x00, 0x00, 0x06, 0x01, 0x03, 0x24, 0x20])
    }

    @Test func binaryAndTwelveHourFormats() {
        write(0x0B, 0x04)
        #expect(read(4) == 0x8B, "11 pm")
        clock.advance(by: 2_000_000_000)
        #expect(read(4) == 12, "midnight is 12 am")
        write(0x0B, 0x06)
        #expect(read(4) == 0)
    }

    @Test func theGuestSetsTheClock() {
        write(0x0B, 0x82)
        for (index, value) in [(0, 0x30), (2, 0x45), (4, 0x07), (7, 0x15), (8, 0x10), (9, 0x99), (0x32, 0x19)]
            as [(UInt8, UInt8)]
        {
            write(index, value)
        }
        clock.advance(by: 10_000_000_000)
        #expect(read(0) == 0x30, "SET stops the clock")
        write(0x0B, 0x02)
        clock.advance(by: 5_000_000_000)
        #expect([0, 2, 4, 6, 7, 8, 9, 0x32].map(read) == [0x35, 0x45, 0x07, 0x06, 0x15, 0x10, 0x99, 0x19])
    }

    @Test func updateInProgressComesAndGoes() {
        #expect(read(0x0A) & 0x80 == 0)
        clock.advance(to: 999_800_000)
        #expect(read(0x0A) & 0x80 != 0)
        clock.advance(to: 1_000_000_000)
        #expect(read(0x0A) & 0x80 == 0)
    }

    @Test func periodicInterruptsComeAtTheirRate() {
        write(0x0B, 0x42)
        for _ in 0..<1024 {
            clock.advance(by: 976_563)
            #expect(probe.level)
            #expect(read(0x0C) & 0xC0 == 0xC0)
            #expect(!probe.level)
        }
    }

    @Test func updateEndedInterruptsOncePerSecond() {
        write(0x0B, 0x12)
        clock.advance(to: 999_999_999)
        #expect(!probe.level)
        clock.advance(to: 1_000_000_000)
        #expect(probe.level)
        #expect(read(0x0C) == 0xD0)
    }

    @Test func theAlarmFiresAtItsTime() {
        write(1, 0x05)
        write(3, 0x00)
        write(5, 0xC0)
        write(0x0B, 0x22)
        clock.advance(to: 6_900_000_000)
        #expect(!probe.level)
        clock.advance(to: 7_000_000_000)
        #expect(probe.level)
        #expect(read(0x0C) & 0xA0 == 0xA0)
    }

    @Test func flagsAreSetWithoutInterrupts() {
        clock.advance(by: 1_500_000_000)
        #expect(read(0x0C) & 0x50 == 0x50)
        #expect(read(0x0C) & 0x10 == 0)
        #expect(probe.rises == 0)
    }

    @Test(arguments: [
        (UInt64(128 << 20), UInt16(640), UInt16(65535), UInt16(112 * 16)),
        (UInt64(4 << 20), 640, 3072, 0),
        (UInt64(1 << 20), 640, 0, 0),
    ]) func memorySizesStandInCMOS(bytes: UInt64, base: UInt16, extended: UInt16, above16: UInt16) {
        CMOSContents.install(in: rtc, lowRAMBytes: bytes, highRAMBytes: 0x1_2345_0000)
        CMOSContents.setBootOrder(in: rtc, "dc")
        func word(_ index: UInt8) -> UInt16 { UInt16(read(index)) | UInt16(read(index + 1)) << 8 }
        #expect([word(0x15), word(0x17), word(0x30), word(0x34)] == [base, extended, extended, above16])
        #expect([read(0x5B), read(0x5C), read(0x5D)] == [0x45, 0x23, 0x01])
        #expect(read(0x3D) == 0x23)
        #expect(read(0x38) == 0)
    }

    @Test func datesRoundTripThroughCenturies() {
        for day in stride(from: -141_000, to: 50_000, by: 97) as StrideTo<Int64> {
            let date = CalendarDate(secondsSince1970: day * 86_400 + 12_345)
            #expect(date.secondsSince1970 == day * 86_400 + 12_345)
        }
        #expect(
            CalendarDate(secondsSince1970: 951_782_400)
                == CalendarDate(year: 2000, month: 2, day: 29, hour: 0, minute: 0, second: 0))
    }
}
