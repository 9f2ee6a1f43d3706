/// A first-in first-out queue of bytes with an end: what comes when it is full is lost, as with a chip's buffer.
///
/// Storage is compacted as it drains, so that it never holds more than the capacity and what has just been taken out.
struct ByteQueue {
    let capacity: Int
    private var bytes: [UInt8] = []
    private var head = 0

    init(capacity: Int) { self.capacity = capacity }

    /// What waits, the oldest first.
    var contents: [UInt8] {
        get { Array(bytes[head...]) }
        set {
            bytes = Array(newValue.prefix(capacity))
            head = 0
        }
    }

    var count: Int { bytes.count - head }
    var isEmpty: Bool { head == bytes.count }
    var isFull: Bool { count >= capacity }
    var first: UInt8? { isEmpty ? nil : bytes[head] }

    mutating func append(_ byte: UInt8) { if !isFull { bytes.append(byte) } }

    mutating func popFirst() -> UInt8? {
        guard head < bytes.count else { return nil }
        let byte = bytes[head]
        head += 1
        if head == bytes.count {
            removeAll()
        } else if head >= 4096 {
            bytes.removeFirst(head)
            head = 0
        }
        return byte
    }

    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        head = 0
    }
}
