import Glibc
import VMProtocol

/// `console.sock`: whoever connects sees what the guest says from then on and types on its serial port.
///
/// A viewer that does not read loses its connection once `viewerLimit` bytes wait for it.
final class ConsoleServer {
    /// Output that may wait for one viewer.
    private static let viewerLimit = 256 << 10
    private static let mostViewers = 64

    private final class Viewer {
        let socket: Descriptor
        var waiting: [UInt8] = []
        init(socket: Descriptor) { self.socket = socket }
    }

    private let loop: IOLoop
    private let listener: Descriptor
    private let input: ([UInt8]) -> Void
    private var viewers: [Int32: Viewer] = [:]

    init(path: String, loop: IOLoop, input: @escaping ([UInt8]) -> Void) throws(HostError) {
        self.loop = loop
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
        switch viewer.socket.read(limit: 4096) {
        case .bytes(let bytes): input(bytes)
        case .wouldBlock: break
        case .endOfFile, .failed: drop(viewer)
        }
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
        loop.update(viewer.socket, wantsRead: true, wantsWrite: !viewer.waiting.isEmpty)
    }

    private func drop(_ viewer: Viewer) {
        loop.remove(viewer.socket)
        viewers[viewer.socket.raw] = nil
    }
}
