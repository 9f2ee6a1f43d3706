import Testing

@testable import Emulator

@Suite struct SchedulerTests {
    /// A timer interrupt every millisecond, and a machine that was kept from running.
    @Test func lateTicksComeOneByOne() {
        var clock: UInt64 = 0
        let scheduler = Scheduler { clock }
        let pit = Probe()
        let device = PIT8254(scheduler: scheduler, irq: pit.line)
        let ports = PortBus()
        device.attach(to: ports)
        ports.out8(0x43, 0x34)
        ports.out8(0x40, UInt8(1193 & 0xFF))
        ports.out8(0x40, UInt8(1193 >> 8))
        // The guest takes an interrupt whenever it is asked, and runs between two of them.
        var taken = 0, calls = 0
        clock = 1_000_000_000
        var seen: [UInt64] = []
        while scheduler.nextDeadline <= clock {
            let before = pit.rises
            scheduler.advance(to: clock) { pit.rises > before }
            taken += pit.rises - before
            calls += 1
            seen.append(scheduler.nowNanoseconds)
        }
        #expect(taken == 1000)
        #expect(calls == 1000)
        // Whoever reads the time meanwhile sees as much of it as ticks tell.
        for (index, time) in seen.dropLast().enumerated() {
            #expect(time / 1_000_000 <= UInt64(index) + 2, "after \(index) ticks")
        }
    }

    @Test func timeStandsAtADeadlineUntilItHasFired() {
        var clock: UInt64 = 0
        let scheduler = Scheduler { clock }
        var atFire: UInt64 = 0
        let timer = scheduler.makeTimer("test") { _ in atFire = scheduler.nowNanoseconds }
        scheduler.arm(timer, at: 100)
        clock = 250
        #expect(scheduler.nowNanoseconds == 100)
        scheduler.advance(to: clock)
        #expect(atFire == 100)
        #expect(scheduler.nowNanoseconds == 250)
        // It never goes back, whatever is armed.
        scheduler.arm(timer, at: 120)
        #expect(scheduler.nowNanoseconds == 250)
    }
}

@Suite struct GuestClockTests {
    @Test func aStarvedGuestDoesNotSeeTheTimeAtOnce() {
        var host: UInt64 = 0
        let clock = GuestClock(follows: .guest, host: { host })
        // A second of work in slices of 100 µs.
        for _ in 0..<10_000 {
            host += 100_000
            _ = clock.now
        }
        #expect(clock.now == 1_000_000_000)
        // Kept away for ten seconds.
        host += 10_000_000_000
        #expect(clock.now - 1_000_000_000 <= 2_500_000)
        #expect(clock.debt > 9_900_000_000)
        // The debt is paid back: a quarter more than what passes, until it is even.
        let before = clock.now
        for _ in 0..<10_000 {
            host += 100_000
            _ = clock.now
        }
        #expect(clock.now - before == 1_250_000_000)
        clock.isSleeping = true
        host += 60_000_000_000
        #expect(clock.now == host)
        #expect(clock.debt == 0)
    }

    @Test func aSleepIsShorterWhileTimeIsOwed() {
        var host: UInt64 = 0
        let clock = GuestClock(follows: .guest, host: { host })
        host = 2_000_000
        _ = clock.now
        #expect(clock.hostNanoseconds(for: 1000) == 1000)
        host += 102_000_000
        let before = clock.now
        let sleep = clock.hostNanoseconds(for: 10_000_000)
        #expect(sleep == 8_000_000)
        clock.isSleeping = true
        host += sleep
        #expect(clock.now == before + 10_000_000)
    }

    @Test func hostTimePassesWhole() {
        var host: UInt64 = 5
        let clock = GuestClock(follows: .host, host: { host })
        host += 10_000_000_000
        #expect(clock.now == 10_000_000_000)
        clock.pause()
        host += 7
        #expect(clock.now == 10_000_000_000)
        clock.resume()
        host += 3
        #expect(clock.now == 10_000_000_003)
    }
}
