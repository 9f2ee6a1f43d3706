@testable import Emulator

/// What runs guest code in a fuzz target: every engine of the emulator gets the same streams.
struct FuzzEngine: Sendable {
    let name: String
    /// Runs about so many instructions.
    let run: @Sendable (CPU, Int) -> CPU.RunEnd

    static let interpreter = FuzzEngine(name: "interpreter") { cpu, budget in cpu.run(budget: budget) }
    static let all = [interpreter]
}
