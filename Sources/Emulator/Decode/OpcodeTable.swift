/// All opcode rows, parsed once, with an index by map and opcode byte.
struct OpcodeTable: @unchecked Sendable {
    // Unchecked: the pointers lead to memory that nobody writes after `init`.
    let rows: [OpcodeRow]
    /// The rows by `map * 256 + opcode`, those with a mandatory prefix or a narrower ModRM first; plain memory that is never freed, so that
    /// the decoder copies no row and counts no references.
    private let candidates: UnsafeMutablePointer<OpcodeRow>
    private let starts: UnsafeMutablePointer<UInt16>

    /// The rows that an opcode byte may mean, in the order in which they are tried.
    @inline(__always) func candidates(_ map: OpcodeRow.Map, _ opcode: UInt8) -> UnsafeBufferPointer<OpcodeRow> {
        // SAFETY: `starts` has one entry more than there are slots.
        let slot = map.rawValue &* 256 &+ Int(opcode)
        let first = Int(starts[slot])
        return UnsafeBufferPointer(start: candidates + first, count: Int(starts[slot &+ 1]) &- first)
    }

    /// Parsed at first use. A row that does not parse is a mistake in the source, found by any test that decodes.
    static let shared: OpcodeTable = {
        do {
            return try OpcodeTable()
        } catch {
            fatalError("opcode table: \(error)")
        }
    }()

    private init() throws(OpcodeTableError) {
        let families: [OpcodeRow.Family: [String: UInt16]] = [
            .integer: Self.names(Mnemonic.self), .x87: Self.names(X87Code.self), .sse: Self.names(SSECode.self),
            .system: Self.names(SystemCode.self),
        ]
        var rows: [OpcodeRow] = []
        for text in Self.texts {
            for line in text.description.split(separator: "\n") where !line.isEmpty && !line.hasPrefix("#") {
                let row = try OpcodeRow(line: line) { families[$0]?[$1] }
                rows.append(row)
            }
        }
        var index = [[UInt16]](repeating: [], count: OpcodeRow.Map.allCases.count * 256)
        for (number, row) in rows.enumerated() {
            let opcodes = row.attributes.contains(.plusRegister) ? row.opcode...row.opcode + 7 : row.opcode...row.opcode
            for opcode in opcodes { index[row.map.rawValue * 256 + Int(opcode)].append(UInt16(number)) }
        }
        for slot in index.indices {
            index[slot].sort { a, b in
                let (ra, rb) = (Self.specificity(rows[Int(a)]), Self.specificity(rows[Int(b)]))
                return ra != rb ? ra > rb : a < b
            }
        }
        self.rows = rows
        let order = index.joined().map { rows[Int($0)] }
        candidates = .allocate(capacity: order.count)
        candidates.initialize(from: order, count: order.count)
        starts = .allocate(capacity: index.count + 1)
        var next = 0
        for slot in index.indices {
            starts[slot] = UInt16(next)
            next += index[slot].count
        }
        starts[index.count] = UInt16(next)
    }

    private static func specificity(_ row: OpcodeRow) -> Int {
        (row.exactModRM != nil ? 4 : 0) + (row.prefix == .pF3 || row.prefix == .pF2 ? 2 : 0)
            + (row.prefix == .p66 ? 1 : 0)
    }

    private static func names<Code: CaseIterable & RawRepresentable>(_: Code.Type) -> [String: UInt16]
    where Code.RawValue == UInt16 {
        var names: [String: UInt16] = [:]
        for code in Code.allCases { names[String(describing: code)] = code.rawValue }
        return names
    }
}

extension OpcodeTable {
    /// The tables, in the order in which their rows are tried.
    static let texts = [
        OpcodeTableInteger.text, OpcodeTableSystem.text, OpcodeTableX87.text, OpcodeTableMMX.text, OpcodeTableSSE.text,
    ]
}
