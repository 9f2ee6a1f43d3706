import Glibc
import Images
import Seeded

/// The process that does the iterations. It dies of what it finds, so it writes down first what it is about to do.
struct Worker {
    let arguments: Arguments
    private let recipes: [SeedRecipe]
    private let seeds: SeedFolder

    /// CPU time for one iteration, everything in it.
    static let secondsPerIteration = 60
    /// Writable memory beyond what the process has at the start: more than what may be resident.
    static let unusedBytes = 192 << 20
    /// Exit code of a worker that has written down findings.
    static let foundSomething: Int32 = 3

    /// Files that the process has open for itself.
    nonisolated(unsafe) static var ownFiles: Set<String> = []

    init(_ arguments: Arguments) {
        self.arguments = arguments
        seeds = SeedFolder(root: arguments.corpus)
        recipes = SeedRecipe.all.filter { recipe in
            recipe.format == arguments.format
                && access(arguments.corpus + "/" + recipe.name + "/" + SeedRecipe.mainFile, R_OK) == 0
        }
    }

    func run() throws {
        guard !recipes.isEmpty else { throw FuzzFailure("no seed of format '\(arguments.format)'") }
        limitResources()
        let progress = Glibc.open(arguments.scratch + "/progress", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard progress >= 0 else { throw FuzzFailure("cannot write in \(arguments.scratch)") }
        Self.ownFiles = Set((0..<64).compactMap(Self.openFile))
        var mutators: [String: Mutator] = [:]
        var opened = 0
        var contents: [String: SparseFile] = [:]
        for iteration in arguments.first..<arguments.first + arguments.iterations {
            var random = SeededRandom(arguments.seed &* 0x1_0000_0001 &+ UInt64(iteration))
            let recipe = recipes[iteration % recipes.count]
            let file = random.pick([SeedRecipe.mainFile, SeedRecipe.mainFile] + recipe.companions)
            let key = recipe.name + "/" + file
            let names = Self.list(seeds.folder(recipe)).map { recipe.name + "/" + $0 }
            for name in names where contents[name] == nil {
                contents[name] = try SparseFile(reading: arguments.corpus + "/" + name)
            }
            guard let good = contents[key] else { throw FuzzFailure("the seed has no file \(key)") }
            let mutator = mutators[key] ?? Mutator(good)
            mutators[key] = mutator
            var log = ["iteration \(iteration)", "seed \(recipe.name), file \(file)"]
            write(log, to: progress)
            var damaged = mutator.mutate(&random, log: &log)
            if !random.oneIn(8) { Checksums.fix(&damaged, format: recipe.format) }
            let folder = arguments.scratch + "/files"
            Self.removeFolder(folder)
            guard mkdir(folder, 0o755) == 0 else { throw FuzzFailure("cannot make \(folder)") }
            for name in names {
                let place = folder + "/" + String(name.dropFirst(recipe.name.utf8.count + 1))
                try (name == key ? damaged : contents[name] ?? good).write(to: place)
            }
            write(log, to: progress)
            if arguments.command == .replay, arguments.keeps { print(log.joined(separator: "\n")) }
            startClock(Self.secondsPerIteration)
            var exercise = Exercise(folder: folder, recipe: recipe, random: random)
            exercise.run()
            startClock(0)
            if exercise.didOpen { opened += 1 }
            var findings = exercise.findings
            if let resident = residentBytes, resident > arguments.memoryBytes {
                findings.append("\(resident >> 20) MiB of memory")
            }
            if !findings.isEmpty {
                write(log + findings.map { "FOUND " + $0 }, to: progress)
                exit(Self.foundSomething)
            }
        }
        write(["iteration \(arguments.first + arguments.iterations)", "opened \(opened)"], to: progress)
    }

    /// The path behind a descriptor of this process.
    static func openFile(_ descriptor: Int) -> String? {
        guard let path = realpath("/proc/self/fd/\(descriptor)", nil) else { return nil }
        defer { free(path) }
        return String(cString: path)
    }

    static func list(_ folder: String) -> [String] {
        guard let handle = opendir(folder) else { return [] }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                // SAFETY: d_name is a terminated string inside the entry.
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Removes a folder of plain files.
    static func removeFolder(_ folder: String) {
        for name in list(folder) { unlink(folder + "/" + name) }
        rmdir(folder)
    }

    private func write(_ lines: [String], to descriptor: Int32) {
        let text = Array((lines.joined(separator: "\n") + "\n").utf8)
        ftruncate(descriptor, 0)
        // SAFETY: the array holds text.count bytes for the length of the call.
        _ = text.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    }

    // MARK: Limits

    private func limitResources() {
        let start = status("VmData:") ?? 0
        let limit = UInt(start) + UInt(arguments.memoryBytes + Self.unusedBytes)
        var data = rlimit(rlim_cur: limit, rlim_max: limit)
        setrlimit(__rlimit_resource_t(RLIMIT_DATA.rawValue), &data)
        var file = rlimit(rlim_cur: 2 << 30, rlim_max: 2 << 30)
        setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &file)
        signal(SIGXFSZ, SIG_IGN)
    }

    /// The process is ended by SIGPROF when the CPU time is over.
    private func startClock(_ seconds: Int) {
        var timer = itimerval(
            it_interval: timeval(tv_sec: 0, tv_usec: 0), it_value: timeval(tv_sec: seconds, tv_usec: 0))
        setitimer(__itimer_which_t(ITIMER_PROF.rawValue), &timer, nil)
    }

    /// The most memory that was resident at a time.
    private var residentBytes: Int? { status("VmHWM:").map { Int($0) } }

    /// A field of /proc/self/status in bytes.
    private func status(_ field: String) -> UInt64? {
        let descriptor = Glibc.open("/proc/self/status", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        let text = String(decoding: bytes[..<max(0, count)], as: UTF8.self)
        for line in text.split(separator: "\n") where line.hasPrefix(field) {
            return line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { UInt64($0) }
                .map { $0 << 10 }
        }
        return nil
    }
}
