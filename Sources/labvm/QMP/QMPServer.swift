import Glibc
import VMProtocol

/// `qmp.sock`: QEMU's machine protocol (docs/interop/qmp-spec in QEMU's documentation): a greeting, negotiation by
/// `qmp_capabilities`, then commands with answers in order, and events in between.
final class QMPServer {
    /// Answers and events that may wait for a client that does not read.
    private static let clientLimit = 256 << 10
    /// Bytes waiting for a client that make it miss events: a guest that resets itself without end must not cost a client that was busy
    /// for a moment its connection.
    private static let eventLimit = 64 << 10
    private static let mostClients = 16
    /// Bytes of one command.
    private static let largestCommand = 64 << 10
    /// Files of one client that no `add-fd` has taken yet.
    private static let mostFiles = 8

    private final class Client {
        let socket: Descriptor
        var input = JSONStream(largestObject: QMPServer.largestCommand)
        var waiting: [UInt8] = []
        var isNegotiated = false
        var isGone = false
        /// Handed over and not asked for yet, oldest first.
        var files: [Descriptor] = []
        init(socket: Descriptor) { self.socket = socket }
    }

    private let loop: IOLoop
    private let listener: Descriptor
    private let control: MachineControl
    private var clients: [Int32: Client] = [:]

    init(path: String, loop: IOLoop, control: MachineControl) throws(HostError) {
        self.loop = loop
        self.control = control
        listener = try UnixSocket.listen(at: path)
        loop.add(listener) { [weak self] _, _ in self?.acceptClients() }
    }

    /// Tells every negotiated client of something that happened.
    func broadcast(_ event: String, _ data: [String: JSONValue] = [:]) {
        let now = WallClock.now
        var message: [String: JSONValue] = [
            "event": .string(event),
            "timestamp": [
                "seconds": .int(Int64(now)),
                "microseconds": .int(Int64((now - now.rounded(.down)) * 1_000_000)),
            ],
        ]
        if !data.isEmpty { message["data"] = .object(data) }
        for client in clients.values where client.isNegotiated && client.waiting.count < Self.eventLimit {
            send(.object(message), to: client)
        }
    }

    private func acceptClients() {
        while let socket = UnixSocket.accept(on: listener) {
            guard clients.count < Self.mostClients else { continue }
            let client = Client(socket: socket)
            clients[socket.raw] = client
            loop.add(socket) { [weak self, weak client] readable, writable in
                guard let self, let client else { return }
                if readable { self.read(from: client) }
                if writable { self.flush(client) }
            }
            send(QMPCommands.greeting, to: client)
        }
    }

    private func read(from client: Client) {
        let (outcome, files) = UnixSocket.receive(on: client.socket, limit: 16384)
        client.files = Array((client.files + files).suffix(Self.mostFiles))
        switch outcome {
        case .bytes(let bytes):
            for object in client.input.take(bytes) where !client.isGone { answer(object, to: client) }
            if client.input.isTooLong { drop(client) }
        case .wouldBlock: break
        case .endOfFile, .failed: drop(client)
        }
    }

    private func answer(_ text: [UInt8], to client: Client) {
        guard let request = JSONValue.parse(text), case .object = request else {
            return send(QMPError.generic("Invalid JSON syntax").message(id: nil), to: client)
        }
        let id = request["id"]
        do {
            let result = try execute(request, for: client)
            var message: [String: JSONValue] = ["return": result]
            if let id { message["id"] = id }
            send(.object(message), to: client)
        } catch {
            send(error.message(id: id), to: client)
        }
    }

    private func execute(_ request: JSONValue, for client: Client) throws(QMPError) -> JSONValue {
        guard let name = request["execute"]?.stringValue else {
            throw QMPError.generic("QMP input lacks member 'execute'")
        }
        if !client.isNegotiated {
            guard name == "qmp_capabilities" else {
                throw QMPError(
                    kind: .commandNotFound, text: "Expecting capabilities negotiation with 'qmp_capabilities'")
            }
            client.isNegotiated = true
            return [:]
        }
        guard let row = QMPCommands.table.first(where: { $0.name == name }) else {
            throw QMPError(kind: .commandNotFound, text: "The command \(name) has not been found")
        }
        let arguments = QMPArguments(request["arguments"] ?? [:])
        try arguments.requireOnly(row.arguments, of: name)
        if name == "add-fd" { control.offered = client.files.isEmpty ? nil : client.files.removeFirst() }
        defer { control.offered = nil }
        return try row.run(control, arguments)
    }

    private func send(_ message: JSONValue, to client: Client) {
        guard !client.isGone else { return }
        client.waiting += message.encoded
        client.waiting += Array("\r\n".utf8)
        if client.waiting.count > Self.clientLimit { drop(client) } else { flush(client) }
    }

    private func flush(_ client: Client) {
        while !client.waiting.isEmpty {
            guard let count = client.socket.write(client.waiting[...]) else { return drop(client) }
            guard count > 0 else { break }
            client.waiting.removeFirst(count)
        }
        loop.update(client.socket, wantsRead: true, wantsWrite: !client.waiting.isEmpty)
    }

    private func drop(_ client: Client) {
        client.isGone = true
        loop.remove(client.socket)
        clients[client.socket.raw] = nil
    }
}
