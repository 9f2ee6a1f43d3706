import Foundation
import Testing
import VMProtocol

/// The built programs, a folder and a lab of its own for one test. VMs that are left are ended with it.
final class LabFixture {
    let folder: String
    /// The lab file's folder.
    let labFolder: String
    var environment: [String: String]
    /// Something that has to be there for as long as the lab is.
    var attached: AnyObject?

    /// - Parameter file: the lab file; images are raw boot-sector guests called `golden.img`.
    init(_ file: String) throws {
        // Writing to a program that has ended is an error here, not the end of the tests.
        signal(SIGPIPE, SIG_IGN)
        var template = Array("/tmp/labctl-e2e-XXXXXX".utf8CString)
        let created = mkdtemp(&template).map { String(cString: $0) }
        folder = try #require(created)
        labFolder = folder + "/lab"
        for name in ["lab", "run"] {
            try FileManager.default.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: false)
        }
        chmod("\(folder)/run", 0o700)
        var environment = ProcessInfo.processInfo.environment
        environment["LABCTL_HOME"] = folder + "/home"
        environment["XDG_CACHE_HOME"] = folder + "/cache"
        environment["XDG_RUNTIME_DIR"] = folder + "/run"
        environment["NO_COLOR"] = "1"
        self.environment = environment
        try Data(BootSectorGuest.image).write(to: URL(fileURLWithPath: golden))
        try file.write(toFile: labFolder + "/lab.yaml", atomically: true, encoding: .utf8)
    }

    deinit {
        chmod(labFolder, 0o755)
        _ = try? run(["destroy", "--yes"])
        attached = nil
        try? FileManager.default.removeItem(atPath: folder)
    }

    var golden: String { labFolder + "/golden.img" }

    /// Replaces the lab file.
    func write(_ file: String) throws {
        try file.write(toFile: labFolder + "/lab.yaml", atomically: true, encoding: .utf8)
    }

    // MARK: Running labctl

    struct Result {
        var status: Int32
        var output: String
        var errors: String
    }

    /// The folder that the test's own program was built into holds the others too.
    static let programs: String = {
        let own = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
        let candidates = [own, "/proc/self/exe"].map {
            URL(fileURLWithPath: $0).resolvingSymlinksInPath().deletingLastPathComponent().path
        }
        return candidates.first { FileManager.default.isExecutableFile(atPath: $0 + "/labctl") } ?? candidates[0]
    }()

    /// Starts labctl and does not wait.
    func start(
        _ arguments: [String], input: Pipe? = nil, output file: FileHandle? = nil
    ) throws -> (Process, output: Pipe, errors: Pipe) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: LabFixture.programs + "/labctl")
        process.arguments = arguments
        process.environment = environment
        process.currentDirectoryURL = URL(fileURLWithPath: labFolder)
        let output = Pipe(), errors = Pipe()
        if let file { process.standardOutput = file } else { process.standardOutput = output }
        process.standardError = errors
        if let input { process.standardInput = input } else { process.standardInput = FileHandle.nullDevice }
        try process.run()
        return (process, output, errors)
    }

    /// Runs labctl to its end.
    @discardableResult
    func run(_ arguments: [String], input: Pipe? = nil) throws -> Result {
        let (process, output, errors) = try start(arguments, input: input)
        // Both pipes are short: labctl says little, and neither may wait for the other.
        let said = output.fileHandleForReading.readDataToEndOfFile()
        let complained = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Result(
            status: process.terminationStatus, output: String(decoding: said, as: UTF8.self),
            errors: String(decoding: complained, as: UTF8.self))
    }

    /// Runs labctl and expects it to succeed.
    @discardableResult
    func succeed(_ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
        let result = try run(arguments)
        #expect(
            result.status == 0, "\(arguments.joined(separator: " ")): \(result.errors)", sourceLocation: sourceLocation)
        return result.output
    }

    /// Runs labctl and expects it to succeed.
    func succeedAll(_ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation) throws {
        let result = try run(arguments)
        #expect(
            result.status == 0, "\(arguments.joined(separator: " ")): \(result.errors)", sourceLocation: sourceLocation)
    }

    // MARK: Looking at the lab

    /// `status --format json`.
    func status() throws -> [[String: Any]] {
        let json = try succeed("status", "--format", "json")
        return try #require(JSONSerialization.jsonObject(with: Data(json.utf8)) as? [[String: Any]])
    }

    /// VM names and states.
    func states() throws -> [String: String] {
        var states: [String: String] = [:]
        for vm in try status() { states[vm["name"] as? String ?? ""] = vm["state"] as? String }
        return states
    }

    /// The states that occur.
    func allStates() throws -> Set<String> { Set(try states().values) }

    func value<Value>(_ key: String, of vm: String) throws -> Value {
        let entry = try #require(try status().first { $0["name"] as? String == vm })
        return try #require(entry[key] as? Value)
    }

    /// Types a line and returns what the guest says up to its next prompt.
    @discardableResult
    func type(_ line: String, on vm: String) throws -> String {
        try succeed("send", vm, line + #"\n"#)
        // Where the guest is slow, the prompt that comes first may be the one before the answer.
        var said = ""
        for _ in 0..<3 where said.isEmpty || line == "r" && !said.contains("disk: ") {
            said += try succeed("wait", vm, "# ", "--timeout", "20s", "--show")
        }
        return said
    }

    func digestOfGolden() throws -> Data { try Data(contentsOf: URL(fileURLWithPath: golden)) }
}

/// A client of a Unix socket.
final class SocketClient {
    private let socket: Descriptor

    init(_ path: String) throws {
        socket = try UnixSocket.connect(to: path)
        socket.setNonBlocking()
    }

    func write(_ text: String) { socket.writeAll(Array(text.utf8)) }

    /// Reads until the text has come.
    /// - Returns: everything read; nil when it did not come in time.
    func read(until text: String, seconds: Double = 20) -> String? {
        var seen: [UInt8] = []
        let deadline = WallClock.now + seconds
        while WallClock.now < deadline {
            switch socket.read() {
            case .bytes(let bytes): seen += bytes
            case .wouldBlock: usleep(5000)
            case .endOfFile, .failed: return nil
            }
            let string = String(decoding: seen, as: UTF8.self)
            if string.contains(text) { return string }
        }
        return nil
    }

    /// Whether the other side hangs up in time.
    func isClosed(within seconds: Double) -> Bool {
        let deadline = WallClock.now + seconds
        while WallClock.now < deadline {
            switch socket.read() {
            case .bytes: continue
            case .wouldBlock: usleep(5000)
            case .endOfFile, .failed: return true
            }
        }
        return false
    }
}
