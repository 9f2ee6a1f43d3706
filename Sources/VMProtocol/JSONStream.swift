/// Cuts a stream of bytes into top-level JSON objects. Neither QEMU nor its clients agree on line ends, so braces count.
public struct JSONStream: Sendable {
    /// A longer object ends the connection.
    private let largestObject: Int

    private var pending: [UInt8] = []
    private var scanned = 0
    private var depth = 0
    private var inString = false
    private var isEscaped = false
    /// More bytes than an object may have came without an end.
    public private(set) var isTooLong = false

    /// - Parameter largestObject: bytes; by default what answers of a VM process may have.
    public init(largestObject: Int = 1 << 20) { self.largestObject = largestObject }

    /// Takes bytes and returns the objects that are now whole. Bytes between objects are skipped.
    public mutating func take(_ bytes: some Sequence<UInt8>) -> [[UInt8]] {
        pending.append(contentsOf: bytes)
        var objects: [[UInt8]] = []
        var start = 0
        while scanned < pending.count {
            let byte = pending[scanned]
            scanned += 1
            if inString {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    inString = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                depth = max(0, depth - 1)
                if depth == 0 {
                    objects.append(Array(pending[start..<scanned]))
                    start = scanned
                }
            case UInt8(ascii: "\""): inString = depth > 0
            default: if depth == 0 { start = scanned }
            }
        }
        pending.removeFirst(start)
        scanned = pending.count
        isTooLong = pending.count > largestObject
        return objects
    }
}
