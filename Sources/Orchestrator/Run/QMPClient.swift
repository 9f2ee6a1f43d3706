import Glibc
import VMProtocol

/// Talks QEMU's machine protocol to a VM process. Every call has a time limit.
public final class QMPClient {
    private let socket: Descriptor
    private let name: String
    private var stream = JSONStream()
    private var inbox: [JSONValue] = []
    private let limitMilliseconds: UInt64

    /// Connects and negotiates.
    /// - Throws: `.vm` when nobody listens, `.timeout` when nobody answers.
    public init(_ folder: VMFolder, limitMilliseconds: UInt64 = 5000) throws(OrchestratorError) {
        name = folder.name
        self.limitMilliseconds = limitMilliseconds
        let path = folder.knownRun?.description.runtimeFolder.map { VMFile.qmpSocket.path(in: $0) }
        do {
            socket = try UnixSocket.connect(to: path ?? folder.qmpSocket)
        } catch {
            throw OrchestratorError(
                .vm, folder.isRunning ? "\(folder.name) runs but \(error)" : "\(folder.name) is not running")
        }
        socket.setNonBlocking()
        _ = try message { $0["QMP"] != nil }
        try execute("qmp_capabilities")
    }

    /// Runs one command with the name of a file that this process has opened: the VM process opens none in its sandbox.
    /// - Returns: the answer of `command`, whose arguments are made from the name.
    @discardableResult
    public func execute(
        _ command: String, on file: Descriptor, _ arguments: (String) -> [String: JSONValue]
    ) throws(OrchestratorError) -> JSONValue {
        let number = try hand(over: file)
        let answer = try execute(command, arguments(Self.name(ofFile: number)))
        try execute("remove-fd", ["fdset-id": .int(number)])
        return answer
    }

    /// What a file that was handed over is called.
    static func name(ofFile number: Int64) -> String { "/dev/fdset/\(number)" }

    /// Hands a file over that this process has opened.
    /// - Returns: its number, for `name(ofFile:)` and `remove-fd`.
    func hand(over file: Descriptor) throws(OrchestratorError) -> Int64 {
        let request: JSONValue = ["execute": "add-fd"]
        guard UnixSocket.send(request.encoded + [UInt8(ascii: "\n")], with: file, on: socket) else {
            throw OrchestratorError(.vm, "\(name) has gone away")
        }
        guard let number = try result(of: "add-fd")["fdset-id"]?.intValue else {
            throw OrchestratorError(.vm, "\(name): add-fd gave no number")
        }
        return number
    }

    /// Runs one command.
    /// - Returns: its answer.
    @discardableResult
    public func execute(_ command: String, _ arguments: [String: JSONValue] = [:]) throws(OrchestratorError)
        -> JSONValue
    {
        try ask(command, arguments)
        return try result(of: command)
    }

    /// Sends a command without waiting for its answer, which `result` brings: many VMs are asked at once.
    func ask(_ command: String, _ arguments: [String: JSONValue] = [:]) throws(OrchestratorError) {
        var request: [String: JSONValue] = ["execute": .string(command)]
        if !arguments.isEmpty { request["arguments"] = .object(arguments) }
        try send(JSONValue.object(request).encoded + [UInt8(ascii: "\n")])
    }

    /// The answer to the oldest command that has none.
    @discardableResult
    func result(of command: String) throws(OrchestratorError) -> JSONValue {
        let answer = try message { $0["return"] != nil || $0["error"] != nil }
        if let error = answer["error"] {
            throw OrchestratorError(.vm, "\(name): \(error["desc"]?.stringValue ?? "\(command) failed")")
        }
        return answer["return"] ?? .null
    }

    /// The process at the other end, as the system knows it; for ending one that does not answer.
    public var peerProcessID: Int32? { Self.peer(of: socket) }

    /// The process that listens at a VM's monitor, whether or not it answers.
    static func listener(of folder: VMFolder) -> Int32? {
        let path = folder.knownRun?.description.runtimeFolder.map { VMFile.qmpSocket.path(in: $0) }
        do throws(HostError) {
            return peer(of: try UnixSocket.connect(to: path ?? folder.qmpSocket))
        } catch {
            return nil
        }
    }

    private static func peer(of socket: Descriptor) -> Int32? {
        // struct ucred of <sys/socket.h>: pid, uid, gid; 4 bytes each.
        var credentials: (Int32, UInt32, UInt32) = (0, 0, 0)
        var length = socklen_t(MemoryLayout.size(ofValue: credentials))
        guard getsockopt(socket.raw, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0, credentials.0 > 1 else {
            return nil
        }
        return credentials.0
    }

    private func send(_ bytes: [UInt8]) throws(OrchestratorError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let count = socket.write(rest) else { throw OrchestratorError(.vm, "\(name) has gone away") }
            rest = rest.dropFirst(count)
            if count == 0 { try wait(for: Int16(POLLOUT), until: deadline) }
        }
    }

    private var deadline: UInt64 { WallClock.monotonicNanoseconds + limitMilliseconds * 1_000_000 }

    /// The next message that fits; events in between are dropped.
    private func message(where fits: (JSONValue) -> Bool) throws(OrchestratorError) -> JSONValue {
        let deadline = deadline
        while true {
            while !inbox.isEmpty {
                let next = inbox.removeFirst()
                if fits(next) { return next }
            }
            switch socket.read() {
            case .bytes(let bytes): inbox += stream.take(bytes).compactMap { JSONValue.parse($0) }
            case .wouldBlock: try wait(for: Int16(POLLIN), until: deadline)
            case .endOfFile, .failed: throw OrchestratorError(.vm, "\(name) has gone away")
            }
        }
    }

    private func wait(for events: Int16, until deadline: UInt64) throws(OrchestratorError) {
        let now = WallClock.monotonicNanoseconds
        var entry = pollfd(fd: socket.raw, events: events, revents: 0)
        let rest = now >= deadline ? 0 : Int32(clamping: (deadline - now) / 1_000_000 + 1)
        guard poll(&entry, 1, rest) > 0 else {
            throw OrchestratorError(.timeout, "\(name) does not answer on its control socket")
        }
    }
}
