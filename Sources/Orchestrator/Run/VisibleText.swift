/// What a person would see of what a guest says: text without escape sequences (ECMA-48) and control characters, with the
/// place of each byte among all that was said.
///
/// Where the cursor jumps to another line, a new line begins; where it jumps ahead, spaces stand.
struct VisibleText: Sendable {
    private enum Mode {
        case text
        case escape
        /// A control sequence with its parameters so far.
        case control([UInt8])
        /// A string (title, device control) up to BEL or ESC \.
        case string
        case stringEscape
        /// One more byte belongs to the escape sequence.
        case designation
    }

    private(set) var bytes: [UInt8] = []
    /// For each of `bytes`, the offset behind the byte that made it.
    private(set) var ends: [UInt64] = []
    private var mode = Mode.text
    private var offset: UInt64
    /// A cursor that goes further ahead than this is on its way elsewhere.
    private static let mostSpaces = 80

    /// - Parameter offset: of the first byte that will come.
    init(from offset: UInt64) { self.offset = offset }

    /// The text of some bytes alone.
    static func of(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        var text = VisibleText(from: 0)
        text.take(bytes)
        return text.bytes
    }

    /// Takes what the guest said next.
    mutating func take(_ raw: some Sequence<UInt8>) {
        for byte in raw {
            offset += 1
            take(byte)
        }
    }

    /// Forgets the first bytes.
    mutating func removeFirst(_ count: Int) {
        bytes.removeFirst(count)
        ends.removeFirst(count)
    }

    private mutating func show(_ byte: UInt8) {
        bytes.append(byte)
        ends.append(offset)
    }

    private mutating func take(_ byte: UInt8) {
        // A sequence that is broken off by a new one is over.
        if byte == 0x1B {
            if case .string = mode { mode = .stringEscape } else { mode = .escape }
            return
        }
        switch mode {
        case .text:
            if byte == 0x08 {
                if let last = bytes.last, last != 0x0A {
                    bytes.removeLast()
                    ends.removeLast()
                }
            } else if byte == 0x0A || byte == 0x09 || byte >= 0x20 && byte != 0x7F {
                show(byte)
            }
        case .escape:
            switch byte {
            case UInt8(ascii: "["): mode = .control([])
            case UInt8(ascii: "]"), UInt8(ascii: "P"), UInt8(ascii: "X"), UInt8(ascii: "^"), UInt8(ascii: "_"):
                mode = .string
            case UInt8(ascii: " ")...UInt8(ascii: "/"): mode = .designation
            default: mode = .text
            }
        case .designation: mode = .text
        case .string: if byte == 0x07 { mode = .text }
        case .stringEscape: mode = .text
        case .control(var parameters):
            guard (0x40...0x7E).contains(byte) else {
                if parameters.count < 16 { parameters.append(byte) }
                mode = .control(parameters)
                return
            }
            mode = .text
            move(byte, parameters)
        }
    }

    /// What a control sequence does to the text: final byte and parameters.
    private mutating func move(_ final: UInt8, _ parameters: [UInt8]) {
        switch final {
        case UInt8(ascii: "A"), UInt8(ascii: "B"), UInt8(ascii: "E"), UInt8(ascii: "F"), UInt8(ascii: "H"),
            UInt8(ascii: "d"), UInt8(ascii: "f"):
            if let last = bytes.last, last != 0x0A { show(0x0A) }
        case UInt8(ascii: "C"):
            let count = Int(String(decoding: parameters, as: UTF8.self)) ?? 1
            for _ in 0..<min(max(count, 1), Self.mostSpaces) { show(0x20) }
        default: break
        }
    }
}
