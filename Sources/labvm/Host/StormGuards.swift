import Glibc
import Synchronization
import VMProtocol

/// Resets that the I/O thread has not heard of yet. A guest that resets itself without end makes one message at a time, not
/// one for each.
final class ResetCounter: Sendable {
    private let waiting = Atomic<Int>(0)
    private let announce: @Sendable (@escaping @Sendable () -> Int) -> Void

    /// - Parameter announce: called when the first reset comes that nobody has been told of; what it is given tells how many
    ///   there were when it is called.
    init(_ announce: @escaping @Sendable (@escaping @Sendable () -> Int) -> Void) { self.announce = announce }

    /// On the CPU's thread.
    func add() {
        guard waiting.wrappingAdd(1, ordering: .relaxed).oldValue == 0 else { return }
        announce { [self] in waiting.exchange(0, ordering: .relaxed) }
    }
}

/// What people typed and the guest has not taken: a bound, with whoever types waiting for the guest.
final class TypedInput: Sendable {
    /// Bytes on their way before nobody is read from any more.
    private static let limit = 64 << 10

    private let waiting = Atomic<Int>(0)
    private let isFull = Atomic<Bool>(false)
    private let roomAgain: @Sendable () -> Void

    /// - Parameter roomAgain: called on the CPU's thread when there is room after there was none.
    init(_ roomAgain: @escaping @Sendable () -> Void) { self.roomAgain = roomAgain }

    /// Whether another piece may be read. When it says no, `roomAgain` will be called.
    func hasRoom() -> Bool {
        guard waiting.load(ordering: .sequentiallyConsistent) >= Self.limit else { return true }
        isFull.store(true, ordering: .sequentiallyConsistent)
        // The guest may have taken everything in between, and then nobody would call.
        guard waiting.load(ordering: .sequentiallyConsistent) < Self.limit else { return false }
        isFull.store(false, ordering: .sequentiallyConsistent)
        return true
    }

    /// On the I/O thread.
    func add(_ count: Int) { waiting.add(count, ordering: .sequentiallyConsistent) }

    /// On the CPU's thread.
    func taken(_ count: Int) {
        let left = waiting.subtract(count, ordering: .sequentiallyConsistent).newValue
        if left < Self.limit / 2, isFull.exchange(false, ordering: .sequentiallyConsistent) { roomAgain() }
    }
}

/// Keeps a thread from going on until it is opened.
final class Gate: Sendable {
    private let reading: Descriptor
    private let writing: Descriptor

    init() throws(HostError) { (reading, writing) = try Descriptor.pipe() }

    func open() { _ = writing.write([1]) }

    func wait() { _ = reading.read(limit: 1) }
}
