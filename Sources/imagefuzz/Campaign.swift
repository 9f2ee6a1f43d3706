import Glibc
import Images

/// The parent: makes the seeds, keeps workers going past what kills them, and collects the findings.
struct Campaign {
    let arguments: Arguments
    /// Wall time without progress after which a worker is taken for dead (asleep, since CPU time is limited by itself).
    private static let stallSeconds = 180

    /// Number of findings.
    func run() throws -> Int {
        let pattern = (access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") + "/imagefuzz.XXXXXX"
        var name = Array(pattern.utf8CString)
        guard mkdtemp(&name) != nil else { throw FuzzFailure("cannot make \(pattern)") }
        let folder = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { remove(folder) }
        // Where a worker crashed, without the registers.
        setenv("SWIFT_BACKTRACE", "enable=yes,color=no,registers=none,images=none,sanitize=yes", 1)
        let formats = arguments.format.isEmpty ? FormatRegistry.formats.map(\.name) : [arguments.format]
        var total = 0
        for format in formats {
            total += try run(format, folder + "/" + format)
            fflush(nil)
        }
        return total
    }

    private func remove(_ folder: String) {
        for format in Worker.list(folder) {
            for group in Worker.list(folder + "/" + format) {
                for name in Worker.list(folder + "/" + format + "/" + group) {
                    Worker.removeFolder(folder + "/" + format + "/" + group + "/" + name)
                }
                Worker.removeFolder(folder + "/" + format + "/" + group)
            }
            Worker.removeFolder(folder + "/" + format)
        }
        Worker.removeFolder(folder)
    }

    private func run(_ format: String, _ folder: String) throws -> Int {
        guard SeedRecipe.all.contains(where: { $0.format == format }) else {
            throw FuzzFailure("format '\(format)' has no seed in SeedRecipe.all")
        }
        for name in [folder, folder + "/seeds", folder + "/work"] {
            guard mkdir(name, 0o755) == 0 else { throw FuzzFailure("cannot make \(name)") }
        }
        for recipe in SeedRecipe.all where recipe.format == format {
            if try !SeedFolder(root: folder + "/seeds").make(recipe) {
                print("\(format): seed \(recipe.name) left out, it needs qemu-img")
            }
        }
        var findings = 0
        var opened = 0
        var next = arguments.first
        let end = time(nil) + arguments.seconds
        let last = arguments.first + arguments.iterations
        while arguments.seconds > 0 ? time(nil) < end : next < last {
            let count = arguments.seconds > 0 ? 2000 : last - next
            let status = try work(format, folder, first: next, count: count)
            let report = lines(of: folder + "/work/progress")
            let reached = report.first.flatMap { Int($0.dropFirst("iteration ".count)) } ?? next
            if status == 0 {
                opened += report.last.flatMap { Int($0.dropFirst("opened ".count)) } ?? 0
                next = reached
                continue
            }
            findings += 1
            print("\(format): seed \(arguments.seed) \(Self.describe(status))")
            for line in report { print("    \(line)") }
            for line in lines(of: folder + "/work/output").prefix(16) { print("    | \(line)") }
            fflush(nil)
            if report.isEmpty { return findings }
            print("    imagefuzz replay --format \(format) --seed \(arguments.seed) --first \(reached)")
            next = reached + 1
            if findings >= arguments.most { break }
        }
        print("\(format): \(next - arguments.first) iterations, \(opened) opened, \(findings) findings")
        return findings
    }

    /// Runs one worker to its end and returns its wait status.
    private func work(_ format: String, _ folder: String, first: Int, count: Int) throws -> Int32 {
        unlink(folder + "/work/progress")
        let child = ChildProcess.start(
            [
                ChildProcess.ownPath, "worker", "--format", format, "--seed", String(arguments.seed), "--first",
                String(first), "--iterations", String(count), "--corpus", folder + "/seeds", "--scratch",
                folder + "/work", "--memory", String(arguments.memoryBytes >> 20),
            ], output: folder + "/work/output")
        guard let child else { throw FuzzFailure("cannot start a worker") }
        var status: Int32 = 0
        var seen: [String] = []
        var since = time(nil)
        while waitpid(child, &status, WNOHANG) == 0 {
            usleep(20_000)
            guard time(nil) - since > 5 else { continue }
            let now = lines(of: folder + "/work/progress")
            if now != seen { (seen, since) = (now, time(nil)) }
            if time(nil) - since > Self.stallSeconds { kill(child, SIGKILL) }
        }
        return status
    }

    private func lines(of path: String) -> [String] {
        guard let file = fopen(path, "r") else { return [] }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
    }

    private static func describe(_ status: Int32) -> String {
        let signal = status & 0x7f
        if signal == 0 { return status >> 8 == Worker.foundSomething ? "broke a rule" : "ended with \(status >> 8)" }
        switch signal {
        case SIGPROF: return "took more than \(Worker.secondsPerIteration) s of CPU time"
        case SIGKILL: return "slept for \(stallSeconds) s"
        default: return "crashed with signal \(signal)"
        }
    }
}
