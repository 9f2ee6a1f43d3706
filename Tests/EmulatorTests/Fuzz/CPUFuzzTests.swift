import Testing

@testable import Emulator

/// Random instruction streams; for long by hand: `make fuzz-cpu`.
@Suite(.serialized) struct CPUFuzzTests {
    #if arch(x86_64)
        @Test func streamsEndAsOnTheHostsProcessor() throws {
            let fuzz = try CPUStreamFuzz()
            guard fuzz.isPossible else { return }
            for engine in FuzzEngine.all {
                FuzzBudget(rounds: 12).run("stream \(engine.name)") { seed in
                    for stream in 0..<1000 as Range<UInt64> {
                        let found = fuzz.difference(seed: seed << 32 | stream, engine: engine)
                        #expect(found == nil, "seed \(seed), stream \(stream)")
                    }
                }
            }
        }
    #endif

    @Test func noStateAndNoCodeEndTheProcess() throws {
        for engine in [Engine.interpreter, .translator] {
            let fuzz = try CPUChaosFuzz(engine: engine)
            FuzzBudget(rounds: 6).run("chaos \(engine)") { seed in
                for stream in 0..<500 as Range<UInt64> { fuzz.run(seed: seed << 32 | stream) }
            }
        }
    }
}
