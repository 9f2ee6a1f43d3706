import Foundation
import Testing
import VMProtocol

/// One labvm, started without labctl: a description on its standard input, a folder of its own.
final class VMUnderTest {
    let folder: String
    let process = Process()
    private let errors = Pipe()
    private let said = Said()

    /// What the process said so far, collected by another thread.
    private final class Said: @unchecked Sendable {
        // Unchecked: under the lock.
        private let lock = NSLock()
        private var bytes = Data()
        func add(_ more: Data) { lock.withLock { bytes += more } }
        var text: String { lock.withLock { String(decoding: bytes, as: UTF8.self) } }
    }

    static let program: String? = {
        let own = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
        return [own, "/proc/self/exe"].map {
            URL(fileURLWithPath: $0).resolvingSymlinksInPath().deletingLastPathComponent().path + "/labvm"
        }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }()

    /// - Parameter change: what the description is besides a small VM with a monitor and a state folder.
    init(_ change: (inout VMDescription, _ folder: String) throws -> Void) throws {
        // Writing to a program that has ended is an error here, not the end of the tests.
        signal(SIGPIPE, SIG_IGN)
        let program = try #require(Self.program, "labvm has not been built")
        var template = Array("/tmp/labvm-XXXXXX".utf8CString)
        folder = try #require(mkdtemp(&template).map { String(cString: $0) })
        var description = VMDescription(name: "probed", memoryBytes: 4 << 20)
        description.console = .none
        description.stateFolder = folder
        description.runtimeFolder = folder
        try change(&description, folder)
        let input = Pipe()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = ["--description-fd", "0"]
        process.standardInput = input
        process.standardOutput = FileHandle.nullDevice
        process.standardError = errors
        let said = said
        errors.fileHandleForReading.readabilityHandler = { said.add($0.availableData) }
        try process.run()
        input.fileHandleForWriting.write(Data(JSONCoding.encode(description)))
        input.fileHandleForWriting.closeFile()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        errors.fileHandleForReading.readabilityHandler = nil
        try? FileManager.default.removeItem(atPath: folder)
    }

    var errorText: String { said.text }

    /// Waits for the end. A process that hangs is killed after a long while, and the test fails by its signal.
    func waitForEnd() -> (status: Int32, isSignal: Bool) {
        let process = process
        let guardTime = DispatchWorkItem { kill(process.processIdentifier, SIGKILL) }
        DispatchQueue.global().asyncAfter(deadline: .now() + 30, execute: guardTime)
        process.waitUntilExit()
        guardTime.cancel()
        // What was said last may still be in the pipe.
        usleep(20_000)
        return (process.terminationStatus, process.terminationReason == .uncaughtSignal)
    }

    func exitRecord() throws -> ExitRecord? {
        try StateFile.read(VMFile.exitRecord.path(in: folder)).flatMap { JSONCoding.decode(ExitRecord.self, from: $0) }
    }

    /// A monitor connection that has negotiated.
    func monitor() throws -> Monitor {
        let path = VMFile.qmpSocket.path(in: folder)
        while process.isRunning {
            if let socket = try? UnixSocket.connect(to: path) { return try Monitor(socket) }
            usleep(5000)
        }
        throw HostError("connect to", path, code: 0, reason: "labvm ended: \(errorText)")
    }

    final class Monitor {
        private let socket: Descriptor
        private var stream = JSONStream()
        private var inbox: [JSONValue] = []

        init(_ socket: Descriptor) throws {
            self.socket = socket
            // Nobody waits for ever for an answer that does not come.
            var limit = timeval(tv_sec: 20, tv_usec: 0)
            setsockopt(socket.raw, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            _ = try next { $0["QMP"] != nil }
            try ask("qmp_capabilities")
        }

        private func next(where fits: (JSONValue) -> Bool) throws -> JSONValue {
            while true {
                while !inbox.isEmpty {
                    let message = inbox.removeFirst()
                    if fits(message) { return message }
                }
                guard case .bytes(let bytes) = socket.read() else {
                    throw HostError("hear from", "the monitor", code: 0, reason: "no answer came")
                }
                inbox += stream.take(bytes).compactMap { JSONValue.parse($0) }
            }
        }

        /// Runs a command, with a file that goes along.
        /// - Returns: its answer, or the error's text under `error`.
        @discardableResult
        func ask(_ command: String, _ arguments: JSONValue? = nil, file: Descriptor? = nil) throws -> JSONValue {
            var request: [String: JSONValue] = ["execute": .string(command)]
            if let arguments { request["arguments"] = arguments }
            let bytes = JSONValue.object(request).encoded + [UInt8(ascii: "\n")]
            if let file { _ = UnixSocket.send(bytes, with: file, on: socket) } else { socket.writeAll(bytes) }
            let answer = try next { $0["return"] != nil || $0["error"] != nil }
            return answer["return"] ?? ["error": answer["error"]?["desc"] ?? .null]
        }

        func send(_ bytes: [UInt8]) { socket.writeAll(bytes) }
        func answer() throws -> JSONValue { try next { $0["return"] != nil || $0["error"] != nil } }
    }
}
