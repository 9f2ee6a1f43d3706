/// How often translated code called the interpreter, by operation: the first thing to look at when a guest is slow.
struct HelperCounts: ~Copyable {
    /// Operations of the families that share one `OpCode` are told apart by their own numbers, below a mark each.
    private static let familyRoom = 1024
    private let counts: UnsafeMutablePointer<UInt64>

    init() {
        counts = .allocate(capacity: 4 * Self.familyRoom)
        counts.initialize(repeating: 0, count: 4 * Self.familyRoom)
    }

    deinit { counts.deallocate() }

    @inline(__always) private static func family(_ code: OpCode) -> Int {
        switch code {
        case .system: 1
        case .sse: 2
        case .x87: 3
        default: 0
        }
    }

    @inline(__always) func count(_ op: UnsafePointer<DecodedOp>) {
        let family = Self.family(op.pointee.code)
        let number = family == 0 ? op.pointee.code.rawValue : op.pointee.sub
        counts[family * Self.familyRoom + Int(number) & (Self.familyRoom - 1)] &+= 1
    }

    /// The most frequent ones, by name.
    func most(_ limit: Int) -> [(name: String, value: UInt64)] {
        let found = (0..<4 * Self.familyRoom).filter { counts[$0] != 0 }.sorted { counts[$0] > counts[$1] }
        return found.prefix(limit).map { index in
            let number = UInt16(index % Self.familyRoom)
            let name =
                switch index / Self.familyRoom {
                case 1: SystemCode(rawValue: number).map { "\($0)" }
                case 2: SSECode(rawValue: number).map { "\($0)" }
                case 3: X87Code(rawValue: number).map { "\($0)" }
                default: OpCode(rawValue: number).map { "\($0)" }
                }
            return ("helper-\(name ?? "\(number)")", counts[index])
        }
    }
}
