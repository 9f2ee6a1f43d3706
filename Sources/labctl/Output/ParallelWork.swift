import Foundation
import Synchronization

/// A value that several threads change.
final class Shared<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>

    init(_ value: Value) { mutex = Mutex(value) }

    /// What it is now.
    var value: Value { mutex.withLock { $0 } }

    func change<Result: Sendable>(_ body: (inout Value) -> Result) -> Result {
        mutex.withLock { value in
            var copy = value
            defer { value = copy }
            return body(&copy)
        }
    }
}

/// Work that waits for VMs rather than for this host's processors: many at once, whatever there are of those.
enum ParallelWork {
    /// Threads at once.
    static let mostThreads = 64

    /// Does something with each item; returns when all are done.
    /// - Parameter most: threads at once.
    static func run<Item: Sendable>(
        _ items: [Item], most: Int = mostThreads, _ body: @escaping @Sendable (Item) -> Void
    ) {
        let slots = DispatchSemaphore(value: most)
        let all = DispatchGroup()
        for item in items {
            slots.wait()
            all.enter()
            Thread.detachNewThread {
                body(item)
                slots.signal()
                all.leave()
            }
        }
        all.wait()
    }
}

/// Standard input as bytes.
enum InputBytes {
    /// All of it.
    /// - Throws: where it is longer than `limit`.
    static func read(limit: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            let count = Foundation.read(STDIN_FILENO, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return bytes }
            bytes += buffer[..<count]
            guard bytes.count <= limit else {
                throw InputTooLong(
                    description: "standard input is longer than \(limit >> 20) MiB: use a disk or a CD for it")
            }
        }
    }
}

/// More on standard input than can be handed on.
struct InputTooLong: Error, CustomStringConvertible {
    var description: String
}
