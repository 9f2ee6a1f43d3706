import Glibc

/// How long a fuzz target runs. In `make test`: a bounded number of rounds with fixed seeds. By hand (`make fuzz-devices`,
/// `make fuzz-cpu`): for LABCTL_FUZZ_SECONDS from LABCTL_FUZZ_SEED on, naming each seed before its round, so that the last
/// line on stderr is the seed of a crash.
struct FuzzBudget {
    private let seconds: UInt64?
    private let firstSeed: UInt64
    private let rounds: Int

    /// - Parameter rounds: in `make test`.
    init(rounds: Int) {
        self.rounds = rounds
        seconds = Self.number("LABCTL_FUZZ_SECONDS")
        firstSeed = Self.number("LABCTL_FUZZ_SEED") ?? 1
    }

    private static func say(_ line: String) {
        let bytes = Array(line.utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }

    private static func number(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }

    /// Calls `body` with one seed after the other.
    /// - Returns: how many rounds there were.
    @discardableResult
    func run(_ name: String, _ body: (UInt64) throws -> Void) rethrows -> Int {
        let start = ContinuousClock.now
        var done = 0
        while seconds == nil ? done < rounds : ContinuousClock.now - start < .seconds(Int64(seconds ?? 0)) {
            let seed = firstSeed &+ UInt64(done)
            if seconds != nil { Self.say("\(name) seed \(seed)\n") }
            try body(seed)
            done += 1
        }
        return done
    }
}

/// Memory of this process that the host has had to find, in bytes.
func residentBytes() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    guard fgets(&line, 256, file) != nil else { return 0 }
    let fields = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(
        separator: " ")
    return (fields.count > 1 ? Int(fields[1]) ?? 0 : 0) * 4096
}
