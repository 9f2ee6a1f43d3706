/// Writes ACPI Machine Language (ACPI 6.4, chapter 20): each function returns the bytes of one term.
///
/// | term | bytes |
/// | --- | --- |
/// | Scope, Device, Method, Package, Buffer, If, Field | opcode, package length, body |
/// | package length | bits 7–6 of the first byte: bytes that follow; up to 63 in one byte, else 4 bits and whole bytes |
/// | name segment | 4 characters, padded with `_`; `\` root and `^` parent in front; 2Eh and 2Fh for several |
enum AML {
    typealias Bytes = [UInt8]

    // MARK: Names and numbers

    /// A path such as `_HID`, `\_SB.PCI0` or `^ISA.PRQ0`.
    static func path(_ text: String) -> Bytes {
        var rest = Substring(text)
        var bytes: Bytes = []
        while let first = rest.first, first == "\\" || first == "^" {
            bytes += Array(String(first).utf8)
            rest = rest.dropFirst()
        }
        let segments = rest.split(separator: ".").map {
            Array($0.utf8) + Bytes(repeating: 0x5F, count: 4 - $0.utf8.count)
        }
        switch segments.count {
        case 0: bytes.append(0)
        case 1: break
        case 2: bytes.append(0x2E)
        default: bytes += [0x2F, UInt8(segments.count)]
        }
        return bytes + segments.flatMap { $0 }
    }

    static func integer(_ value: UInt64) -> Bytes {
        switch value {
        case 0, 1: [UInt8(value)]
        case ...0xFF: [0x0A, UInt8(value)]
        case ...0xFFFF: [0x0B] + Bytes(littleEndianBytes: UInt16(value))
        case ...0xFFFF_FFFF: [0x0C] + Bytes(littleEndianBytes: UInt32(value))
        default: [0x0E] + Bytes(littleEndianBytes: value)
        }
    }

    static func string(_ text: String) -> Bytes { [0x0D] + Array(text.utf8) + [0] }

    /// A compressed identifier such as `PNP0A03`: three letters of five bits, four hexadecimal digits.
    static func eisaID(_ text: String) -> Bytes {
        let characters = Array(text.utf8)
        let letters = characters.prefix(3).reduce(UInt32(0)) { $0 << 5 | UInt32($1 & 0x1F) }
        let number = UInt32(String(text.dropFirst(3)), radix: 16) ?? 0
        return [0x0C] + Bytes(bigEndianBytes: letters << 16 | number)
    }

    // MARK: Terms with a length

    private static func block(_ opcode: Bytes, _ body: Bytes) -> Bytes { opcode + lengthPrefix(body.count) + body }

    private static func lengthPrefix(_ bodyBytes: Int) -> Bytes {
        if bodyBytes + 1 < 64 { return [UInt8(bodyBytes + 1)] }
        for extra in 1...3 {
            let total = bodyBytes + 1 + extra
            guard total < 1 << (4 + 8 * extra) else { continue }
            return [UInt8(extra << 6 | total & 0xF)]
                + (0..<extra).map { UInt8(truncatingIfNeeded: total >> (4 + 8 * $0)) }
        }
        preconditionFailure("an AML package is longer than 256 MiB")
    }

    static func scope(_ name: String, _ terms: Bytes...) -> Bytes { block([0x10], path(name) + terms.flatMap { $0 }) }
    static func device(_ name: String, _ terms: Bytes...) -> Bytes {
        block([0x5B, 0x82], path(name) + terms.flatMap { $0 })
    }
    static func buffer(_ bytes: Bytes) -> Bytes { block([0x11], integer(UInt64(bytes.count)) + bytes) }
    static func package(_ elements: [Bytes]) -> Bytes {
        block([0x12], [UInt8(elements.count)] + elements.flatMap { $0 })
    }
    static func ifThen(_ condition: Bytes, _ terms: Bytes...) -> Bytes {
        block([0xA0], condition + terms.flatMap { $0 })
    }
    static func method(_ name: String, arguments: UInt8 = 0, _ terms: Bytes...) -> Bytes {
        block([0x14], path(name) + [arguments] + terms.flatMap { $0 })
    }

    /// - Parameters:
    ///   - block: address of the processor's power block, 0 for none.
    static func processor(_ name: String, id: UInt8) -> Bytes {
        block([0x5B, 0x83], path(name) + [id, 0, 0, 0, 0, 0])
    }

    static func name(_ name: String, _ value: Bytes) -> Bytes { [0x08] + path(name) + value }

    /// Space 2 is PCI configuration space, 1 I/O ports.
    static func operationRegion(_ name: String, space: UInt8, offset: UInt64, length: UInt64) -> Bytes {
        [0x5B, 0x80] + path(name) + [space] + integer(offset) + integer(length)
    }

    /// Byte-wide fields, one after the other, preserved on writes.
    static func byteFields(of region: String, _ names: [String]) -> Bytes {
        block([0x5B, 0x81], path(region) + [0x01] + names.flatMap { path($0) + [8] })
    }

    // MARK: Statements

    static let argument0: Bytes = [0x68]
    static func store(_ value: Bytes, to target: Bytes) -> Bytes { [0x70] + value + target }
    static func and(_ left: Bytes, _ right: Bytes) -> Bytes { [0x7B] + left + right + [0] }
    static func or(_ left: Bytes, _ right: Bytes, to target: Bytes = [0]) -> Bytes { [0x7D] + left + right + target }
    static func isLess(_ left: Bytes, _ right: Bytes) -> Bytes { [0x95] + left + right }
    static func giveBack(_ value: Bytes) -> Bytes { [0xA4] + value }
    static func notify(_ object: String, _ value: UInt64) -> Bytes { [0x86] + path(object) + integer(value) }
    static func createDWordField(_ buffer: Bytes, at offset: UInt64, _ name: String) -> Bytes {
        [0x8A] + buffer + integer(offset) + path(name)
    }

    // MARK: Resources (ACPI 6.4, 6.4)

    static func resources(_ descriptors: Bytes...) -> Bytes {
        // The end tag's checksum zero means "not computed".
        buffer(descriptors.flatMap { $0 } + [0x79, 0])
    }

    /// Ports decoded with 16 bits.
    static func ports(_ first: UInt16, count: UInt8) -> Bytes {
        [0x47, 1] + Bytes(littleEndianBytes: first) + Bytes(littleEndianBytes: first) + [1, count]
    }

    /// An edge-triggered ISA interrupt.
    static func isaInterrupt(_ irq: UInt8) -> Bytes { [0x22] + Bytes(littleEndianBytes: UInt16(1) << UInt16(irq)) }

    static func dma(_ channel: UInt8) -> Bytes { [0x2A, 1 << channel, 0] }

    /// Level-triggered, active-high, shared interrupts; the first number is 5 bytes into the descriptor.
    static func sharedInterrupts(_ numbers: [UInt32]) -> Bytes {
        let header: Bytes = [0x89] + Bytes(littleEndianBytes: UInt16(2 + 4 * numbers.count))
        let list: Bytes = numbers.reduce(into: []) { $0 += Bytes(littleEndianBytes: $1) }
        // Consumer, level-triggered, active high, shared.
        return header + [0x09, UInt8(numbers.count)] + list
    }

    static func fixedMemory(_ base: UInt32, length: UInt32) -> Bytes {
        [0x86, 9, 0, 0] + Bytes(littleEndianBytes: base) + Bytes(littleEndianBytes: length)
    }

    /// What an address window carries, with its flags byte.
    enum Window {
        case bus, io, memory(isCacheable: Bool)
        fileprivate var type: UInt8 {
            switch self {
            case .memory: 0;
            case .io: 1;
            case .bus: 2
            }
        }
        fileprivate var flags: UInt8 {
            switch self {
            case .bus: 0
            // Entire range, not only ISA parts of it.
            case .io: 3
            // Readable and writable.
            case .memory(let isCacheable): isCacheable ? 3 : 1
            }
        }
    }

    /// A window of `T`-wide addresses, forwarded by the bridge (minimum and maximum fixed).
    static func window<T: FixedWidthInteger>(_ kind: Window, from first: T, through last: T) -> Bytes {
        let tag: UInt8 = T.bitWidth == 16 ? 0x88 : T.bitWidth == 32 ? 0x87 : 0x8A
        // Granularity, first, last, translation, length; a full 16-bit I/O window would wrap, none is that long.
        let fields: [T] = [0, first, last, 0, last - first + 1]
        let addresses: Bytes = fields.reduce(into: []) { $0 += Bytes(littleEndianBytes: $1) }
        let body: Bytes = [kind.type, 0x0C, kind.flags] + addresses
        return [tag] + Bytes(littleEndianBytes: UInt16(body.count)) + body
    }
}
