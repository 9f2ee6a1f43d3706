import Glibc
import VMProtocol

/// `console.sock`: whoever connects sees what the guest says from then on and types on its serial port.
///
/// A viewer that does not read loses its connection once `viewerLimit` bytes wait for it.
final class ConsoleServer {
    /// Output that may wait for one viewer.
    private static let viewerLimit = 256 << 10
    private static let mostViewers = 32

    private final class Viewer {
        let socket: Descriptor
        var waiting: [UInt8] = []
        /// The guest takes nothing more at present: what this one types waits in the socket.
        var isHeldBack = false
        init(socket: Descriptor) { self.socket = socket }
    }

    private let loop: IOLoop
    private let listener: Descriptor
    private let hasRoom: () -> Bool
    private let input: ([UInt8]) -> Void
    private var viewers: [Int32: Viewer] = [:]

    /// - Parameter hasRoom: whether the guest takes more of what is typed; after a no, `takeInputAgain` is called.
    init(
        path: String, loop: IOLoop, hasRoom: @escaping () -> Bool, input: @escaping ([UInt8]) -> Void
    ) throws(HostError) {
        self.loop = loop
        self.hasRoom = hasRoom
        self.input = input
        listener = try UnixSocket.listen(at: path)
        loop.add(listener) { [weak self] _, _ in self?.acceptViewers() }
    }

    private func acceptViewers() {
        while let socket = UnixSocket.accept(on: listener) {
            // The connection closes with its last reference.
            guard viewers.count < Self.mostViewers else { continue }
            let viewer = Viewer(socket: socket)
            viewers[socket.raw] = viewer
            loop.add(socket) { [weak self, weak viewer] readable, writable in
                guard let self, let viewer else { return }
                if readable { self.read(from: viewer) }
                if writable { self.flush(viewer) }
            }
        }
    }

    private func read(from viewer: Viewer) {
        if viewer.isHeldBack { return hearLastWords(of: viewer) }
        guard hasRoom() else {
            viewer.isHeldBack = true
            return update(viewer)
        }
        switch viewer.socket.read(limit: 4096) {
        case .bytes(let bytes): input(bytes)
        case .wouldBlock: break
        case .endOfFile, .failed: drop(viewer)
        }
    }

    /// A viewer that is held back and hangs up: what it has typed is all in the socket, which is bounded.
    private func hearLastWords(of viewer: Viewer) {
        while case .bytes(let bytes) = viewer.socket.read(limit: 65536) { input(bytes) }
        drop(viewer)
    }

    /// The guest has room again.
    func takeInputAgain() {
        for viewer in viewers.values where viewer.isHeldBack {
            viewer.isHeldBack = false
            update(viewer)
        }
    }

    private func update(_ viewer: Viewer) {
        loop.update(viewer.socket, wantsRead: !viewer.isHeldBack, wantsWrite: !viewer.waiting.isEmpty)
    }

    /// Shows output to every viewer.
    func show(_ batch: ConsoleOutput.Batch) {
        for viewer in viewers.values {
            viewer.waiting += batch.bytes
            if batch.hasGap || viewer.waiting.count > Self.viewerLimit {
                drop(viewer)
            } else {
                flush(viewer)
            }
        }
    }

    private func flush(_ viewer: Viewer) {
        while !viewer.waiting.isEmpty {
            guard let count = viewer.socket.write(viewer.waiting[...]) else { return drop(viewer) }
            guard count > 0 else { break }
            viewer.waiting.removeFirst(count)
        }
        update(viewer)
    }

    private func drop(_ viewer: Viewer) {
        loop.remove(viewer.socket)
        viewers[viewer.socket.raw] = nil
    }
}
