/// A first-in first-out queue of bytes whose storage is compacted as it drains.
struct ByteQueue {
    private var bytes: [UInt8] = []
    private var head = 0

    var count: Int { bytes.count - head }
    var isEmpty: Bool { head == bytes.count }
    var first: UInt8? { isEmpty ? nil : bytes[head] }

    mutating func append(_ byte: UInt8) { bytes.append(byte) }

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
