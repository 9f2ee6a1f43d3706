import Testing

@testable import Emulator

/// Two million hostile steps against a whole board; for long by hand: `make fuzz-devices`.
@Suite struct DeviceFuzzTests {
    private static let stepsPerRound = 20_000

    @Test func noSequenceOfAccessesEndsOrSwellsTheProcess() throws {
        var before = 0
        let rounds = try FuzzBudget(rounds: 3).run("devices") { seed in
            var fuzz = try DeviceFuzz(seed: seed)
            for _ in 0..<Self.stepsPerRound { try fuzz.step() }
            // The first rounds touch what stays: code, tables, the allocator's reserve.
            if before == 0, seed % 10 == 0 { before = residentBytes() }
        }
        #expect(rounds > 0)
        if before > 0 { #expect(residentBytes() - before < 64 << 20) }
    }
}
